"""What a SavedModel answers to: its signatures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from keras_nest.export.activations import ACTIVATIONS
from keras_nest.export.each import EACH, ImageInput, Outputs, for_each, has_room, image_inputs
from keras_nest.export.module import on_unit_images, output_name
from keras_nest.export.network import Carrier
from keras_nest.models.answers import is_classifier, resolve_activation
from keras_nest.value_range import check_unit

TOP = 5

# By the input through which images come.
_NAMES = {"images": "serving_default", "image_bytes": "serving_bytes"}


def create_signatures(
    module: tf.train.Checkpoint,
    model: keras.Model,
    head: str = "classifier",
    activation: str | None = None,
    class_names: Sequence[str] | None = None,
    carrier: Carrier | None = None,
) -> dict[str, Callable[..., Outputs]]:
    """The signatures that make sense for a model; all take any batch but an empty one.

    `serving_default` and `embed`, `features` take `images`, float32 (B, H, W, channels) of the model's size in [0, 1];
    `serving_bytes` takes `image_bytes`, strings (B,) as `image_decoder` does. They refuse a batch for one bad image.
    Outputs, in inference:

    * serving_default, of a classifier: `logits` and `probabilities`, float32 (B, K); `classes` int32 and `scores`
      float32, both (B, k), the k = min(5, K) most probable, best first. Without a head: `embedding`, float32 (B, C); of
      a model with `features_only`: its maps. A user's model around one of this package is a classifier, too; without
      `logits` where it ends with a softmax or sigmoid. Of other models: `logits`, or `probabilities`.
    * serving_bytes, of models for RGB or gray images that carry their preprocessing: the same, and `labels`, strings
      (B, k), where the class names are known.
    * serving_default_each, serving_bytes_each: the same, and `status` and `message` of each image, see
      `keras_nest.export.each.for_each`.
    * embed, of models that have one: `embedding`, what the head sees.
    * features: the maps of `features_only`, and `features`, the last one, normalized; float32 (B, h, w, C).

    Args:
        module: the model's `reusable_object`.
        model: what it was made of.
        head: as `reusable_object` takes it.
        activation: from logits to probabilities, one of `ACTIVATIONS`; None as in `to_saved_model`.
        class_names: in the order of the logits.
        carrier: that of the `module`.
    """
    answer, label = _answers(model, head, resolve_activation(model, activation)), _labels(class_names)

    def predict(images: tf.Tensor) -> Outputs:
        return answer(module.__call__(images, training=False))

    def predict_labels(images: tf.Tensor) -> Outputs:
        return label(predict(images))

    inputs, signatures = image_inputs(model), dict[str, Callable[..., Outputs]]()
    for name, images in inputs.items():
        compute = predict if name == "images" else predict_labels
        signatures |= signatures_of(_NAMES[name], compute, images, each=has_room(model))
    carrier = carrier or Carrier()
    for name, part in (_parts(model, carrier) if carrier.whole else {}).items():
        signatures[name] = signature(part, inputs["images"].spec)
    return signatures


def signatures_of(
    name: str, compute: Callable[..., Outputs], images: ImageInput, *others: tf.TensorSpec, each: bool = True
) -> dict[str, Callable[..., Outputs]]:
    """The signature that refuses a batch for a bad image, and the one that refuses the image.

    Args:
        name: of the first; that of the second ends in `EACH`.
        compute: function of pixels in [0, 1], and of other inputs.
        images: the input through which the images come.
        *others: further inputs.
        each: whether there is to be the second.
    """

    def answer(batch: tf.Tensor, *values: tf.Tensor) -> Outputs:
        return compute(images.prepare(batch), *values)

    found = {name: signature(answer, images.spec, *others)}
    return found | ({f"{name}{EACH}": signature(for_each(compute, images), images.spec, *others)} if each else {})


def signature(compute: Callable[..., Outputs], *specs: tf.TensorSpec) -> Callable[..., Outputs]:
    """A function that refuses inputs that do not fit it.

    Args:
        compute: function of as many tensors as there are specs.
        *specs: inputs under their names, (B, …) each.
    """

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: tf.Tensor) -> Outputs:
        # Servers check no shapes, and reshaping inside a model may take one image for another number of them.
        with tf.control_dependencies([_check(x, spec) for x, spec in zip(inputs, specs, strict=True)]):
            return compute(*map(tf.identity, inputs))

    return serve


def _check(batch: tf.Tensor, spec: tf.TensorSpec) -> tf.Operation:
    """Refuses another shape, and an empty batch.

    The shape is read by the assertion, and not by what is computed, since TensorFlow.js reads this operation otherwise:
    its converter leaves assertions out, with all that only they read.
    """
    batch = tf.ensure_shape(batch, spec.shape)
    example = "a text" if spec.name == "texts" else "an image"
    return tf.debugging.Assert(tf.size(batch) > 0, [f"The batch is empty; it must hold {example} at least."])


def _answers(model: keras.Model, head: str, activation: str) -> Callable[[Any], Outputs]:
    """From what the module returns to the outputs of the signature."""
    if isinstance(model.output, Mapping):
        return dict
    name = output_name(model) if head == "classifier" else "embedding"
    if name == "embedding" or not is_classifier(model):
        return lambda outputs: {name: outputs}

    def classify(outputs: tf.Tensor) -> Outputs:
        given = {name: outputs}
        if name == "logits":
            given["probabilities"] = ACTIVATIONS[activation](outputs)
        scores, classes = tf.math.top_k(given["probabilities"], min(TOP, outputs.shape[-1]))
        return {**given, "classes": classes, "scores": scores}

    return classify


def _labels(class_names: Sequence[str] | None) -> Callable[[Outputs], Outputs]:
    """Adds the names of the most probable classes, if they are known."""

    def add(outputs: Outputs) -> Outputs:
        if class_names is None or "classes" not in outputs:
            return outputs
        return {**outputs, "labels": tf.gather(tf.constant(class_names), outputs["classes"])}

    return add


def _parts(model: keras.Model, carrier: Carrier) -> dict[str, Callable[[tf.Tensor], Outputs]]:
    """The signatures that give intermediates; they share one graph."""
    outputs = {"embed": _embedding(model), "features": _feature_maps(model)}
    outputs = {signature: parts for signature, parts in outputs.items() if parts}
    if not outputs:
        return {}
    network = carrier.function(keras.Model(model.input, outputs))
    compute = tf.function(on_unit_images(network, model), autograph=False)

    def part(signature: str) -> Callable[[tf.Tensor], Outputs]:
        return lambda images: compute(check_unit(images))[signature]

    return {signature: part(signature) for signature in outputs}


def _embedding(model: keras.Model) -> dict[str, keras.KerasTensor]:
    endpoints = getattr(model, "endpoints", {})
    return {"embedding": endpoints["pre_logits"]} if "pre_logits" in endpoints else {}


def _feature_maps(model: keras.Model) -> dict[str, keras.KerasTensor]:
    """The maps of `features_only`, and the last one, normalized, of a model that goes on from there."""
    maps, endpoints = dict(getattr(model, "feature_maps", {})), getattr(model, "endpoints", {})
    return maps | ({"features": endpoints["features"]} if "features" in endpoints else {})
