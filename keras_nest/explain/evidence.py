"""What all methods share: checked images, the endpoints of a model, and their share in a logit."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.explain.pullback import pull_back
from keras_nest.models.base import ImageModel
from keras_nest.models.inputs import normalized_range
from keras_nest.models.user_model import UserModel, as_image_model, way_to_classes

# Of a float32 gradient, relative to its largest value.
_ROUNDING = 1e-4


class Evidence(NamedTuple):
    """Where a logit comes from.

    Attributes:
        class_index: int32 (B,), the classes in question.
        logits: float32 (B, K).
        maps: by endpoint, float32: the endpoint's shape without its channels.
    """

    class_index: tf.Tensor
    logits: tf.Tensor
    maps: dict[str, tf.Tensor]


def evidence(model: Any, images: tf.Tensor, class_index: Any, names: Sequence[str]) -> Evidence:
    """Endpoints times the gradient of a class's logit with respect to them, summed over the channels.

    Args:
        model: with a head.
        images: (B, H, W, C) as the model takes them.
        class_index: a class, (B,) classes, or None for the predicted ones.
        names: endpoints that the logits depend on.

    Raises:
        ValueError: the model has no head, or one for every token, there is no such class, or logits are not finite.
    """
    check_head(model)
    logits, values, pull = pull_back(model, images, names)
    classes = _classes(logits, class_index)
    if tf.executing_eagerly() and not tf.reduce_all(tf.math.is_finite(logits)):
        raise ValueError(
            f"The model {model.name!r} gives logits that are NaN or infinite; there is nothing to explain."
        )
    gradients = pull(tf.one_hot(classes, logits.shape[-1]))
    if any(gradient is None for gradient in gradients):
        raise ValueError(
            f"The logits of {model.name!r} are not made of {', '.join(names)} in a way that can be followed; put the "
            "head directly behind the model of keras_nest."
        )
    maps = {name: share(x, dx) for name, x, dx in zip(names, values, gradients, strict=True)}
    return Evidence(classes, logits, maps)


def share(values: tf.Tensor, gradient: Any) -> tf.Tensor:
    """What each place adds to a number: (…, C) times the gradient, summed over the channels; float32."""
    return tf.reduce_sum(tf.cast(values, tf.float32) * tf.cast(gradient, tf.float32), axis=-1)


def endpoints(model: Any, images: tf.Tensor, names: dict[str, list[str]]) -> dict[str, list[tf.Tensor]]:
    """Values of endpoints, in the structure in which they are named, from one pass through the model."""
    symbols = {key: [model.endpoints[name] for name in group] for key, group in names.items()}
    return keras.Model(model.inputs, symbols)([images], training=False)


def prepare(model: keras.Model, images: Any) -> tuple[Any, tf.Tensor, bool]:
    """What the methods need: the model, images as a batch, and whether it was one image.

    Args:
        model: an image model of this package, or a user's around one.
        images: (B, H, W, C) or (H, W, C), normalized floats.

    Returns:
        An `ImageModel` or `UserModel`, (B, H, W, C), and whether there was no axis B.

    Raises:
        ValueError: it is another model, or the images have another size or type, or cannot have been normalized for it;
            or it happens under `tf.function`, and Keras does not run on TensorFlow.
    """
    model = _explainable(as_image_model(model, normalized=True))
    if not tf.executing_eagerly():
        require_tensorflow("Explaining under tf.function", "call it as it is")
    images = tf.convert_to_tensor(images)
    shape = (*model.image_size, model.input.shape[-1])
    hint = "keras_nest.preprocessor(model) makes such images"
    if images.shape.rank not in (3, 4) or tuple(images.shape[-3:]) != shape:
        expected = " x ".join(map(str, shape))
        raise ValueError(
            f"Images have the shape {images.shape}; the model takes {expected}, with or without a batch axis; {hint}."
        )
    if not images.shape.num_elements() and images.shape.is_fully_defined():
        raise ValueError(f"Images have the shape {images.shape}; there must be one at least.")
    if not images.dtype.is_floating:
        raise ValueError(f"Images have dtype {images.dtype.name}; the model takes normalized floats; {hint}.")
    _check_range(model, images, hint)
    single = images.shape.rank == 3
    return model, tf.cast(images[None] if single else images, model.input.dtype), single


def _explainable(model: Any) -> Any:
    """Refuses models of users that do not take one image, or that hold no single model of this package."""
    if len(model.inputs) != 1:
        raise ValueError(
            f"The model {model.name!r} takes {len(model.inputs)} inputs; only a model of images alone is explained."
        )
    if isinstance(model, UserModel) and not isinstance(model.inside, ImageModel):
        raise ValueError(
            f"The model {model.name!r} holds several models of keras_nest, or one that is no image model; explain a "
            "model around one alone."
        )
    return model


def architecture(model: Any) -> str:
    """What messages call a model: its class, or that of the model inside a user's."""
    return type(model.inside if isinstance(model, UserModel) else model).__name__


