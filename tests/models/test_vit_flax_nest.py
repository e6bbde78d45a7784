"""The NesT of vit-flax against the outputs of its original."""

import functools
import inspect

import numpy as np
import pytest

import keras_nest
from keras_nest import conversion
from tests import keras_models
from tests.golden import loading
from tests.models.test_nest import assert_gradients


@functools.cache
def loaded(name):
    """The model of a case with its weights, which no test may change."""
    return keras_models.load(loading.case(name))


@pytest.mark.parametrize("name", loading.VIT_FLAX)
def test_outputs(name):
    case, model = loading.case(name), loaded(name)
    assert model.count_params() == loading.parameter_count(name)
    tolerances = (keras_models.SMALL_LOGITS, keras_models.SMALL_LEVELS)
    assert keras_models.agrees(model, case, *tolerances), keras_models.differences(model, case)


@pytest.mark.parametrize("name", loading.VIT_FLAX)
def test_named_intermediates(name):
    case = loading.case(name)
    ours = keras_models.endpoints(loaded(name), case.images)
    stored = loading.below(case.expected, "out")
    assert len(stored) >= 6
    for path, value in stored.items():
        # The original folds blocks into the batch.
        assert keras_models.gap(ours[path].reshape(value.shape), value) <= keras_models.SMALL_LEVELS, path


@pytest.mark.parametrize("name", loading.VIT_FLAX)
def test_gradients(name):
    case = loading.case(name)
    loss, gradients = keras_models.loss_and_gradients(loaded(name), case.images, case.expected["labels"])
    assert loss == pytest.approx(float(case.expected["loss"]), abs=1e-5)
    assert_gradients(case, gradients, loading.below(case.expected, "grad"))


def test_epsilon_probe():
    case = loading.case("vit_flax_epsilon_probe")
    assert keras_models.differences(keras_models.load(case), case)["logits"] <= 1e-5


def test_registered_name_is_the_readme_configuration():
    _, architecture, fields = keras_nest.registry.resolve("vit_flax_nest")
    ours = {name: each.default for name, each in inspect.signature(architecture).parameters.items()} | fields
    for field, value in loading.config("vit_flax_readme").items():
        assert ours[field] == (tuple(value) if isinstance(value, list) else value), field


def test_checkpoint_converts_and_resizes(tmp_path):
    case = loading.case("vit_flax_tiny")
    np.savez(tmp_path / "vit_flax.npz", **case.params)
    fields = {k: v for k, v in case.config.items() if k not in ("image_size", "num_classes")}
    model = keras_nest.create_model("vit_flax_nest", weights=tmp_path / "vit_flax.npz", **fields)
    assert model.image_size == (32, 32)
    assert model.num_classes == 5
    assert keras_models.differences(model, case)["logits"] <= keras_models.SMALL_LOGITS
    larger = keras_nest.create_model("vit_flax_nest", weights=tmp_path / "vit_flax.npz", image_size=(64, 32), **fields)
    resized = conversion.model_tree(larger)["params/Transformer_0/pos_emb"].reshape(8, 4)
    np.testing.assert_allclose(resized[[0, -1]], case.params["Transformer_0/pos_emb"].reshape(4, 4)[[0, -1]], atol=1e-7)


def test_dropout_obeys_training():
    model = keras_nest.create_model("vit_flax_nest", image_size=32, patch_size=2, dim=6, block_repeats=1, dropout=0.5)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    np.testing.assert_array_equal(model(images), model(images))
    assert keras_models.gap(model(images, training=True).numpy(), model(images).numpy()) > 1e-3


def test_pyramids_and_embeddings():
    fields = {"image_size": 32, "patch_size": 2, "dim": 6, "block_repeats": 1, "num_classes": 3}
    assert list(keras_nest.create_model("vit_flax_nest", features_only=True, **fields).output) == ["P1", "P2", "P3"]
    assert keras_nest.create_model("vit_flax_nest", **{**fields, "num_classes": 0}).output_shape == (None, 24)


def test_bad_input():
    with pytest.raises(ValueError, match="num_hierarchies"):
        keras_nest.create_model("vit_flax_nest", block_repeats=(1, 1))
    with pytest.raises(ValueError, match="multiples of 16"):
        keras_nest.create_model("vit_flax_nest", image_size=230)
