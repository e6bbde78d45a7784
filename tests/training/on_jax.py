"""Short trainings on JAX, on one device and on four: `python -m tests.training.on_jax DIR`."""

import json
import pathlib
import sys

import keras
import pytest

from keras_nest.cli.train import main, prepare
from keras_nest.training import create_strategy
from keras_nest.training.stopping import Stopped
from tests.training import runs
from tests.training.test_lit import CONFIG as OF_LIT

# With a term of the loss, and not with Adam, which makes a whole step of a gradient that is mere rounding.
CONFIG = runs.CONFIG | {"num_epochs": 1, "optim": "sgd", "learning_rate": 0.2}
# What is drawn in a step differs from one backend to the other, what is drawn in the data does not.
DRAWING_NOTHING = CONFIG | {"model": runs.CONFIG["model"] | {"stochastic_depth_drop": 0.0}}
FIELDS_OF_TENSORFLOW = {
    "transfer": "uint8",
    "sam_rho": 0.1,
    "profile_steps": (1, 2),
    "log_model_profile": True,
    "steps_per_execution": 2,
}


def config(folder, fields):
    """Batches that one device takes, or all together."""
    return fields | {"init_checkpoint": str(folder / "start.keras"), "batch": 64, "per_device_batch_size": 64}


def lit_config(folder, count=1):
    """As `config`, of a LiT."""
    start = {"init_checkpoint": str(folder / "lit_start.keras"), "optim": "sgd", "learning_rate": 0.005}
    return OF_LIT | start | {"per_device_batch_size": 240 // count}


def stop(fields, workdir, strategy, step):
    """A training that gets a signal in a step."""
    with runs.signaled(*runs.in_step(step)), pytest.raises(Stopped):
        main(fields, workdir, strategy=strategy)


def refusals(fields):
    """What is refused before anything is done."""
    asked = {name: fields | {name: value} for name, value in FIELDS_OF_TENSORFLOW.items()}
    asked["gan"] = {"trainer": "gan", "dataset": "digits", "total_steps": 1}
    said = {}
    for name, one in asked.items():
        try:
            main(one, "refused")
        except ValueError as error:
            said[name] = str(error)
    for strategy in ("multi_worker", "tpu"):
        try:
            main(fields, "refused", strategy=strategy)
        except (ValueError, ConnectionError) as error:
            said[strategy] = str(error)
    no_blocks = {name: value for name, value in fields.items() if name != "init_checkpoint"}
    no_blocks |= {"model_name": "resnet18_cifar", "model": {}}
    for name, size, one in (("groups", 3, fields), ("no blocks", 2, no_blocks)):
        try:
            main(one, "refused", strategy=create_strategy(model_parallel=size))
        except ValueError as error:
            said[name] = str(error)
    return said


def stop_divided(fields, workdir, step):
    """A training in which two devices have parts of the weights, and two others the same parts; what is divided."""
    ready = prepare(fields, workdir, strategy=create_strategy(model_parallel=2))
    with runs.signaled(*runs.in_step(step)), pytest.raises(Stopped):
        ready.execute()
    variables = [*ready.model.weights, *ready.trainer.optimizer.variables]
    parts = {each.path: each.value.sharding.shard_shape(each.value.shape) for each in variables}
    return {each.path: [each.shape, parts[each.path]] for each in variables if parts[each.path] != each.shape}


def run(folder):
    """All of them; the folder holds a training that TensorFlow began."""
    fields = config(folder, CONFIG)
    main(fields, folder / "whole", strategy="one_device")
    stop(fields, folder / "parts", "one_device", 13)
    main(fields, folder / "parts", strategy="one_device")
    main(fields, folder / "several", strategy="mirrored")
    divided = stop_divided(fields, folder / "divided", 13)
    (folder / "divided.json").write_text(json.dumps(divided))
    main(fields, folder / "divided", strategy="one_device")
    stop(config(folder, DRAWING_NOTHING), folder / "crossing", "auto", 17)
    # Two groups of two devices, each of which gets half of the pairs that all are compared with.
    main(lit_config(folder, 2), folder / "lit", strategy=create_strategy(model_parallel=2))
    said = refusals(fields)
    assert not pathlib.Path("refused").exists()
    (folder / "refusals.json").write_text(json.dumps(said))


if __name__ == "__main__":
    # Compiling random initial values for every shape takes longer than all the rest, and a file gives all weights.
    for initializer in (keras.initializers.TruncatedNormal, keras.initializers.VarianceScaling):
        initializer.__call__ = lambda self, shape, dtype=None: keras.ops.zeros(shape, dtype)
    run(pathlib.Path(sys.argv[1]))
