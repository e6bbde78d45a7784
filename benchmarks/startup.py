"""What is waited for before the first answer: imports, a model, a checkpoint, a prediction, each in a new process.

Medians of interleaved rounds, files warm in the system's cache. What `import keras` takes is Keras' and TensorFlow's
own; the last column is what comes on top of it.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import skimage.data
from PIL import Image

import keras_nest
from benchmarks import timing
from benchmarks.conversion import write_published
from keras_nest import export
from keras_nest.export.tflite import to_tflite
from keras_nest.files import local_path

KERAS = "import keras"
_CREATE = "import keras_nest; model = keras_nest.create_model({name!r}, **{fields!r})"
_PREDICT = "; import numpy; keras_nest.predictor(model)(numpy.zeros((1, 300, 400, 3), 'uint8'))"
STATEMENTS = {
    "import tensorflow": "import tensorflow",
    KERAS: "import keras",
    "import keras_nest": "import keras_nest",
    "create_model": _CREATE,
    "create_model, first prediction": _CREATE + _PREDICT,
}
COMMANDS = {
    "keras-nest --help": ["--help"],
    "keras-nest info": ["info", "{folder}/model.keras"],
    "keras-nest convert, of a checkpoint": [
        "convert",
        "{name}",
        "{folder}/published",
        "{folder}/out.keras",
        "--overwrite",
    ],
    "keras-nest predict, .keras": ["predict", "{folder}/image.png", "--model={folder}/model.keras"],
    "keras-nest predict, SavedModel": ["predict", "{folder}/image.png", "--model={folder}/saved_model"],
    "keras-nest predict, .tflite": ["predict", "{folder}/image.png", "--model={folder}/lite/float32.tflite"],
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nest_tiny_s196_224", help="a name of keras_nest.list_models()")
    parser.add_argument("--runs", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="one round of a toy, which shows that it works")
    options = parser.parse_args(arguments)
    name, fields = ("nest_tiny_s16_32", timing.TOY_NEST) if options.quick else (options.model, {})
    with tempfile.TemporaryDirectory() as folder:
        write_files(name, fields, pathlib.Path(folder))
        calls = {
            candidate: in_new_process([sys.executable, "-c", code.format(name=name, fields=fields)])
            for candidate, code in STATEMENTS.items()
        }
        for candidate, words in COMMANDS.items():
            words = [word.format(folder=folder, name=name) for word in words]
            calls[candidate] = in_new_process([pathlib.Path(sys.executable).with_name("keras-nest"), *words])
        rounds = timing.interleave(calls, 1 if options.quick else options.runs, "start-up", settled=False)
    rows = [
        {
            "candidate": candidate,
            "median s": rounds.median(candidate),
            "more than Keras, s": rounds.median(candidate) - rounds.median(KERAS),
            "runs": len(rounds.seconds[candidate]),
        }
        for candidate in calls
    ]
    timing.report(f"Start-up with {name}", rows, options.results / "startup.csv", f"{os.cpu_count()} processors")


def in_new_process(command: Sequence[str]) -> Callable[[], Any]:
    """A call that runs a command to its end.

    Raises:
        CalledProcessError: the command failed.
    """
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def write_files(name: str, fields: dict[str, Any], folder: pathlib.Path) -> None:
    """A model with random weights as each kind of file, a published checkpoint like it, and an image."""
    model = keras_nest.create_model(name, **fields)
    model.save(folder / "model.keras")
    export.to_saved_model(model, folder / "saved_model")
    to_tflite(model, folder / "lite", ["float32"])
    write_published(model, folder / "published")
    Image.fromarray(skimage.data.astronaut()).save(folder / "image.png")


if __name__ == "__main__":
    main()
