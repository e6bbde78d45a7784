"""Requests that TF-Serving answers before it takes others, so that the first client need not wait.

TF-Serving reads them from `assets.extra/tf_serving_warmup_requests` of a SavedModel, a TFRecord file of PredictionLog
messages, and runs each once.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

WARM_UP_FILE = "assets.extra/tf_serving_warmup_requests"


def write_requests(saved_model: pathlib.Path, model: keras.Model, signatures: Mapping[str, Any]) -> None:
    """Writes one request of one grey image, one text or both for each signature.

    Args:
        saved_model: directory of the SavedModel, which need not be there yet.
        model: what it is made of; its name goes into the requests.
        signatures: by name, what `keras_nest.export.signatures.signature` made.

    Raises:
        ModuleNotFoundError: tensorflow-serving-api is missing; says how to install it.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Warm-up requests need tensorflow-serving-api: pip install 'keras-nest[serving]', or export without them "
            "(warm_up=False, --no-warm-up)."
        ) from error
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
