"""What becomes of LoRA once it has learned."""

import gc

import keras

from keras_nest.layers.attention import OutputProjection
from keras_nest.layers.changes import layers_inside


def merge_lora(model: keras.Model) -> None:
    """Adds what LoRA learned to the matrices that it was learned for, and takes LoRA away.

    The model computes what it did before, with the variables that it had without LoRA, which can be trained again. It
    is not compiled any more, since its optimizer knew others. A quantized matrix is rounded again.

    Args:
        model: any Keras model in which layers have had `enable_lora`; it is changed in place.
    """
    layers = layers_inside(model)
    for layer in layers:
        # Keras adds where it writes a file.
        store: dict[str, object] = {}
        layer.save_own_variables(store)
        if store:
            layer.load_own_variables(store)
    # Keras collects garbage with every variable that goes; there is none among the objects of now.
    gc.freeze()
    try:
        for layer in layers:
            if getattr(layer, "lora_enabled", False):
                _take_away(layer)
    finally:
        gc.unfreeze()
    model.compiled = False
    model.train_function = model.test_function = model.predict_function = None


def _take_away(layer: keras.layers.Layer) -> None:
    layer.lora_enabled = False
    layer.lora_rank = layer.lora_alpha = None
    for name in [name for name, value in vars(layer).items() if name.startswith("lora_") and _is_variable(value)]:
        delattr(layer, name)
    matrix = layer.embeddings if isinstance(layer, keras.layers.Embedding) else layer.kernel
    if _is_variable(matrix) and "float" in matrix.dtype:
        matrix.trainable = layer.trainable
        if isinstance(layer, OutputProjection):
            layer.give_back()


def _is_variable(value: object) -> bool:
    return isinstance(value, keras.Variable)
