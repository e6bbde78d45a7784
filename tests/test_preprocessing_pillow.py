"""Preprocessing as timm and transformers do it, against theirs: within one grey level, shrunk or enlarged."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import export
from keras_nest.preprocessing import EvalPreprocessing
from tests import families
from tests.golden import timm_loading

IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
SPECS = {
    "timm/nest_jx": {**IMAGENET, "crop_ratio": 0.875, "interpolation": "bicubic"},
    "timm/miil": {"mean": [0.0] * 3, "std": [1.0] * 3, "crop_ratio": 0.875, "interpolation": "bilinear"},
    "transformers": {"mean": [0.5] * 3, "std": [0.5] * 3, "stretch": True, "interpolation": "bilinear"},
}
with np.load(timm_loading.FOLDER / "preprocessing.npz") as _file:
    STORED = dict(_file)


def levels(prepared, spec):
    return (np.asarray(prepared) * spec["std"] + spec["mean"]) * 255


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("picture", ["landscape", "portrait", "small", "exact"])
def test_within_one_grey_level(name, picture):
    spec, expected = SPECS[name], STORED[f"{name}/{picture}"]
    preprocess, pixels = EvalPreprocessing(64, **spec, pillow=True), STORED[f"pictures/{picture}"]
    prepared = preprocess(pixels)
    difference = np.abs(levels(prepared, spec) - levels(expected, spec))
    assert difference.max() < 1.01
    assert difference.mean() < 0.25
    # Floats in [0, 1], and a graph.
    data = tf.data.Dataset.from_tensors(pixels.astype(np.float32) / 255).map(preprocess)
    np.testing.assert_allclose(next(iter(data)), prepared, atol=1e-5)


@pytest.mark.slow
def test_models_carry_it_to_exports_and_files(tmp_path):
    model = keras_nest.create_model(weights=str(timm_loading.FOLDER / "cases" / "vit_token"))
    assert model.config["preprocessing"]["pillow"]
    model.save(tmp_path / "vit.keras")
    again = keras_nest.open_model(tmp_path / "vit.keras").model
    pixels = STORED["pictures/landscape"]
    wanted = np.asarray(model(keras_nest.preprocessor(again)(pixels)[None]))
    export.to_saved_model(model, tmp_path / "vit")
    serve = tf.saved_model.load(str(tmp_path / "vit")).signatures["serving_bytes"]
    outputs = serve(image_bytes=tf.constant([tf.io.encode_png(pixels).numpy()]))
    found = np.asarray(outputs["probabilities"])
    np.testing.assert_allclose(found, tf.nn.softmax(wanted), atol=1e-5)


def test_what_is_off_is_not_written():
    assert "pillow" not in families.vit().config["preprocessing"]


@pytest.mark.parametrize(("size", "ratio"), [(31, 0.9), (64, 1.0), ((32, 48), 0.875), ((48, 32), 1.0)])
def test_sides_and_corner_are_those_of_torchvision_and_timm(size, ratio):
    height, width = (size, size) if isinstance(size, int) else size
    around = [math.floor(side / ratio) for side in (height, width)]
    spec = EvalPreprocessing(size, [0.5] * 3, [0.5] * 3, crop_ratio=ratio, pillow=True)
    for sides in itertools.product(range(40, 90, 7), range(33, 140, 13)):
        if height == width:
            short, long = min(sides), max(sides)
            resized = [around[0] if side == short else int(around[0] * long / short) for side in sides]
        else:
            scale = min(side / target for side, target in zip(sides, around, strict=True))
            resized = [round(side / scale) for side in sides]
        corner = [round((side - kept) / 2) for side, kept in zip(resized, (height, width), strict=True)]
        found = spec.geometry(tf.constant(sides))
        assert (found.resized.numpy().tolist(), found.corner.numpy().tolist()) == (resized, corner)
