"""Trainings on JAX: resumed, on other numbers of devices, and gone on with on TensorFlow."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import keras_nest
from keras_nest import cli
from keras_nest.backends import BackendError, check_backend
from keras_nest.cli.train import main
from keras_nest.training.history import read_history
from keras_nest.training.jax_machines import EXAMPLE
from tests.models.test_backends import QUICK_COMPILATION
from tests.training import on_jax, runs

LOSSES = ("loss", "eval_loss", "grad_norm")
LEAVE_OUT = "{} needs Keras on TensorFlow, and this process runs it on jax; {}, or set KERAS_BACKEND=tensorflow before "
LEAVE_OUT += "Keras is imported."
REFUSED = {
    name: LEAVE_OUT.format(f"{name}={value}", "leave it out") for name, value in on_jax.FIELDS_OF_TENSORFLOW.items()
}
REFUSED["gan"] = LEAVE_OUT.format("trainer=gan", "train without --backend=jax")
REFUSED["multi_worker"] = (
    "JAX finds no other machines (jax.distributed.initialize() must be called before any JAX calls that might "
    "initialise the XLA backend. This includes any computation, but also calls to jax.devices, jax.device_put, and "
    "others); set "
    f"TF_CONFIG on each of them, such as {EXAMPLE}, or leave --strategy=multi_worker out."
)
REFUSED["groups"] = (
    "4 devices cannot be divided into groups of 3 that share the weights (--model_parallel); choose a number that "
    "divides 4."
)
REFUSED["no blocks"] = (
    "No heads of attention and no MLP of this model can be divided among 2 devices; choose another --model_parallel, "
    "or leave it out."
)
REFUSED["tpu"] = "JAX finds no TPU on this machine, only a CPU; pip install 'jax[tpu]'."


def on_backend_jax(*words, devices=1):
    flags = f"{QUICK_COMPILATION} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "XLA_FLAGS": flags}
    return subprocess.run([sys.executable, "-m", *words], env=environment, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training that TensorFlow began, and went on with after JAX; and what the program left on four devices."""
    folder = tmp_path_factory.mktemp("jax")
    fields = on_jax.config(folder, on_jax.DRAWING_NOTHING)
    keras_nest.create_model("nest_tiny_s16_32", num_classes=10, **fields["model"]).save(folder / "start.keras")
    main(fields, folder / "undisturbed")
    on_jax.stop(fields, folder / "crossing", "auto", 5)
    keras_nest.create_model(on_jax.OF_LIT["model_name"], **on_jax.OF_LIT["model"]).save(folder / "lit_start.keras")
    main(on_jax.lit_config(folder), folder / "lit_here")
    on_backend_jax("tests.training.on_jax", str(folder), devices=4)
    main(fields, folder / "crossing")
    return folder


@pytest.mark.slow
def test_a_training_goes_on_bit_for_bit(folder):
    runs.assert_same_weights(folder / "parts", folder / "whole")
    runs.assert_same_rows_but_for_rounding(folder / "parts", folder / "whole")
    assert runs.files(folder / "parts") == runs.FILES


@pytest.mark.slow
def test_several_devices_compute_what_one_does(folder):
    """What is drawn in a step, too."""
    assert_same_losses(folder / "several", folder / "whole")


@pytest.mark.slow
def test_devices_that_have_parts_of_the_weights(folder):
    """It ends on one device, which takes what they had."""
    assert_same_losses(folder / "divided", folder / "whole")
    divided = json.loads((folder / "divided.json").read_text())
    block = "EncoderNDBlock_1"
    assert divided[f"{block}/MultiQueryAttention_0/DenseGeneral_0/kernel"] == [[8, 2, 4], [8, 1, 4]]
    assert divided[f"{block}/MultiQueryAttention_0/proj_kernel"] == [[2, 4, 8], [1, 4, 8]]
    assert divided[f"{block}/MlpBlock_0/Dense_1/kernel"] == [[32, 8], [16, 8]]
    # Six of each block, and what the optimizer keeps of them: momentum and average.
    assert len(divided) == 2 * 6 * 3


@pytest.mark.slow
def test_a_training_goes_from_backend_to_backend(folder):
    """From TensorFlow to four devices of JAX and back, with the averages of the weights and all of the optimizer."""
    assert_same_losses(folder / "crossing", folder / "undisturbed")


@pytest.mark.slow
def test_a_lit_compares_all_pairs_of_a_batch(folder):
    assert_same_losses(folder / "lit", folder / "lit_here")
    top1 = [json.loads((folder / name / "metrics.json").read_text())["top1"] for name in ("lit", "lit_here")]
    assert top1[0] == top1[1]


@pytest.mark.slow
def test_draws_of_a_step_take_part(folder):
    with pytest.raises(AssertionError):
        assert_same_losses(folder / "whole", folder / "undisturbed")


@pytest.mark.slow
def test_what_needs_tensorflow_says_so(folder):
    assert json.loads((folder / "refusals.json").read_text()) == REFUSED


@pytest.mark.slow
def test_the_references_trainings():
    """Losses, gradient norms, rates and weights, by the tests that TensorFlow passes.

    But for one: rounding decides a step of Adam at one position embedding in the fifth update of "adamw_clip".
    """
    chosen = "(test_every_update or test_weights or test_running) and (adamw_bn or adamw or cosine) and not adamw_clip"
    tests = "tests/training/test_reference_trainings.py"
    on_backend_jax("pytest", "-n0", "-q", tests, "-m", "slow or not slow", "-k", f"{chosen} and not everywhere")


def test_the_command_says_where_keras_runs(tmp_path, capsys):
    with pytest.raises(SystemExit):
        cli.train.run(["train", "--config=digits_nest", f"--workdir={tmp_path}", "--backend=jax"])
    said = "error: Keras runs on tensorflow in this process; --backend=jax is for a new one.\n"
    assert capsys.readouterr().err == said
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_installed_is_named():
    check_backend(None)
    check_backend("tensorflow")
    with pytest.raises(ModuleNotFoundError, match="--backend=none_such trains with none_such, which is not installed"):
        check_backend("none_such")
    with pytest.raises(BackendError):
        check_backend("jax")


def assert_same_losses(workdir, other):
    rows, expected = (read_history(path / "history.csv") for path in (workdir, other))
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for name in LOSSES:
        found, wanted = ([row[name] for row in table if name in row] for table in (rows, expected))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=name)
