"""The one walk through the layers inside a layer: in models of Keras, of this package and of users."""

import keras
import pytest

from keras_nest.layers.changes import layers_by_path, layers_inside
from keras_nest.layers.image_input import ImageInput
from tests import families


@keras.saving.register_keras_serializable(package="tests_of_changes")
class Private(keras.layers.Layer):
    """Holds its layers as users do: in attributes with an underscore, in lists, in dictionaries."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._dense = keras.layers.Dense(2, name="dense")
        self._blocks = [{"first": keras.layers.Dense(2, name="first")}, (keras.layers.Dense(2, name="second"),)]

    def call(self, x):
        return self._dense(x)


def of_keras(model):
    """What Keras itself finds."""
    layers = model._flatten_layers(include_self=False)
    return {id(layer) for layer in layers if not isinstance(layer, ImageInput)}


@pytest.mark.parametrize("family", families.FAMILIES)
def test_our_models_and_those_of_users_around_them(family):
    ours = families.made(family)
    found = layers_by_path(ours)
    assert {id(layer) for layer in found.values()} == of_keras(ours)
    if family != "LiT":  # whose towers have paths of their own
        assert all(layer.path in (None, path) for path, layer in found.items())
    inner = keras.Model(ours.input, ours(ours.input), name="inner")
    outer = keras.Model(inner.input, inner(inner.input), name="outer")
    around = layers_by_path(outer)
    assert of_keras(outer) <= {id(layer) for layer in around.values()}
    assert {f"inner/{ours.name}/{path}": layer for path, layer in found.items()}.items() <= around.items()


def test_layers_in_private_attributes():
    model = keras.Sequential([Private(name="private")])
    assert list(layers_by_path(model)) == ["private", "private/dense", "private/first", "private/second"]


def test_layers_of_keras_with_private_layers():
    layer = keras.layers.MultiHeadAttention(2, 4)
    layer.build((None, 3, 8), (None, 3, 8))
    assert {each.name for each in layers_inside(layer)} >= {"query", "key", "value", "attention_output"}


def test_a_sequential_has_its_layers_once():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="a"), keras.layers.Dense(3, name="b")])
    assert list(layers_by_path(model)) == ["a", "b"]


def test_a_layer_in_two_places_has_two_paths_and_is_one():
    shared, inputs = keras.layers.Dense(2, name="shared"), keras.Input((2,))
    towers = [keras.Sequential([keras.Input((2,)), shared], name=name) for name in ("left", "right")]
    model = keras.Model(inputs, keras.layers.Add(name="add")([tower(inputs) for tower in towers]))
    assert {path for path, layer in layers_by_path(model).items() if layer is shared} == {"left/shared", "right/shared"}
    assert [layer for layer in layers_inside(model) if layer is shared] == [shared]


def test_a_layer_that_knows_what_it_is_inside_of():
    outer, inner = Private(name="outer"), Private(name="inner")
    outer.inside, inner.outside = inner, outer
    assert "inside/dense" not in layers_by_path(outer)
    assert {"inner/dense", "inner/first"} < set(layers_by_path(outer))
    assert not any(layer is outer for layer in layers_inside(outer))


def test_what_was_replaced_is_not_inside():
    layer = Private()
    old, layer._dense = layer._dense, keras.layers.Dense(2, name="new")
    assert not any(each is old for each in layers_inside(layer))
