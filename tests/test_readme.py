"""The recipes of the README, run as written; only the download is replaced by a stand-in with new weights."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import conversion
import keras_nest
from tests.golden import loading

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CHECKPOINT = "gs://gresearch/nest-checkpoints/nest-b_imagenet"


def recipes(language):
    section = README.split("## Recipes")[1].split("\n## ")[0]
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme")
    (path / "nest-b_imagenet").mkdir()
    model = keras_nest.create_model("nest_base")
    conversion.write_checkpoint(model, path / "nest-b_imagenet" / "ckpt-39.flax")
    for name in ("configs", "train_keras.py"):
        (path / name).symlink_to(ROOT / name)
    return path


def run(command, directory):
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_python_recipes(directory):
    script = recipes("python").replace(CHECKPOINT, "nest-b_imagenet")
    (directory / "recipes.py").write_text(
        script + "\nprint(logits.shape, embedding.output_shape, list(pyramid.output))"
    )
    assert "(1, 1000) (None, 384) ['P2', 'P3', 'P4']" in run([sys.executable, "recipes.py"], directory)


@pytest.mark.slow
def test_shell_recipes(directory):
    commands = recipes("shell").replace(CHECKPOINT, "nest-b_imagenet").splitlines()
    lines = [command.split("  #")[0] for command in commands if command]
    assert len(lines) == 3
    outputs = [run(["bash", "-c", line], directory) for line in lines]
    assert "largest difference" in outputs[0]
    assert str(len(loading.shapes("nest_base_s196_224"))) in outputs[1]
    assert (directory / "runs" / "digits" / "model.keras").exists()


def test_table_of_models_is_current():
    for name in keras_nest.list_models():
        assert re.search(rf"\| `{name}` \|.*\| {keras_nest.registry.PARAMETERS[name]:,} \|", README), name
