"""Keras models to formats that run without this package.

>>> import export, keras_nest
>>> export.to_saved_model(keras_nest.create_model("nest_tiny", weights=CHECKPOINT), "nest_tiny")
>>> tf.saved_model.load("nest_tiny")(images)  # float32 in [0, 1] -> logits
"""

from quiet_start import quiet_when_run

with quiet_when_run():
    from export.onnx import to_onnx
    from export.saved_model import read_signatures, to_saved_model
    from export.tflite import to_tflite
    from export.versions import publish

__all__ = ["publish", "read_signatures", "to_onnx", "to_saved_model", "to_tflite"]
