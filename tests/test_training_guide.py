"""Each command line of docs/training.md is understood: its configuration is complete, and its model known."""

import pathlib
import re
import shlex

import pytest

from keras_nest import registry
from keras_nest.cli import train_arguments
from keras_nest.cli.train import FIELDS, TASKS
from keras_nest.training.strategies import STRATEGIES
from keras_nest.training.tasks import task_name

ROOT = pathlib.Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "training.md").read_text("utf-8")
LINES = [line for block in re.findall(r"```shell\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines()]


# ml_collections loads configuration files with it.
@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
@pytest.mark.parametrize("line", LINES)
def test_command(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(line.removeprefix("python "))
    assert program == "train_keras.py"
    parsed = train_arguments.parse([program, *arguments], FIELDS)
    assert parsed.strategy in STRATEGIES
    config = TASKS[task_name(parsed.config)].resolve(parsed.config)
    name, architecture, _ = registry.resolve(config.model_name)
    registry.check_fields(architecture, dict(parsed.config.get("model") or {}))
    assert name in registry.list_models()


def test_all_configurations_are_listed():
    shared = {"__init__", "nest", "fine_tuning"}
    files = {path.name for path in (ROOT / "configs").glob("*.py") if path.stem not in shared}
    assert {file for file in files if f"`{file}" in GUIDE} == files
