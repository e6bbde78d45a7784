"""What a model is in formats that only infer: one function of images, in float32."""

from collections.abc import Callable

import keras
import tensorflow as tf

from keras_nest.export.activations import ACTIVATIONS
from keras_nest.export.module import check_outputs, holder, image_shape, on_unit_images, output_name, without_head
from keras_nest.layers.changes import layers_inside
from keras_nest.models.answers import model_config
from keras_nest.models.base import logits_model

# Images float32 (B, H, W, C) in [0, 1] -> outputs by name.
Inference = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def inference(model: keras.Model, activation: str | None = None) -> tuple[tf.train.Checkpoint, Inference]:
    """A model as a function without training.

    A model of mixed precision computes in float32 here: few runtimes know bfloat16.

    Args:
        model: a built model with one image input, and one output or a dictionary of outputs.
        activation: from logits to probabilities, "softmax" or "sigmoid"; "none" for logits whatever the model ends
            with; None for what it gives.

    Returns:
        An object that holds the variables, and the function: images float32 (B, H, W, C) in
        [0, 1] -> `logits`, `probabilities`, `embedding` or maps by name, float32.

    Raises:
        ValueError: as `reusable_object`; or an activation of what are no logits.
    """
    image_shape(model)
    check_outputs(model)
    plain, name = in_float32(model), output_name(model)
    if activation is not None and (name != "logits" or isinstance(model.output, dict)):
        what = "maps" if isinstance(model.output, dict) else name
        raise ValueError(f"activation is {activation!r}; {model.name!r} gives {what} and no logits, so leave it out.")
    activation = activation or model_config(model).get("classifier_activation")
    network = logits_model(plain)
    # Not the function of `reusable_object`, whose checks of the values such formats cannot express.
    compute = on_unit_images(network, plain)

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = compute(images, training=False)
        if activation in ACTIVATIONS:
            return {"probabilities": ACTIVATIONS[activation](outputs)}
        return outputs if isinstance(outputs, dict) else {name: outputs}

    return holder(network), call


def below_head(model: keras.Model) -> keras.Model:
    """A model of images up to the embedding that its head sees, which every format takes for one without a head.

    Raises:
        ValueError: it has no embedding to end with, or as `in_float32`.
    """
    plain = in_float32(model)
    network = without_head(plain)
    # What the exporters read of a model; of this one nothing is left but the layers.
    network.config = {"num_classes": 0, "preprocessing": model_config(plain).get("preprocessing")}
    return network


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself, or one with the same weights if it computes in another precision.

    Raises:
        ValueError: it is a user's, which cannot be made again.
    """
    if "dtype" not in model_config(model):
        _check_float32(model)
        return model
    return _in_policy(model, "float32")


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """The model itself, or one with the same weights that computes in "float32" or "bfloat16".

    Layer normalizations and softmaxes add in float32 in both, and outputs are float32.

    Raises:
        ValueError: it is a user's, which cannot be made again, or was quantized.
    """
    if precision == "float32":
        return in_float32(model)
    for layer in layers_inside(model):
        if mode := getattr(layer, "quantization_mode", None):
            raise ValueError(
                f"The layer {layer.name!r} of {model.name!r} was quantized to {mode}, so that the model cannot be made "
                f"again in {precision}; export what was quantized, or leave the precision out."
            )
    if "dtype" not in model_config(model):
        raise ValueError(
            f"The model {model.name!r} is not of this package, so that it cannot be made again in {precision}; build "
            'it in dtype "mixed_bfloat16", give it the weights, and export that.'
        )
    return _in_policy(model, f"mixed_{precision}")


def _in_policy(model: keras.Model, policy: str) -> keras.Model:
    if model_config(model)["dtype"] == policy:
        return model
    other = type(model).from_config({**model.get_config(), "dtype": policy})
    other.set_weights(model.get_weights())
    return other


def _check_float32(model: keras.Model) -> None:
    for layer in layers_inside(model):
        if layer.compute_dtype in ("bfloat16", "float16"):
            raise ValueError(
                f"The layer {layer.name!r} of the model {model.name!r} computes in {layer.compute_dtype}, which this "
                'format has not; build the same model in dtype "float32" and give it the weights.'
            )
