"""Keras models of LiT's reference cases, and what they are compared by."""

import numpy as np
import tensorflow as tf

import keras_nest
from keras_nest import conversion
from keras_nest.conversion.names import checkpoint_variables
from tests.golden import lit_loading


def build(case):
    """The Keras model of a case with its weights."""
    size = {} if case.images is None else {"image_size": case.images.shape[1:3]}
    model = keras_nest.LiT(**case.config, **size)
    conversion.load_weights(model, tree(case.params))
    return model


def tree(params):
    """Parameters as the converter reads them."""
    return {f"params/{path}": value for path, value in params.items()}


def create(weights=lit_loading.PRE_LINEN, **fields):
    """The model of the stand-in, loaded as a user does."""
    towers = {
        field: {k: v for k, v in tower.items() if k != "class_name"}
        for field, tower in lit_loading.case("lit_bert").config.items()
    }
    towers = {field: {**tower, **fields.pop(field, {})} for field, tower in towers.items()}
    return keras_nest.create_model("LiT-B16B", weights=weights, **towers, **fields)


def loss_and_gradients(model, images, tokens):
    """Contrastive loss of matching pairs, and its gradients by Flax path; that of the images is "images"."""
    variables = {path.removeprefix("params/"): v.value for path, v in checkpoint_variables(model).items()}
    variables["images"] = images = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = model({"images": images, "tokens": tf.constant(tokens)})
        similarity = outputs["t"] * tf.matmul(outputs["zimg"], outputs["ztxt"], transpose_b=True)
        pairs = (tf.linalg.diag_part(tf.nn.log_softmax(similarity, axis=axis)) for axis in (0, 1))
        loss = -sum(tf.reduce_mean(pair) for pair in pairs) / 2
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    return float(loss), {path: np.asarray(tf.convert_to_tensor(value)) for path, value in gradients.items()}
