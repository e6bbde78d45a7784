"""What every layer and model must do, whatever it computes; their own tests hold the rest."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras.src import testing

from keras_nest import explain
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.base import ImageModel
from tests.families import inputs_of, outputs_of


def run_layer_test(cls: type[keras.layers.Layer], init_kwargs: dict[str, Any], **options: Any) -> None:
    """Keras' own test of a layer: configuration, build, symbolic and eager calls, dtypes, a step of training.

    Args:
        cls: class of the layer.
        init_kwargs: its arguments.
        **options: `input_shape`, `input_dtype`, `expected_output_shape` and the others of Keras.
    """
    case = testing.TestCase()
    try:
        case.run_layer_test(cls, init_kwargs, **options)
    finally:
        case.doCleanups()


def run_model_test(model: keras.Model, rounding: float) -> None:
    """What a configuration makes: the same variables and outputs, in mixed precision too; and a clone.

    Args:
        model: one with weights that matter.
        rounding: bound for outputs in bfloat16, as a share of the largest; 0 if the model has no dtype.
    """
    inputs, config = inputs_of(model), _in_bfloat16(model.get_config())
    expected = outputs_of(model, inputs)
    clone, half = keras.models.clone_model(model), type(model).from_config(config)
    assert half.get_config() == config
    for copy in (clone, half):
        assert [variable.path for variable in copy.variables] == [variable.path for variable in model.variables]
        copy.set_weights(model.get_weights())
    assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
    assert rounding == 0 or any(np.any(x != y) for x, y in zip(outputs_of(half, inputs), expected, strict=True))
    for exact, rounded, value in zip(outputs_of(clone, inputs), outputs_of(half, inputs), expected, strict=True):
        np.testing.assert_array_equal(exact, value)
        assert np.abs(rounded.astype("float32") - value).max() <= rounding * np.abs(value).max()
        assert rounded.dtype == np.float32 or "logits" not in model.endpoints


def _in_bfloat16(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration, and those of the towers in it, in mixed precision."""
    inner = {key: _in_bfloat16(value) for key, value in config.items() if isinstance(value, Mapping)}
    return {**config, **inner, **({"dtype": "mixed_bfloat16"} if "dtype" in config else {})}


def run_saving_test(model: keras.Model, folder: pathlib.Path) -> None:
    """What files keep of a model that was changed, which this one is: alone, and as layers of a user's model."""
    inside = layers_by_path(model)
    deepest = max(inside, key=lambda path: path.count("/"))
    dense = dense_layers(model)
    dense[0].activation = keras.activations.silu
    dense[0].kernel.regularizer = dense[0].kernel_regularizer = keras.regularizers.L2(0.1)
    dense[-1].enable_lora(2)
    inside[deepest.rpartition("/")[0] or deepest].trainable = False
    again = through_file(model, folder / "model.keras")
    assert_same(again, model)
    assert again.get_config() == model.get_config()
    assert [variable.path for variable in again.variables] == [variable.path for variable in model.variables]
    # The user's: one more layer on what comes out first.
    output = keras.tree.flatten(model.output)[0]
    layer = keras.layers.Dense(2) if len(output.shape) > 1 else keras.layers.Rescaling(2.0)
    mine = keras.Model(model.input, layer(output))
    assert_same(through_file(mine, folder / "mine.keras"), mine)


def dense_layers(model: keras.Model) -> list[keras.layers.Dense]:
    """Layers with matrices of stock Keras, inner ones too."""
    return [layer for layer in layers_by_path(model).values() if isinstance(layer, keras.layers.Dense)]


def through_file(model: keras.Model, path: pathlib.Path) -> keras.Model:
    """The model as a .keras file has it."""
    model.save(path)
    return keras.saving.load_model(path)


def flags(model: keras.Model) -> list[tuple[str, bool, bool]]:
    """What is trained, and what regularized, variable by variable."""
    return [(v.name, v.trainable, v.regularizer is not None) for v in model.variables]


def assert_same(again: keras.Model, model: keras.Model) -> None:
    """Same class, outputs, and flags of variables."""
    inputs = inputs_of(model)
    assert type(again) is type(model)
    for ours, theirs in zip(outputs_of(again, inputs), outputs_of(model, inputs), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert flags(again) == flags(model)


def run_features_test(model: ImageModel) -> None:
    """Each intermediate can be computed, and a feature extractor puts out the maps that the classifier keeps."""
    images = inputs_of(model)
    extractor = model.with_fields(features_only=True)
    values = {variable.path: variable for variable in model.weights}
    for variable in extractor.weights:
        variable.assign(values[variable.path])
    assert list(model.feature_maps) == list(extractor.feature_maps) == list(extractor.output)
    wanted = {"endpoints": dict(model.endpoints), "maps": dict(model.feature_maps)}
    found = keras.Model(model.input, wanted)(images, training=False)
    for name, value in found["endpoints"].items():
        assert value.shape[1:] == tuple(model.endpoints[name].shape[1:]), name
    for name, value in extractor(images, training=False).items():
        np.testing.assert_allclose(value, found["maps"][name], rtol=1e-5, atol=1e-5, err_msg=name)


def run_explain_test(model: ImageModel) -> None:
    """A class activation map as large as the last map, which tells images and classes apart; or a refusal."""
    images = np.clip(inputs_of(model), 0, 1)
    maps = np.asarray(explain.class_activation_map(model, images, [0, 1]))
    assert maps.shape == (2, *model.endpoints["features"].shape[1:3])
    assert np.any(maps[0] != maps[1])
    other = np.asarray(explain.class_activation_map(model, images, [1, 1]))
    assert np.any(other[0] != maps[0])
    np.testing.assert_array_equal(other[1], maps[1])
