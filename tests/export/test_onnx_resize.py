"""The preprocessing of a model inside an ONNX file, against that of this package."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
import tf2onnx

from keras_nest import EvalPreprocessing
from keras_nest.export.onnx_graph import CONVERTED_OPSET
from keras_nest.export.onnx_resize import resize_handlers


@pytest.mark.parametrize(
    ("fields", "levels"),
    [
        ({"crop_ratio": 0.875}, 0.03),
        # TensorFlow looks bicubic weights up in a table of 1,024.
        ({"crop_ratio": 0.875, "interpolation": "bicubic"}, 0.25),
        ({"stretch": True}, 0.03),
        # Whole numbers: what lies in the middle between two may be rounded either way.
        ({"stretch": True, "truncate": True}, 1.001),
        ({"crop_ratio": 0.9, "interpolation": "bicubic", "pillow": True}, 1.001),
    ],
)
def test_images_of_any_size_are_prepared_as_the_model_says(fields, levels):
    preprocess = EvalPreprocessing(32, (0.0,) * 3, (1.0,) * 3, **fields)
    spec = [tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")]
    call = tf.function(lambda images: {"pixels": preprocess(images)}, input_signature=spec, autograph=False)
    proto, _ = tf2onnx.convert.from_function(call, spec, opset=CONVERTED_OPSET, custom_op_handlers=resize_handlers())
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for size in ((2, 50, 70), (1, 32, 32), (1, 33, 1500), (3, 20, 25)):
        images = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        (found,) = session.run(None, {"images": images})
        difference = 255 * np.abs(found - preprocess(images))
        assert difference.max() < levels
        assert np.mean(difference > 0.5) < 5e-3
