"""The code of README and docs/, run as written; stand-ins with new weights take the place of what is published."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import keras_nest
from keras_nest import conversion
from keras_nest.models.families import MODELS
from tests import pages
from tests.data import photographs
from tests.data.sources import tfds_offline
from tests.narrow import narrowed
from tests.pages import ROOT

INDEX = ROOT / "tests/golden/vit/augreg/index.csv"
HOW_TO = ("add-a-family", "add-a-data-set", "add-an-export-format")
# Stand-ins for the published checkpoints: model, fields, layout.
CHECKPOINTS = {
    "gs://gresearch/nest-checkpoints/nest-b_imagenet/ckpt-39.flax": ("nest_base", {}, "linen"),
    "gs://gresearch/nest-checkpoints/nest-t_imagenet/ckpt-39.flax": ("nest_tiny", {}, "linen"),
    "gs://vit_models/imagenet21k/ViT-B_16.npz": (
        "ViT-B_16",
        {"num_classes": 21843, "representation_size": 24},
        "pre_linen",
    ),
    "gs://vit_models/augreg/R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0.npz": (
        "R26_S_32",
        {"num_classes": 21843},
        "pre_linen",
    ),
}
# Commands that need published data or files, a server, or all of the time.
NOT_RUN = ("pip ", "make ", "docker", "printf", ".ci/run", "gs://", "names.txt", "S_16.npz", "LiT-B16B_2", "runs/demo")
NOT_RUN += ("keras-nest app", "labels.csv", "ages.csv")
NOT_RUN += tuple(f"configs/{name}" for name in ("imagenet", "cifar", "vit.py", "mixer", "augreg", "inference_time"))
# What is shorter, smaller or elsewhere than as written.
STAND_INS = {
    "--model hf://timm/nest_tiny_jx.goog_in1k": "--model nest_tiny --weights gs://gresearch/nest-checkpoints/nest-t_imagenet",
    '"hf://timm/nest_tiny_jx.goog_in1k"': '"nest_tiny", weights="gs://gresearch/nest-checkpoints/nest-t_imagenet"',
    "gs://": "published/",
    "download ViT-B_16": "download published/vit_models/imagenet21k/ViT-B_16.npz",
    "augreg --model R26_S_32": f"augreg --model R26_S_32 --index {INDEX}",
    "photographs.py photos": "photographs.py photos --train=8 --test=2",
    "--config.dataset=photos": "--config.dataset=photos --config.num_epochs=1 --config.warmup_epochs=0",
    "epochs=5, validation_data": "epochs=1, validation_data",
    "keras-nest finetune photos": "keras-nest finetune photos --image-size 64 --blocks 0",
    "--config.num_epochs=2 --config.warmup_epochs=1": "--config.num_epochs=1 --config.warmup_epochs=0",
    "--recipe nest --speed": "--recipe nest --speed --duration 0.1",
    "configs/digits_lit.py": "configs/digits_lit.py --config.num_epochs=4",
    'create_model("LiT-B16B_2", weights="published/vit_models/lit/LiT-B16B_2.npz")': (
        'create_model(weights="runs/digits_lit/model.keras")'
    ),
    "EncoderNDBlock_5": "EncoderNDBlock_2",
    "LiT-B16B_2.txt": "runs/digits_lit/vocab.txt",
}


def stand_in(text):
    """What is run in the place of what is written."""
    for written, run in STAND_INS.items():
        text = text.replace(written, run)
    return text


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """Where pages are run: with the repository's programs, a photograph, and a data set where TFDS looks for it."""
    for name, entry in narrowed().items():
        monkeypatch.setitem(MODELS, name, entry)
    images = {"train": tfds_offline.images(200, 1), "test": tfds_offline.images(20, 2)}
    labeled = {split: (pixels, np.arange(len(pixels)) % 10) for split, pixels in images.items()}
    tfds_offline.prepare("cifar10", tmp_path / "tensorflow_datasets", labeled)
    (tmp_path / "images").mkdir()
    photographs.small("rocket").save(tmp_path / "images" / "picture.png")
    for name in ("photo.jpg", "picture.jpg"):
        photographs.small("rocket").save(tmp_path / name)
    for name in ("configs", "examples", "train_keras.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def write_checkpoints(directory, *words):
    """Writes the stand-ins whose addresses have one of these words."""
    for uri, (name, fields, layout) in CHECKPOINTS.items():
        if any(word in uri for word in words):
            file = directory / stand_in(uri)
            file.parent.mkdir(parents=True)
            conversion.write_checkpoint(keras_nest.create_model(name, **fields), file, layout=layout)


def run(directory, *lines):
    """Outputs of commands, all in one process, which must succeed; tests/test_packaging.py starts programs."""
    environment = {
        **os.environ,
        "TFDS_DATA_DIR": str(directory / "tensorflow_datasets"),
        "PYTHONPATH": str(ROOT),
    }
    talk = {"input": json.dumps(lines), "capture_output": True, "text": True}
    command = [sys.executable, ROOT / "tests/shell.py"]
    done = subprocess.run(command, cwd=directory, env=environment, **talk, timeout=900)
    assert done.returncode == 0, f"{lines}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout)


def program(page, directory, shown="''"):
    """The command that runs the Python blocks of a page as one program, which prints `shown` at the end."""
    blocks = [block for block in pages.blocks(page, "python") if not any(words in block for words in pages.ELSEWHERE)]
    text = stand_in("\n".join([pages.PYTHON[page], *blocks, f"print({shown})"]))
    file = directory / f"{pathlib.Path(page).stem}.py"
    file.write_text(text, "utf-8")
    return f"python {file.name}"


def commands(*of_pages):
    """The shell commands of pages that are run, page by page and in order."""
    lines = [stand_in(line) for page in of_pages for line in pages.commands(page)]
    lines = [line for line in lines if not any(words in line for words in NOT_RUN)]
    assert lines
    return lines


@pytest.mark.slow
def test_readme(directory):
    write_checkpoints(directory, "nest-t")
    shown = program("README.md", directory, "logits.shape, model.output_shape, sep=' '")
    *_, shapes = run(directory, *commands("README.md"), shown)
    assert "(1, 6) (None, 6)" in shapes
    assert (directory / "answers" / "mosaic.png").stat().st_size > 10_000
    assert (directory / "models" / "photos" / "1" / "saved_model.pb").exists()


@pytest.mark.slow
def test_own_photographs(directory):
    write_checkpoints(directory, "nest-t")
    written, tuned, predicted, *measured = run(directory, *commands("docs/guides/own-photos.md"))
    assert "6 photographs" in written
    assert "60 images of 6 classes, 160 x 160 pixels" in tuned
    assert "as given, and 15%" in tuned
    assert "mosaic.png" in predicted
    assert ["of 12 images" in output for output in measured] == [True, True, False]
    assert (directory / "val.html").stat().st_size > 10_000


@pytest.mark.slow
def test_published_checkpoints(directory):
    write_checkpoints(directory, "")
    shown = "list(pyramid.output), list(blocks.output), tokens.output_shape, tuned.output_shape"
    begun = program("docs/getting-started.md", directory, "logits.shape")
    loaded = program("docs/guides/checkpoints.md", directory, shown)
    tuned = program("docs/guides/fine-tuning.md", directory, "model.output_shape")
    # The published addresses are stand-ins here, so that these lines are run in spite of them.
    lines = [stand_in(line) for line in pages.commands("docs/guides/checkpoints.md")]
    outputs = run(directory, begun, loaded, *lines, tuned)
    assert "(2, 1000)" in outputs[0]
    expected = [["P2", "P3", "P4"], [f"block_{k}" for k in (3, 6, 9, 12)], (None, 197, 384), (None, 37)]
    assert " ".join(map(str, expected)) in outputs[1]
    assert (directory / "checkpoints" / "ViT-B_16.npz").exists()
    assert "R26_S_32-i21k-300ep-lr_0.001-aug_medium2" in outputs[3]
    assert "largest difference" in outputs[4]
    assert (directory / "nest_base.npz").exists()
    assert "(None, 10)" in outputs[-1]


@pytest.mark.slow
def test_digits_from_training_to_export(directory):
    guides = [f"docs/guides/{guide}.md" for guide in ("fine-tuning", "explaining", "training", "lit")]
    towers = "keras-nest export runs/digits_lit --format tflite --output lit_tflite"
    programs = [
        program("docs/guides/lit.md", directory, "probabilities.shape"),
        program("docs/guides/export.md", directory),
        program("docs/guides/tflite.md", directory, "rows"),
    ]
    *outputs, shape, _, _, rows = run(directory, *commands(*guides), *programs[:2], towers, programs[2])
    for answers in ("tuned", "why", "words"):
        assert (directory / "answers" / answers / "picture.png").exists()
    assert "dynamic_int8" in "".join(outputs)
    assert re.search(r"top-1 accuracy .* 9\d\.\d+", "".join(outputs))
    assert "(2, 2)" in shape
    assert "dynamic_int8" in rows


@pytest.mark.slow
def test_data_explaining_and_how_to(directory):
    programs = [
        program("docs/guides/data.md", directory, "next(iter(train))[0].shape"),
        program("docs/guides/explaining.md", directory, "leaf.shape"),
        *(program(f"docs/development/{page}.md", directory) for page in HOW_TO),
    ]
    *_, speed, batch, leaf, _, _, _ = run(directory, *commands("docs/guides/data.md"), *programs)
    assert "images/s" in speed
    assert (directory / "recipe.jpg").stat().st_size > 50_000
    assert "(192, 32, 32, 3)" in batch
    assert "(2, 4)" in leaf
