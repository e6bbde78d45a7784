"""What the command line understands, and what it answers to wrong use."""

import pathlib

import pytest

from keras_nest.training import command_line
from keras_nest.training.main import run

CONFIG = f"--config={pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'digits_nest.py'}"

# ml_collections loads configuration files with it.
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")

WRONG = {
    "nothing": ([], "--config is missing; give one, such as --config=configs/digits_nest.py."),
    "no workdir": ([CONFIG], "--workdir is missing; give one, such as --workdir=runs/digits."),
    "no such file": (["--config=nope.py", "--workdir=run"], "There is no configuration file 'nope.py'"),
    "unknown flag": ([CONFIG, "--workdir=run", "--wrkdir=x"], "Unknown command line flag 'wrkdir'"),
    "stray word": ([CONFIG, "--workdir=run", "fast"], "The argument 'fast' has no meaning"),
    "unknown field": ([CONFIG, "--workdir=run", "--config.sed=3"], "unknown field 'sed'; did you mean seed?"),
    "unknown model field": ([CONFIG, "--workdir=run", "--config.model.dim=3"], "NesT has no field 'dim'"),
    "not a number": ([CONFIG, "--workdir=run", "--config.seed=abc"], "--config.seed=abc"),
    "unknown data": (
        [CONFIG, "--workdir=run", "--config.dataset=digit"],
        "no data set 'digit'; did you mean",
    ),
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
    arguments = command_line.parse(
        [
            "train_keras.py",
            CONFIG,
            "--workdir=run",
            "--config.seed=3",
            "--config.learning_rate=0.5",
            "--config.model.num_layers_per_block=(1, 2)",
            "--config.model.qkv_bias=False",
            "--config.min_learning_rate=1e-5",
        ]
    )
    config = arguments.config
    assert (arguments.workdir, arguments.overwrite) == ("run", False)
    assert (config.seed, config.learning_rate, config.model.num_layers_per_block) == (3, 0.5, (1, 2))
    # Fields that the file does not list.
    assert (config.model.qkv_bias, config.min_learning_rate) == (False, 1e-5)


def test_command_lines_do_not_remember_each_other():
    first = command_line.parse(["train_keras.py", CONFIG, "--workdir=a", "--config.seed=3", "--overwrite"])
    second = command_line.parse(["train_keras.py", CONFIG, "--workdir=b"])
    assert (first.config.seed, first.workdir, first.overwrite) == (3, "a", True)
    assert (second.config.seed, second.workdir, second.overwrite) == (0, "b", False)


def test_help_lists_flags_and_fields(capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["train_keras.py", "--help"])
    assert stopped.value.code == 0
    output = capsys.readouterr().out
    assert "--workdir" in output
    assert "optim_wd_ignore" in output


def test_interruption_says_what_to_do(tmp_path, monkeypatch, capsys):
    from keras_nest.training.experiment import Experiment

    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Experiment, "execute", interrupted)
    with pytest.raises(SystemExit) as stopped:
        run(["train_keras.py", CONFIG, f"--workdir={tmp_path / 'run'}"])
    assert stopped.value.code == 130
    assert "the same command starts this training again" in capsys.readouterr().out


def test_result_in_words():
    metrics = {"top1": 0.99444, "top5": 1.0, "loss": 0.0166, "examples": 360, "parameters": 881210}
    words = command_line.results({**metrics, "train_seconds": 59.6, "epochs": 25})
    assert words["test accuracy"] == "99.44% of 360 images"
    assert words["training time"] == "60 s for 25 epochs"
