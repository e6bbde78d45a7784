"""What the command line understands, and what it answers to wrong use."""

import pathlib
import shutil

import pytest
import tensorflow as tf

from keras_nest.cli import train_arguments
from keras_nest.cli.train import run
from keras_nest.training.experiment import Experiment
from keras_nest.training_fields import HEADINGS
from tests.training import runs

CONFIG = f"--config={pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'digits_nest.py'}"

parse = train_arguments.parse

WRONG = {
    "nothing": ([], "--config is missing; give one, such as --config=digits_nest."),
    "no workdir": ([CONFIG], "--workdir is missing; give one, such as --workdir=runs/digits."),
    "no such file": (["--config=nope.py", "--workdir=run"], "There is no configuration 'nope.py', neither"),
    "refused argument": (
        ["--config=vit:b16,photos", "--workdir=run"],
        "There is no directory 'photos', and no settings",
    ),
    "no argument": (
        ["--config=vit", "--workdir=run"],
        "needs an argument behind a colon, --config=vit:MODEL_DATASET. Fine-tunes",
    ),
    "no configuration": (["--config=digit_nest", "--workdir=run"], "did you mean digits_nest or"),
    "unknown flag": ([CONFIG, "--workdir=run", "--wrkdir=x"], "Unknown command line flag 'wrkdir'"),
    "stray word": ([CONFIG, "--workdir=run", "fast"], "The argument 'fast' has no meaning"),
    "unknown field": ([CONFIG, "--workdir=run", "--config.sed=3"], "unknown field 'sed'; did you mean seed?"),
    "unknown model field": ([CONFIG, "--workdir=run", "--config.model.dim=3"], "NesT has no field 'dim'"),
    "other kind": (
        [CONFIG, "--workdir=run", "--config.prefetch=1"],
        "'prefetch'; it belongs to configurations that count",
    ),
    "no option": (
        [CONFIG, "--workdir=run", "--seed=3"],
        "There is no option --seed; fields of the configuration go as",
    ),
    "GPUs": ([CONFIG, "--workdir=run", "--strategy=gpu"], "no strategy 'gpu'; did you mean mirrored (all GPUs of this"),
    "not a number": (
        [CONFIG, "--workdir=run", "--config.seed=abc"],
        "--config.seed is 'abc'; it must be a whole number.",
    ),
    "unknown data": (
        [CONFIG, "--workdir=run", "--config.dataset=digit"],
        "no data set 'digit'; did you mean",
    ),
    "half precision": ([CONFIG, "--workdir=run", "--config.dtype_policy=float16"], "dtype_policy is 'float16'; it"),
    "unknown layer": ([CONFIG, "--workdir=run", "--config.freeze=('Dens_0',)"], "no layer has; did you mean Dense_0"),
    "no checkpoint": ([CONFIG, "--workdir=run", "--config.init_checkpoint=nope.npz"], "nope.npz"),
    "unknown strategy": ([CONFIG, "--workdir=run", "--strategy=tpus"], "no strategy 'tpus'; did you mean tpu?"),
    "no TPU": ([CONFIG, "--workdir=run", "--tpu=grpc://127.0.0.1:1"], "No TPU answers at grpc://127.0.0.1:1"),
    "unwritable": ([CONFIG, "--workdir=/proc/run"], "/proc/run cannot be written to"),
    "not a directory": ([CONFIG, f"--workdir={__file__}"], "is a file; the working directory must be a directory."),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_ends_with_one_sentence(case, tmp_path, monkeypatch, capsys):
    arguments, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run(["train_keras.py", *arguments])
    assert stopped.value.code == 2
    output, errors = capsys.readouterr()
    assert message in errors
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, "one sentence, one line"
    assert output == ""
    assert not list(tmp_path.iterdir())


def test_overrides():
    arguments = parse(
        [
            "train_keras.py",
            CONFIG,
            "--workdir=run",
            "--strategy=mirrored",
            "--tpu=local",
            "--config.seed=3",
            "--config.learning_rate=0.5",
            "--config.model.num_layers_per_block=(1, 2)",
            "--config.model.qkv_bias=False",
            "--config.min_learning_rate=1e-5",
        ]
    )
    config = arguments.config
    assert (arguments.workdir, arguments.overwrite) == ("run", False)
    assert (arguments.strategy, arguments.tpu) == ("mirrored", "local")
    assert (config.seed, config.learning_rate, config.model.num_layers_per_block) == (3, 0.5, (1, 2))
    # Fields that the file does not list.
    assert (config.model.qkv_bias, config.min_learning_rate) == (False, 1e-5)


def test_command_lines_do_not_remember_each_other():
    first = parse(["train_keras.py", CONFIG, "--workdir=a", "--config.seed=3", "--overwrite", "--trust"])
    second = parse(["train_keras.py", CONFIG, "--workdir=b"])
    assert (first.config.seed, first.workdir, first.overwrite) == (3, "a", True)
    assert (second.config.seed, second.workdir, second.overwrite) == (0, "b", False)
    assert (second.strategy, second.tpu) == ("auto", None)
    assert (first.trust, second.trust) == (True, False)


def test_an_argument_of_the_configuration_file(tmp_path):
    file = tmp_path / "config.py"
    lines = ("import ml_collections as ml", "def get_config(name):", "    return ml.ConfigDict({'model_name': name})")
    file.write_text("\n".join(lines))
    arguments = parse(["train_keras.py", f"--config={file}:B_16", "--workdir=run"])
    assert arguments.config.model_name == "B_16"


@pytest.mark.parametrize("option", ["--help", "--helpfull"])
def test_help_has_a_line_for_each_field(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["train_keras.py", option])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for word in ("--workdir", "--strategy", "multi_worker"):
        assert any(word in line for line in lines)
    for fields in HEADINGS.values():
        for name, field in fields.items():
            assert any(line.startswith(f"  {name} ") and field.about.split()[0] in line for line in lines), name
    assert max(map(len, lines)) <= 120


def start(tmp_path, monkeypatch, error):
    """Runs the command line with a training that ends with an error; returns the exit code."""

    def execute(self):
        raise error

    monkeypatch.setattr(Experiment, "execute", execute)
    flag = runs.write_config(tmp_path / "config.py", {**runs.CONFIG, "ema_decay": 0.0})
    with pytest.raises(SystemExit) as stopped:
        run(["train_keras.py", flag, f"--workdir={tmp_path / 'run'}"])
    return stopped.value.code


def test_interruption_says_what_to_do(tmp_path, monkeypatch, capsys):
    assert start(tmp_path, monkeypatch, KeyboardInterrupt()) == 130
    said = "Interrupted; no checkpoint is written yet, and the same command starts again."
    assert said in capsys.readouterr().out
    (tmp_path / "run/checkpoints").mkdir()
    (tmp_path / "run/checkpoints/ckpt-24.index").touch()
    assert start(tmp_path, monkeypatch, KeyboardInterrupt()) == 130
    assert "Interrupted; the same command goes on from the last checkpoint." in capsys.readouterr().out


def test_what_is_no_wrong_use_keeps_its_traceback(tmp_path, monkeypatch):
    error = tf.errors.InternalError(None, None, "a defect")
    with pytest.raises(tf.errors.InternalError, match="a defect"):
        start(tmp_path, monkeypatch, error)


def test_a_finished_training_is_told_and_shown_again(finished, tmp_path, monkeypatch, capsys):
    workdir, metrics = finished
    shutil.copytree(workdir, tmp_path / "run")
    monkeypatch.setattr(Experiment, "execute", None)
    run(["train_keras.py", runs.write_config(tmp_path / "config.py", runs.CONFIG), f"--workdir={tmp_path / 'run'}"])
    output, errors = capsys.readouterr()
    assert output.startswith(f"{tmp_path / 'run'} holds this run, finished; --overwrite starts it anew.\n")
    assert f"{metrics['top1']:.2%} of 360 images" in output
    assert errors == ""
