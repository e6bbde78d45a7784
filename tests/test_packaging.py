"""What is installed: a command that answers at once, packages under their old names, configurations from anywhere."""

import os
import pathlib
import subprocess
import sys

import pytest

from keras_nest import choices
from keras_nest.cli.explain_methods import METHODS
from keras_nest.cli.parser import COMMANDS
from keras_nest.data import RECIPES
from keras_nest.export.activations import ACTIVATIONS

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
LIGHT = """
import sys
import keras_nest_start
sys.argv = ["keras-nest", *{arguments}]
try:
    keras_nest_start.main()
finally:
    print("loaded:", *[name for name in ("tensorflow", "keras", "numpy", "absl") if name in sys.modules])
"""


def run_python(script, cwd, **variables):
    """Runs a script in a directory, with the checkout on its path."""
    environment = {**os.environ, "PYTHONPATH": PATH, **variables}
    return subprocess.run([sys.executable, "-c", script], cwd=cwd, env=environment, capture_output=True, text=True)


class TestStart:
    @pytest.mark.parametrize("arguments", [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)])
    def test_help_imports_nothing_heavy(self, arguments, tmp_path):
        done = run_python(LIGHT.format(arguments=arguments), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("\nloaded:\n")
        assert len(done.stdout.splitlines()) > 1

    def test_wrong_usage_imports_nothing_heavy(self, tmp_path):
        done = run_python(LIGHT.format(arguments=["fly"]), tmp_path)
        assert done.returncode == 2
        assert done.stdout == "loaded:\n"
        assert "'fly' (choose from" in done.stderr

    def test_completion(self, tmp_path):
        done = run_python(LIGHT.format(arguments=["--print-completion", "bash"]), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        script, loaded = done.stdout.rsplit("loaded:", 1)
        assert loaded == "\n"
        (tmp_path / "keras-nest.bash").write_text(script)
        asked = {
            "keras-nest ex": "export explain",
            "keras-nest export --format ": "saved_model tflite onnx",
            "keras-nest train --config digits_": "digits_gan digits_lit digits_nest",
            "keras-nest predict --model keras": "keras-nest.bash",
        }
        for line, completed in asked.items():
            words = " ".join(f"'{word}'" for word in line.split(" "))
            bash = f"source ./keras-nest.bash; COMP_WORDS=({words}); COMP_CWORD={len(line.split(' ')) - 1}"
            bash += "; _shtab_keras_nest; echo ${COMPREPLY[@]}"
            done = subprocess.run(["bash", "-c", bash], cwd=tmp_path, capture_output=True, text=True, check=True)
            assert done.stdout.strip() == completed

    def test_work_is_done_quietly_with_the_whole_package(self, tmp_path):
        script = (
            "import sys, keras_nest_start as start\nsys.argv = ['keras-nest', 'list', 'vit_flax_nest']\n"
            "assert start.main() == 0\nimport keras_nest\nassert keras_nest.create_model\n"
            "assert sys.modules['keras_nest'] is keras_nest and 'tensorflow' in sys.modules"
        )
        done = run_python(script, tmp_path, TF_CPP_MIN_LOG_LEVEL="0")
        assert (done.returncode, done.stderr) == (0, "")
        assert "vit_flax_nest" in done.stdout


def test_choices_are_those_there_are():
    """The parser must not import the tables; here they are compared."""
    assert tuple(METHODS) == choices.EXPLAIN_METHODS
    assert tuple(ACTIVATIONS) == choices.ACTIVATIONS
    assert tuple(RECIPES) == choices.RECIPES


class TestCheckout:
    """`conversion`, `export` and `train_keras` of a checkout, from another directory with the checkout on the path."""

    def test_one_copy_of_each_module(self, tmp_path):
        script = (
            "import sys, conversion.load, export.saved_model\nfrom conversion.flax_reference import nest\n"
            "import keras_nest.conversion, keras_nest.export\n"
            "assert conversion is keras_nest.conversion and export is keras_nest.export\n"
            "names = [name for name in sys.modules if name.startswith(('conversion.', 'export.'))]\n"
            "print(*names, [name for name in names if sys.modules[name] is not sys.modules[f'keras_nest.{name}']])"
        )
        done = run_python(script, tmp_path)
        *names, twice = done.stdout.split()
        assert {"conversion.load", "conversion.flax_reference", "export.saved_model"} <= set(names), done.stderr
        assert twice == "[]"

    @pytest.mark.parametrize(
        ("command", "told"),
        [
            pytest.param(["-m", "conversion", "--help"], "usage: keras-nest convert", marks=pytest.mark.slow),
            pytest.param(["-m", "conversion", "augreg", "--help"], "usage: keras-nest augreg", marks=pytest.mark.slow),
            pytest.param(["-m", "export", "--help"], "usage: keras-nest export", marks=pytest.mark.slow),
            (["-m", "keras_nest", "--version"], "keras-nest "),
            ([str(ROOT / "train_keras.py"), "--help"], "usage: train_keras.py --config="),
        ],
    )
    def test_commands(self, command, told, tmp_path):
        environment = {**os.environ, "PYTHONPATH": PATH}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert told in done.stdout
        if "keras_nest" not in command:
            assert done.stderr == ""
