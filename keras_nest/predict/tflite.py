"""TFLite files that classify: those of `export`, and others with `images` in and `logits` or `probabilities` out."""

import json
import pathlib
import zipfile

import numpy as np

from keras_nest.class_names import check_class_names
from keras_nest.predict.predictor import Images, Predictor, softmax, stretched
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.tflite import TFLiteModel

_LABELS, _PREPROCESSING = "labels.txt", "preprocessing.json"


def open_file(path: pathlib.Path) -> Predictor:
    """Opens a TFLite file; labels and preprocessing are the files that lie in it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no model that classifies.
    """
    model = TFLiteModel(path)
    outputs = model(np.zeros((1, *model.input_shape), np.float32))
    scores = next((name for name in ("probabilities", "logits") if name in outputs), None)
    if scores is None:
        raise ValueError(f"{path} gives {', '.join(outputs)}; predict needs a file that gives logits or probabilities.")
    height, width, channels = model.input_shape
    inside, num_classes = _files_inside(path), outputs[scores].shape[-1]
    prepare, names = stretched((height, width), channels), None
    if _PREPROCESSING in inside:
        prepare = EvalPreprocessing(**json.loads(inside[_PREPROCESSING]))
    if _LABELS in inside:
        names = check_class_names(inside[_LABELS].rstrip("\n").split("\n"), num_classes, f"{path} has")

    def probabilities(images: Images) -> np.ndarray:
        given = model(prepare(list(images)).numpy())[scores]
        return given if scores == "probabilities" else softmax(given)

    return Predictor(probabilities, num_classes, names, channels)


def _files_inside(path: pathlib.Path) -> dict[str, str]:
    """Name -> text of what is packed behind the model."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}
