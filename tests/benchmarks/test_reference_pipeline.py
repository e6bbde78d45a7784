"""NesT's own pipeline beside ours: what its code gets here, and what is taken from it."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import input_pipeline, reference_pipeline
from keras_nest.data import operations

PREPROCESS = """
from tensorflow_addons import image as addons
IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)

def train_preprocess(features, size):
    return {"image": addons.translate(features["pixels"], [0, 0])[:size, :size], "label": features["label"]}

def get_augment_preprocess(augment, *, colorjitter_params, randerasing_params, mean, std, basic_process):
    import tensorflow as tf
    def prepare(features):
        pixels = tf.cast(tf.io.decode_jpeg(features["image"]), tf.float32) / 255
        outputs = basic_process({"pixels": pixels, "label": features["label"]})
        outputs["image"] = (outputs["image"] - mean) / std + augment.shift + 0 * randerasing_params.erase_prob
        outputs["key"] = features["rng"]
        return outputs
    return prepare

def create_mix_augment(num_classes, smoothing):
    import tensorflow as tf
    def mix(features):
        return {**features, "label": (1 - smoothing) * tf.one_hot(features["label"], num_classes)}
    return mix
"""
CONFIG = """
import ml_collections

def get_config():
    fields = {"augment": {"shift": 7.0}, "randerasing": {"erase_prob": 0.25}, "mix": {"smoothing": 0.1}}
    return ml_collections.ConfigDict({**fields, "colorjitter": {}})
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with the names of the reference's, and none of it left behind."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    for name, text in {"libml/preprocess.py": PREPROCESS, "configs/imagenet_nest.py": CONFIG}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    yield tmp_path
    for name in {"libml", "libml.preprocess", "tensorflow_addons"} - before:
        del sys.modules[name]


def test_batches_are_those_that_its_functions_make(checkout):
    source = input_pipeline.photographs(quality=95, count=4)
    batch = next(iter(reference_pipeline.reference(checkout, source, side=32, batch_size=2)))
    assert batch["image"].shape == (2, 32, 32, 3)
    assert batch["label"].shape == (2, 1000)
    assert tf.reduce_max(batch["label"]).numpy() == pytest.approx(0.9)
    assert 5 <= tf.reduce_mean(batch["image"]).numpy() <= 9
    keys = {tuple(key) for key in batch["key"].numpy()}
    assert len(keys) == 2


def test_it_is_measured_in_the_same_rounds(checkout):
    source = input_pipeline.photographs(quality=95, count=input_pipeline.BATCH)
    batches = reference_pipeline.reference(checkout, source, side=32, batch_size=input_pipeline.BATCH)
    rows = input_pipeline.measure(source, "nest", 32, 1, 0.01, {input_pipeline.REFERENCE: batches})
    (row,) = (row for row in rows if row["candidate"] == input_pipeline.REFERENCE)
    assert row["median ms"] > 0
    assert row["ms added"] == ""


def test_another_directory_is_refused_before_any_work(tmp_path, capsys):
    with pytest.raises(SystemExit):
        input_pipeline.main(["--quick", f"--reference={tmp_path}"])
    assert f"--reference={tmp_path} is no checkout of NesT's own code." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ours", "theirs", "amounts"),
    [
        (operations.rotate, lambda image, degrees: ("rotate", degrees * np.pi / 180), (-30.0, 7.0, 27.0)),
        (operations.translate_x, lambda image, pixels: ("translate", [-pixels, 0.0]), (-9.5, 4.0)),
        (operations.translate_y, lambda image, pixels: ("translate", [0.0, -pixels]), (-9.5, 4.0)),
        (operations.shear_x, lambda image, amount: ("transform", [1, amount, 0, 0, 1, 0, 0, 0]), (-0.27, 0.3)),
    ],
)
def test_geometry_of_tensorflow_addons(ours, theirs, amounts):
    """Ours has the reference's numbers, see tests/data; the reference wraps its image to know what is outside."""
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    wrapped = tf.constant(np.concatenate([image, np.ones((20, 24, 1), np.uint8)], 2))
    for amount in amounts:
        name, argument = theirs(image, amount)
        moved = getattr(reference_pipeline.addons().image, name)(wrapped, argument).numpy()
        expected = np.where(moved[..., 3:] == 0, 128, moved[..., :3])
        np.testing.assert_array_equal(ours(image, tf.constant(amount)), expected)
