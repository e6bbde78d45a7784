"""Position embeddings at another image size: as timm, and PyTorch below it, resize them."""

import logging
import shutil

import numpy as np
import pytest

import keras_nest
from keras_nest.layers.embeddings import resize_maps
from tests.golden import timm_loading

# What timm 1.0.31 made of cases/vit_token and vit_gap with another img_size, and torch 2.13.0's
# `interpolate(mode="bicubic")` of maps, with antialias ("timm") and without ("transformers").
with np.load(timm_loading.FOLDER / "resized.npz") as file:
    GOLDEN = dict(file)
MAPS = [key for key in GOLDEN if key.startswith("maps/")]
SIZES = [(case, size) for case in ("vit_token", "vit_gap") for size in ("48x48", "24x24", "32x56")]


def size_of(text):
    return tuple(map(int, text.split("x")))


@pytest.mark.parametrize("key", MAPS)
def test_maps(key):
    _, size, method = key.split("/")
    np.testing.assert_allclose(resize_maps(GOLDEN["maps"], size_of(size), method), GOLDEN[key], rtol=0, atol=3e-6)


@pytest.mark.parametrize(("case", "size"), SIZES)
def test_a_file_of_timm_at_another_size_is_timms(case, size, caplog):
    folder = timm_loading.FOLDER / "cases" / case
    with caplog.at_level(logging.WARNING, "keras_nest"):
        model = keras_nest.create_model(weights=str(folder), image_size=size_of(size))
    assert "bicubically as timm does" in caplog.text
    # Drawn as the golden's were: channels in front.
    images = np.random.Generator(np.random.PCG64(7)).standard_normal((2, 3, *size_of(size))).astype(np.float32)
    logits = model(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, GOLDEN[f"{case}/{size}/logits"], rtol=0, atol=2e-5)


def test_without_config_the_name_tells(tmp_path):
    case = timm_loading.case("vit_token")
    file = shutil.copy(case.folder / "model.safetensors", tmp_path)
    fields = {name: value for name, value in case.fields.items() if name not in ("class", "image_size")}
    model = keras_nest.create_model("ViT-S_16", weights=str(file), image_size=48, **fields)
    images = np.random.Generator(np.random.PCG64(7)).standard_normal((2, 3, 48, 48)).astype(np.float32)
    logits = model(images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, GOLDEN["vit_token/48x48/logits"], rtol=0, atol=2e-5)


def test_linearly_where_it_is_asked_for():
    folder = str(timm_loading.FOLDER / "cases" / "vit_token")
    images = np.random.Generator(np.random.PCG64(7)).standard_normal((2, 3, 48, 48)).astype(np.float32)
    logits = keras_nest.create_model(weights=folder, image_size=48, resize_method="grid")(images.transpose(0, 2, 3, 1))
    assert np.abs(logits - GOLDEN["vit_token/48x48/logits"]).max() > 1e-3


def test_nest_is_never_resized_by_timm():
    folder = str(timm_loading.FOLDER / "cases" / "nest_two_levels_nobias")
    size = keras_nest.create_model(weights=folder).image_size[0] * 2
    assert keras_nest.create_model(weights=folder, image_size=size).image_size == (size, size)
    with pytest.raises(ValueError, match="timm does not resize the position embeddings of NesT"):
        keras_nest.create_model(weights=folder, image_size=size, resize_method="timm")
