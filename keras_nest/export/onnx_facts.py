"""What an ONNX file says about itself, to people and programs.

Source: `docs/MetadataProps.md` in the repository onnx/onnx, for the keys of images and of the license.
"""

import json
from collections.abc import Sequence
from typing import Any

import keras

from keras_nest.export.card import LICENSE
from keras_nest.export.decoding import outside_preprocessing
from keras_nest.export.module import image_shape
from keras_nest.export.tflite_metadata import describe_output
from keras_nest.version import __version__

_FLOATS = "Images of the model's size with pixels in [0, 1]; the normalization is inside."
_LEVELS = "Images of any size with levels in 0..255; resizing, cropping and normalization are inside."
_PIXELS = {3: "Rgb8", 1: "Gray8"}


def add_facts(proto: Any, model: keras.Model, input_type: str, class_names: Sequence[str] | None) -> None:
    """Adds metadata to an ONNX model, strings by key.

    * `names`: the class names, as JSON a dictionary from index to name.
    * `preprocessing`: what is left to do, as JSON the arguments of `keras_nest.EvalPreprocessing`; missing where all is
      inside, or nothing is known.
    * `model_license`, `Image.BitmapPixelFormat`, `Image.ColorSpaceGamma`, `Image.NominalPixelRange`: as the
      specification of ONNX has them.

    Args:
        proto: the model, which is changed.
        model: what it was made of.
        input_type: one of `keras_nest.choices.INPUT_TYPES`.
        class_names: in the order of the logits.
    """
    floats, channels = input_type == "float32", image_shape(model)[-1]
    left = outside_preprocessing(model) if floats else None
    facts = {
        "names": json.dumps(dict(enumerate(class_names)), ensure_ascii=False) if class_names else None,
        "preprocessing": json.dumps(left) if left else None,
        "model_license": LICENSE,
        "Image.BitmapPixelFormat": _PIXELS.get(channels),
        "Image.ColorSpaceGamma": "SRGB" if channels in _PIXELS else None,
        "Image.NominalPixelRange": "Normalized_0_1" if floats else "NominalRange_0_255",
    }
    for key, value in facts.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=value)
    proto.producer_name, proto.producer_version = "keras_nest", __version__
    proto.graph.name = model.name
    proto.graph.input[0].doc_string = _FLOATS if floats else _LEVELS
    for output in proto.graph.output:
        output.doc_string = describe_output(output.name)
