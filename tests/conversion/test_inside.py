"""Tensors of a checkpoint in models that are plain ones of Keras by their class."""

import keras
import numpy as np
import pytest

from keras_nest import conversion
from tests import families
from tests.families import inputs_of, outputs_of


def around(model):
    """A model of the user, which calls it."""
    images = keras.Input(model.input_shape[1:])
    return keras.Model(images, model(images))


def flat(model):
    """A model of the user, of its layers and a head of another size."""
    return keras.Model(model.input, keras.layers.Dense(7, name="own")(model.endpoints["pre_logits"]))


@pytest.mark.parametrize("family", ["NesT", "ViT", "hybrid", "Mixer", "ResNet"])
def test_a_plain_clone(family):
    model = families.FAMILIES[family]()
    clone = keras.models.clone_model(model)
    report = conversion.load_weights(clone, conversion.model_tree(model))
    assert report.tensors == len(conversion.model_tree(model))
    inputs = inputs_of(model)
    np.testing.assert_array_equal(outputs_of(clone, inputs), outputs_of(model, inputs))


@pytest.mark.parametrize("wrap", [around, flat])
def test_models_of_users(wrap):
    source, target = families.vit(), families.vit()
    user = wrap(target)
    own = [np.array(weight) for weight in user.layers[-1].get_weights()] if wrap is flat else []
    conversion.load_weights(user, conversion.model_tree(source))
    inputs = inputs_of(source)
    if wrap is around:
        np.testing.assert_array_equal(user(inputs), source(inputs))
        return
    pooled = keras.Model(source.input, source.endpoints["pre_logits"])(inputs)
    np.testing.assert_allclose(user(inputs), pooled @ own[0] + own[1], atol=1e-5)


def test_what_is_wrong_is_a_sentence_and_changes_nothing():
    model = families.vit()
    clone, before = keras.models.clone_model(model), model.get_weights()
    clone.set_weights(before)
    tree = conversion.model_tree(families.vit(num_classes=5))
    with pytest.raises(ValueError, match="a head of 5 classes, the model has 3"):
        conversion.load_weights(clone, tree)
    for weight, old in zip(clone.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    with pytest.raises(ValueError, match=r"x.npz is a path; give what read_checkpoint\('x.npz'\) returns"):
        conversion.load_weights(model, "x.npz")
    with pytest.raises(ValueError, match="holds no models of keras_nest"):
        conversion.load_weights(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]), tree)
