"""What is installed: a command that answers at once, packages under their old names, configurations from anywhere."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

from keras_nest import choices
from keras_nest.cli.parser import COMMANDS
from keras_nest.data import RECIPES
from keras_nest.explain.methods import METHODS
from keras_nest.export.activations import ACTIVATIONS

ROOT = pathlib.Path(__file__).resolve().parents[1]
PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
HEAVY = ["flax", "jax", "matplotlib", "orbax", "pandas", "sklearn", "tensorflow_datasets", "tensorflow_hub"]
HEAVY += ["tensorflow_text"]
LIGHT = """
import contextlib, io, json, sys
import keras_nest_start
answers = []
for words in {lines}:
    sys.argv = ["keras-nest", *words]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = keras_nest_start.main()
        except SystemExit as ended:
            code = ended.code
    loaded = [name for name in ("tensorflow", "keras", "numpy", "absl") if name in sys.modules]
    answers.append((words, code or 0, out.getvalue(), err.getvalue(), loaded))
print(json.dumps(answers))
"""


def run_python(script, cwd, **variables):
    """Runs a script in a directory, with the checkout on its path."""
    environment = {**os.environ, "PYTHONPATH": PATH, **variables}
    return subprocess.run([sys.executable, "-c", script], cwd=cwd, env=environment, capture_output=True, text=True)


class TestStart:
    def test_help_and_wrong_usage_import_nothing_heavy(self, tmp_path):
        lines = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS), ["fly"]]
        done = run_python(LIGHT.format(lines=lines), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        *helps, (_, code, told, complaint, loaded) = json.loads(done.stdout)
        assert len(helps) == 2 + len(COMMANDS)
        for words, *answer in helps:
            assert answer == [0, answer[1], "", []], words
            assert answer[1], words
        assert (code, told, loaded) == (2, "", [])
        assert "'fly' (choose from" in complaint

    def test_completion(self, tmp_path):
        done = run_python(LIGHT.format(lines=[["--print-completion", "bash"]]), tmp_path)
        ((_, code, script, complaint, loaded),) = json.loads(done.stdout)
        assert (code, complaint, loaded) == (0, "", [])
        (tmp_path / "keras-nest.bash").write_text(script)
        asked = {
            "keras-nest ex": "export explain",
            "keras-nest export --format ": "saved_model tflite onnx keras web",
            "keras-nest train --config digits_": "digits_gan digits_lit digits_nest",
            "keras-nest predict --model keras": "keras-nest.bash",
        }
        for line, completed in asked.items():
            words = " ".join(f"'{word}'" for word in line.split(" "))
            bash = f"source ./keras-nest.bash; COMP_WORDS=({words}); COMP_CWORD={len(line.split(' ')) - 1}"
            bash += "; _shtab_keras_nest; echo ${COMPREPLY[@]}"
            done = subprocess.run(["bash", "-c", bash], cwd=tmp_path, capture_output=True, text=True, check=True)
            assert done.stdout.strip() == completed


def test_choices_are_those_there_are():
    """The parser must not import the tables; here they are compared."""
    assert tuple(METHODS) == choices.EXPLAIN_METHODS
    assert tuple(ACTIVATIONS) == choices.ACTIVATIONS
    assert tuple(RECIPES) == choices.RECIPES


@pytest.mark.slow
def test_importing(tmp_path):
    """A command makes the whole package, the packages of a checkout are no second copies, and nothing heavy is loaded.

    Heavy is what Keras does not load itself; converting and exporting need none of it either. The directory is another
    one than the checkout, which is on the path.
    """
    script = (
        "import sys, keras\nbefore = set(sys.modules)\nimport keras_nest_start as start\n"
        "sys.argv = ['keras-nest', 'list', 'vit_flax_nest']\nassert start.main() == 0\n"
        "import keras_nest\nassert keras_nest.create_model and sys.modules['keras_nest'] is keras_nest\n"
        "import conversion.load, export.saved_model, keras_nest.cli, keras_nest.cli.train\n"
        f"print('heavy', *(name for name in {HEAVY} if name in sys.modules and name not in before))\n"
        "from conversion.flax_reference import nest\nimport keras_nest.conversion, keras_nest.export\n"
        "assert conversion is keras_nest.conversion and export is keras_nest.export\n"
        "names = [name for name in sys.modules if name.startswith(('conversion.', 'export.'))]\n"
        "print(*names)\nprint([name for name in names if sys.modules[name] is not sys.modules[f'keras_nest.{name}']])"
    )
    done = run_python(script, tmp_path)
    assert done.returncode == 0, done.stderr
    *listed, heavy, names, twice = done.stdout.splitlines()
    assert "vit_flax_nest" in " ".join(listed)
    assert heavy == "heavy"
    assert {"conversion.load", "conversion.flax_reference", "export.saved_model"} <= set(names.split())
    assert twice == "[]"


def test_the_package_runs_as_a_module(monkeypatch, capsys):
    """In this process; a module as a process of its own: tests/compatibility/test_surface.py."""
    monkeypatch.setattr(sys, "argv", ["keras_nest", "--version"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("keras_nest", run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("keras-nest ")
