"""The recipes of the README, run as written; only the download is replaced by a stand-in with new weights."""

import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import keras_nest
from benchmarks import model_table
from keras_nest import conversion
from tests.data import photographs
from tests.data.sources import tfds_offline
from tests.golden import loading

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
INDEX = ROOT / "tests/golden/vit/augreg/index.csv"
# Stand-ins for the published checkpoints: model, fields, layout.
CHECKPOINTS = {
    "gs://gresearch/nest-checkpoints/nest-b_imagenet/ckpt-39.flax": ("nest_base", {}, "linen"),
    "gs://vit_models/imagenet21k/ViT-B_16.npz": (
        "ViT-B_16",
        {"num_classes": 21843, "representation_size": 768},
        "pre_linen",
    ),
    "gs://vit_models/augreg/R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0.npz": (
        "R26_S_32",
        {"num_classes": 21843},
        "pre_linen",
    ),
}


def recipes(language):
    section = README.split("## Recipes")[1].split("\n## ")[0]
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("readme")
    for uri, (name, fields, layout) in CHECKPOINTS.items():
        file = path / local(uri)
        file.parent.mkdir(parents=True)
        conversion.write_checkpoint(keras_nest.create_model(name, **fields), file, layout=layout)
    # Where TFDS looks for what is prepared, and so few images that a batch of the recipe just fills up.
    images = {"train": tfds_offline.images(200, 1), "test": tfds_offline.images(20, 2)}
    labelled = {split: (pixels, np.arange(len(pixels)) % 10) for split, pixels in images.items()}
    tfds_offline.prepare("cifar10", path / "tensorflow_datasets", labelled)
    (path / "images").mkdir()
    photographs.small("rocket").save(path / "images" / "picture.png")
    for name in ("configs", "train_keras.py"):
        (path / name).symlink_to(ROOT / name)
    return path


def local(text):
    """The published addresses as paths below the working directory."""
    return text.replace("gs://", "published/")


def run(command, directory):
    environment = {
        **os.environ,
        "TFDS_DATA_DIR": str(directory / "tensorflow_datasets"),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_python_recipes(directory):
    shown = "logits.shape, embedding.output_shape, list(pyramid.output), list(blocks.output), tokens.output_shape"
    (directory / "recipes.py").write_text(f"{local(recipes('python'))}\nprint({shown}, tuned.output_shape)")
    blocks = [f"block_{k}" for k in (3, 6, 9, 12)]
    expected = ["(1, 1000)", "(None, 384)", ["P2", "P3", "P4"], blocks, "(None, 197, 384)", "(None, 37)"]
    assert " ".join(map(str, expected)) in run([sys.executable, "recipes.py"], directory)


@pytest.mark.slow
def test_shell_recipes(directory):
    text = local(recipes("shell")).replace(
        "download ViT-B_16", "download published/vit_models/imagenet21k/ViT-B_16.npz"
    )
    text = text.replace("--model R26_S_32", f"--model R26_S_32 --index {INDEX}")
    lines = [command.split("  #")[0] for command in text.splitlines() if command]
    assert len(lines) == 14
    outputs = [run(["bash", "-c", line], directory) for line in lines]
    assert (directory / "checkpoints" / "ViT-B_16.npz").exists()
    assert "R26_S_32-i21k-300ep-lr_0.001-aug_medium2" in outputs[1]
    assert "largest difference" in outputs[2]
    assert str(len(loading.shapes("nest_base_s196_224"))) in outputs[3]
    assert "images/s" in outputs[4]
    assert (directory / "digits.png").stat().st_size > 100_000
    assert "picture.png" in outputs[6]
    assert (directory / "answers" / "picture.png").exists()
    assert (directory / "models" / "digits" / "1" / "saved_model.pb").exists()
    assert "dynamic_int8" in outputs[8]
    assert "test 9" in outputs[9]
    assert re.search(r"top-1 accuracy .* 9\d\.\d+", outputs[10])
    assert (directory / "answers" / "words" / "picture.png").exists()
    assert "zero_shot" in outputs[12]
    assert (directory / "answers" / "why" / "picture.png").exists()


def test_table_of_models_is_what_was_measured():
    assert model_table.with_table(README) == README
    assert all(f"\n| `{name}` " in README for name in model_table.published_names())
