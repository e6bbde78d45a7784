"""What every layer and model must do, whatever it computes; their own tests hold the rest."""

from typing import Any

import keras
import numpy as np
from keras.src import testing

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


def run_model_test(model: keras.Model) -> None:
    """What a configuration makes: the same variables and outputs, in a clone too, and mixed precision.

    What files keep of changed models: tests/models/test_saving.py.
    """
    inputs, config = inputs_of(model), model.get_config()
    expected = outputs_of(model, inputs)
    made = type(model).from_config(config)
    assert made.get_config() == config
    for copy in (made, keras.models.clone_model(model)):
        assert [variable.path for variable in copy.variables] == [variable.path for variable in model.variables]
        copy.set_weights(model.get_weights())
        for ours, theirs in zip(outputs_of(copy, inputs), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    if "dtype" in config:
        half = type(model).from_config({**config, "dtype": "mixed_bfloat16"})
        half.set_weights(model.get_weights())
        assert {variable.dtype for variable in half.trainable_variables} == {"float32"}
        rounded = outputs_of(half, inputs)
        assert any(np.any(ours != theirs) for ours, theirs in zip(rounded, expected, strict=True))
        for ours, theirs in zip(rounded, expected, strict=True):
            np.testing.assert_allclose(ours.astype("float32"), theirs, rtol=0, atol=0.1 * np.abs(theirs).max())
