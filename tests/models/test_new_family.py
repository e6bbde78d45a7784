"""A new architecture costs one file of the model and one of its Flax oracle; everything else finds it."""

import importlib.util
import pathlib
import sys

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import conversion, export
from keras_nest.conversion import flax_reference
from keras_nest.conversion.flax_reference.modules import MODULES
from keras_nest.conversion.tree import flatten
from keras_nest.conversion.verify import largest_difference
from keras_nest.explain import attention_maps, class_activation_map, gradcat
from keras_nest.models import families
from tests.export import toys
from tests.families import randomized

MODEL = '''
"""A toy: a patch embedding, a pointwise layer, the mean of the map, and a head."""

from typing import Any, ClassVar

import keras

from keras_nest.models.base import IMAGENET_PREPROCESSING, ImageModel, Paper
from keras_nest.models.families import register_family
from keras_nest.models.fields import constructor_arguments, resolve_policy
from keras_nest.models.heads import classifier_endpoints
from keras_nest.models.inputs import image_input
from keras_nest.types import as_size

VARIANTS = {"toy_8": {"image_size": 8, "num_classes": 3, "preprocessing": IMAGENET_PREPROCESSING}}


@register_family(VARIANTS, {"toy": "toy_8"})
class Toy(ImageModel):
    PAPER: ClassVar[Paper | None] = Paper("Toys for All, 2026", "https://example.org/toys")
    HEAD: ClassVar[tuple[str, ...]] = ("head",)

    def __init__(
        self,
        num_classes: int = 10,
        image_size: Any = 32,
        in_channels: int = 3,
        width: int = 6,
        features_only: bool = False,
        classifier_activation: str | None = None,
        preprocessing: dict[str, Any] | None = None,
        dtype: Any = None,
        name: str | None = "toy",
    ) -> None:
        config = constructor_arguments(Toy, locals())
        policy = resolve_policy(dtype)
        config |= {"image_size": as_size(image_size), "dtype": policy.name}
        inputs, images = image_input(Toy, config, policy)
        stem = keras.layers.Conv2D(width, 2, strides=2, name="stem", dtype=policy)(images)
        x = keras.layers.Conv2D(width, 1, activation="relu", name="mixing", dtype=policy)(stem)
        endpoints = {"stem": stem, "mixing": x, "level_1": x}
        if not features_only:
            endpoints |= classifier_endpoints(x, num_classes, policy, classifier_activation, name="head")
        super().__init__(inputs, endpoints, config, name=name)
'''

ORACLE = """
import flax.linen as nn

from keras_nest.conversion.flax_reference import register_module


@register_module
class Toy(nn.Module):
    num_classes: int = 10
    width: int = 6

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Conv(self.width, (2, 2), strides=(2, 2), padding="VALID", name="stem")(images)
        x = nn.relu(nn.Conv(self.width, (1, 1), name="mixing")(x)).mean((1, 2))
        return nn.Dense(self.num_classes, name="head")(x) if self.num_classes else x
"""

# Normalized, and reproducible.
IMAGES = np.clip(np.random.default_rng(0).standard_normal((2, 8, 8, 3), np.float32), -2, 2)


def run(name: str, text: str, folder: pathlib.Path) -> None:
    """Imports a module of that text."""
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


@pytest.fixture(scope="module", autouse=True)
def family(tmp_path_factory):
    """The family while the tests of this file run."""
    tables = (families.ARCHITECTURES, families.MODELS, families.ALIASES, MODULES)
    before = [dict(table) for table in tables]
    custom = dict(keras.saving.get_custom_objects())
    folder = tmp_path_factory.mktemp("family")
    run("toy_model", MODEL, folder)
    run("toy_oracle", ORACLE, folder)
    yield
    for table, old in zip((*tables, keras.saving.get_custom_objects()), (*before, custom), strict=True):
        table.clear()
        table.update(old)
    for name in ("toy_model", "toy_oracle"):
        del sys.modules[name]


def toy(**fields):
    return randomized(keras_nest.create_model("toy", **fields))


