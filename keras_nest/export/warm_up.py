"""Requests that TF-Serving answers before it takes others, so that the first client need not wait.

TF-Serving reads them from `assets.extra/tf_serving_warmup_requests` of a SavedModel, a TFRecord file of PredictionLog
messages, and runs each once.
"""

import importlib
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from keras_nest.optional import import_optional, install_command

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"
_LOGGER = logging.getLogger(__name__)


def can_write_requests() -> bool:
    """Whether tensorflow-serving-api is installed; that it is not is logged, for whom did not ask for requests."""
    try:
        importlib.import_module("tensorflow_serving.apis")
    except ModuleNotFoundError:
        _LOGGER.warning("Requests that warm TF-Serving up are left out: %s adds them.", install_command("[serving]"))
        return False
    return True


def write_requests(saved_model: pathlib.Path, model: keras.Model, signatures: Mapping[str, Any]) -> None:
    """Writes one request of one gray image, one text or both for each signature.

    Args:
        saved_model: directory of the SavedModel, which need not be there yet.
        model: what it is made of; its name goes into the requests.
        signatures: by name, what `keras_nest.export.signatures.signature` made.

    Raises:
        ModuleNotFoundError: tensorflow-serving-api is missing; says how to install it.
    """
    purpose = "Requests that warm TF-Serving up are made by tensorflow-serving-api"
    import_optional("tensorflow_serving.apis", purpose, "[serving]")
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    file = saved_model / WARM_UP_FILE
    file.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(file)) as records:
        for name, signature in signatures.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model.name, name
            for spec in signature.input_signature:
                request.inputs[spec.name].CopyFrom(tf.make_tensor_proto(_example(spec)))
            log = prediction_log_pb2.PredictLog(request=request)
            records.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def _example(spec: tf.TensorSpec) -> Any:
    """A batch of one text, or of one image, as pixels or as a file."""
    if spec.name == "texts":
        return ["a photo"]
    if spec.dtype == tf.string:
        return tf.io.encode_jpeg(tf.fill((64, 64, 3), tf.constant(128, tf.uint8)))[None].numpy()
    return tf.fill((1, *spec.shape[1:]), 0.5).numpy()
