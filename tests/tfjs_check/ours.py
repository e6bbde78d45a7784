"""Our side of `make test-tfjs`: a SavedModel, and what the Keras model says about two images."""

import json
import pathlib
import sys

import numpy as np

import keras_nest
from keras_nest import export
from tests import keras_models


def write(folder: pathlib.Path) -> None:
    """Writes `saved_model` and `case.json`."""
    model = keras_nest.create_model(
        "nest_tiny_s16_32", embedding_dim=24, num_layers_per_block=(1, 1), num_heads=2, num_classes=5
    )
    keras_models.randomize(model)
    levels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    logits = np.asarray(model(keras_nest.preprocessor(model)(levels)))
    export.to_saved_model(model, folder / "saved_model", overwrite=True)
    case = {"shape": levels.shape, "levels": levels.ravel().tolist(), "logits": logits.ravel().tolist()}
    (folder / "case.json").write_text(json.dumps(case), "utf-8")


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
