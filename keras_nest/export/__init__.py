"""Keras models to formats that run without this package.

>>> import keras_nest
>>> from keras_nest import export
>>> export.to_saved_model(keras_nest.create_model("nest_tiny", weights=CHECKPOINT), "nest_tiny")
>>> tf.saved_model.load("nest_tiny")(images)  # float32 in [0, 1] -> logits
"""

from keras_nest.export.hub import to_hub
from keras_nest.export.onnx import to_onnx
from keras_nest.export.saved_model import read_signatures, to_saved_model
from keras_nest.export.stock_keras import to_keras
from keras_nest.export.tflite import to_tflite
from keras_nest.export.versions import publish
from keras_nest.export.web import to_web

__all__ = ["publish", "read_signatures", "to_hub", "to_keras", "to_onnx", "to_saved_model", "to_tflite", "to_web"]
