"""What every layer and model must do, whatever it computes; their own tests hold the rest."""

from typing import Any

import keras
from keras.src import testing


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