def _check_range(model: Any, images: tf.Tensor, hint: str) -> None:
    """Refuses values far from those of normalized images; inside a graph there are no values to see."""
    if not tf.executing_eagerly() or not images.shape.num_elements():
        return
    if not tf.reduce_all(tf.math.is_finite(images)):
        raise ValueError(f"Images have values that are NaN or infinite; {hint}.")
    spec = model.config.get("preprocessing")
    if not spec:
        return
    lowest, highest = normalized_range(spec)
    slack = highest - lowest
    found = float(tf.reduce_min(images)), float(tf.reduce_max(images))
    if not lowest - slack <= found[0] <= found[1] <= highest + slack:
        raise ValueError(
            f"Images have values from {found[0]:.4g} to {found[1]:.4g}; normalized for this model they are between "
            f"{lowest:.4g} and {highest:.4g}; {hint}."
        )


def check_head(model: Any) -> None:
    """Refuses models that do not give one logit a class.

    Raises:
        ValueError: the model has no head, or one for every token.
    """
    if not model.num_classes:
        raise ValueError(
            f"The model {model.name!r} has no head that gives one answer an image, so it has no classes to explain; "
            f"{way_to_classes(model)}."
        )
    if "logits" not in model.endpoints:
        raise ValueError(
            f"The model {model.name!r} ends with {model.classifier_activation} inside a layer that does not show its "
            f'logits; end it with a Dense layer and keras.layers.Activation("{model.classifier_activation}").'
        )
    if len(model.endpoints["logits"].shape) != 2:
        raise ValueError(
            f"The model {model.name!r} answers for every token; only a model with one answer for an image is explained."
        )


def check_linear_head(model: Any) -> None:
    """Refuses a user's model whose head is not linear: a map times the gradient then adds up to no logit.

    The gradient of a linear head is the same for all images; two images of noise show whether it is.

    Raises:
        ValueError: the head is something else.
    """
    if not isinstance(model, UserModel):
        return
    check_head(model)
    sentence = (
        f"The head of the model {model.name!r} is not linear in what {architecture(model)} gives it, so no map of its "
        "classes adds up to the logit; explain with gradcat (of a NesT), or end the model with one Dense layer."
    )
    noise = tf.random.stateless_normal((2, *model.input.shape[1:]), (0, 0))
    names = [name for name in ("pre_logits", "features") if name in model.endpoints]
    slopes = next((slope for name in names if (slope := _slopes(model, noise, name)) is not None), None)
    if slopes is None:
        raise ValueError(sentence)
    differences = tf.reduce_max(tf.abs(slopes[0] - slopes[1]))
    is_linear = differences <= _ROUNDING * tf.reduce_max(tf.abs(slopes))
    if not tf.executing_eagerly():
        tf.debugging.Assert(is_linear, [sentence])
    elif not is_linear:
        raise ValueError(sentence)


def _slopes(model: Any, images: tf.Tensor, name: str) -> tf.Tensor | None:
    """Gradients of random sums of the logits with respect to an endpoint; None if they do not depend on it."""
    weights = tf.random.stateless_normal((model.num_classes,), (0, 1))
    logits, _, pull = pull_back(model, images, [name])
    return pull(tf.broadcast_to(weights, tf.shape(logits)))[0]


def _classes(logits: tf.Tensor, class_index: Any) -> tf.Tensor:
    """int32 (B,) from one class, several, or none."""
    if class_index is None:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    known = tf.get_static_value(tf.convert_to_tensor(class_index))
    if known is not None:
        _check_classes(np.asarray(known), logits.shape)
    return tf.broadcast_to(tf.cast(class_index, tf.int32), tf.shape(logits)[:1])


def _check_classes(classes: np.ndarray, shape: tf.TensorShape) -> None:
    batch, count = shape
    if not np.issubdtype(classes.dtype, np.integer) or classes.ndim > 1:
        raise ValueError(f"class_index is {classes.tolist()}; it must be a whole number, or one for each image.")
    if classes.ndim and batch is not None and len(classes) not in (1, batch):
        raise ValueError(f"class_index holds {len(classes)} classes for {batch} images; give one, or one for each.")
    if classes.size and not 0 <= classes.min() <= classes.max() < count:
        worst = classes.max() if classes.max() >= count else classes.min()
        raise ValueError(f"There is no class {worst}; the model's classes are 0 to {count - 1}.")