def test_it_is_made_and_listed_by_name():
    assert keras_nest.list_models("toy*") == ["toy_8"]
    model = keras_nest.create_model("toy_8", num_classes=4)
    assert (type(model).__name__, model.output_shape, model.name) == ("Toy", (None, 4), "toy_8")
    with pytest.raises(ValueError, match="Toy has no field 'widht'; did you mean width"):
        keras_nest.create_model("toy", widht=3)


def test_it_comes_back_from_a_keras_file(tmp_path):
    model = toy()
    model.get_layer("mixing").trainable = False
    model.save(tmp_path / "model.keras")
    for loaded in (
        keras.saving.load_model(tmp_path / "model.keras"),
        keras_nest.create_model(weights=str(tmp_path / "model.keras")),
    ):
        assert loaded.get_config() == model.get_config()
        np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))
    changed = keras_nest.create_model(weights=str(tmp_path / "model.keras"), num_classes=7, reinit_head=True)
    assert not np.any(changed(IMAGES))
    np.testing.assert_array_equal(changed.get_layer("stem").kernel, model.get_layer("stem").kernel)


@pytest.mark.slow
def test_checkpoints_of_flax_give_its_numbers(tmp_path):
    module = flax_reference.for_config("Toy", {"num_classes": 5})
    variables = module.init(jax.random.key(0), IMAGES)
    np.savez(tmp_path / "toy.npz", **{path.removeprefix("params/"): x for path, x in flatten(variables)})
    model = keras_nest.create_model("toy", weights=str(tmp_path / "toy.npz"))
    with jax.default_matmul_precision("highest"):
        np.testing.assert_allclose(model(IMAGES), module.apply(variables, IMAGES), rtol=0, atol=1e-6)
    difference, scale = largest_difference(model, conversion.model_tree(model))
    assert difference <= 1e-6 < 1e-2 < scale


def test_feature_maps():
    model, extractor = toy(), keras_nest.create_model("toy", features_only=True)
    assert {name: x.shape for name, x in extractor.output.items()} == {"P1": (None, 4, 4, 6)}
    assert list(model.feature_maps) == ["P1"]


def test_preprocessing():
    pixels = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
    prepared = keras_nest.preprocessor(toy())(pixels)
    assert prepared.shape[-3:] == (8, 8, 3)


def test_explanations():
    model = toy()
    heat = class_activation_map(model, IMAGES, 1)
    bias = np.asarray(model.get_layer("head").bias)[1]
    np.testing.assert_allclose(np.sum(heat, (1, 2)) + bias, model(IMAGES)[:, 1], rtol=1e-4)
    for method in (gradcat, attention_maps):
        with pytest.raises(ValueError, match="a Toy does not have; class_activation_map"):
            method(model, IMAGES)


def test_exports(tmp_path):
    model, pixels = toy(), np.random.default_rng(1).random((2, 8, 8, 3), np.float32)
    folder = export.publish(model, tmp_path / "served", warm_up=False)
    signatures = tf.saved_model.load(folder).signatures
    assert set(signatures) == {*toys.SIGNATURES}
    maps = signatures["features"](images=tf.constant(pixels))
    assert set(maps) == {"P1", "features"}
    card = (folder / "README.md").read_text("utf-8")
    assert "of the architecture Toy with 141 parameters" in card
    assert "Paper: [Toys for All, 2026](https://example.org/toys)" in card


def test_it_is_the_image_tower_of_a_lit(tmp_path):
    image = {"class_name": "Toy", "num_classes": 0, "image_size": 8}
    text = {"class_name": "Bert", "vocab_size": 9, "hidden_size": 6, "num_layers": 1, "num_heads": 1, "mlp_dim": 6}
    model = randomized(keras_nest.LiT(image, {**text, "max_len": 4, "max_length": 4}))
    model.save(tmp_path / "lit.keras")
    loaded = keras.saving.load_model(tmp_path / "lit.keras")
    assert type(loaded.image_model).__name__ == "Toy"
    np.testing.assert_array_equal(loaded.encode_image(IMAGES), model.encode_image(IMAGES))
