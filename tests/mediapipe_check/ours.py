"""Our side of `make test-mediapipe`: TFLite files of a small model, and what they answer about one picture."""

import json
import pathlib
import sys

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel

import keras_nest
from keras_nest import export
from keras_nest.export.tflite_report import sample_images
from keras_nest.tflite import TFLiteModel
from tests import keras_models

NAMES = ("owl", "cat, tabby", "dog", "fox", "猫")
# Folder -> options of `to_tflite`.
KINDS = {
    "softmax": {},
    "sigmoid": {"activation": "sigmoid"},
    "embedding": {"head": "none"},
}
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "static_int8")


def write(folder: pathlib.Path) -> None:
    """Files of every kind and precision, the picture, and the outputs by file."""
    model = keras_nest.create_model(
        "nest_tiny_s16_32", embedding_dim=24, num_layers_per_block=(1, 1), num_heads=2, num_classes=len(NAMES)
    )
    keras_models.randomize(model)
    images = sample_images((32, 32, 3))
    picture = np.rint(255 * images[:1]).astype(np.uint8)
    answers = {}
    for kind, options in KINDS.items():
        export.to_tflite(
            model, folder / kind, PRECISIONS, representative=[images], class_names=NAMES, overwrite=True, **options
        )
        for precision in PRECISIONS:
            file = folder / kind / f"{precision}.tflite"
            (output,) = TFLiteModel(file)(picture).values()
            answers[f"{kind}/{precision}.tflite"] = output[0].tolist()
            check_compiled(file, picture)
    np.save(folder / "picture.npy", picture[0])
    (folder / "answers.json").write_text(json.dumps({"names": NAMES, "answers": answers}), "utf-8")


def check_compiled(file: pathlib.Path, picture: np.ndarray) -> None:
    """The newer API of LiteRT gives the same bits as its interpreter."""
    runner = TFLiteModel(file).interpreter.get_signature_runner()
    dtype = runner.get_input_details()["images"]["dtype"]
    pixels = picture if dtype == np.uint8 else picture.astype(np.float32) / 255
    (wanted,) = runner(images=pixels).values()
    compiled = CompiledModel.from_file(str(file))
    inputs, outputs = compiled.create_input_buffers(0), compiled.create_output_buffers(0)
    inputs[0].write(pixels)
    compiled.run_by_index(0, inputs, outputs)
    np.testing.assert_array_equal(outputs[0].read(wanted.size, wanted.dtype), wanted.ravel())


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]))
