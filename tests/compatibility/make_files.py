"""Records what the present version writes, for `test_files.py` to read with later ones.

    python -m tests.compatibility.make_files tests/compatibility/files/VERSION.tar.xz

Run it on a version that is about to be published, once; a recorded archive is never made anew. Only public names and
command lines are used, so that any version can be recorded with it.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import shutil
import tarfile
import tempfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import keras_nest
from keras_nest import conversion, export
from keras_nest.cli import main
from keras_nest.tflite import TFLiteModel
from tests.compatibility import toys

CONFIGS = pathlib.Path(__file__).with_name("configs")
# Model, and options of the writer.
CHECKPOINTS: dict[str, tuple[str, dict[str, str]]] = {
    "vit.npz": ("vit", {}),
    "vit_pre_linen.npz": ("vit", {"layout": "pre_linen"}),
    "nest.msgpack": ("nest", {}),
    "resnet.msgpack": ("resnet", {}),
    "lit_bert.npz": ("lit_bert", {}),
}
RUNS = {"classifier": "model.keras", "lit": "model.keras", "generator": "generator.keras"}
# What names the machine, what only shows to people what other files hold, and the last checkpoints, which are too large
# and of which a training that shall go on from the one before must know nothing.
LEFT_OUT = ("tensorboard", "runs/*/*.png", "samples", "debug", ".lock", "ckpt-3.*")


def make(folder: pathlib.Path) -> None:
    """Writes all files into a directory, which becomes the working directory meanwhile.

    expected.npz holds inputs and outputs as "FILE:inputs/KEY" and "FILE:outputs/KEY", expected.json what is no array.
    """
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    with contextlib.chdir(folder):
        shutil.copytree(CONFIGS, "configs", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.move("configs/vocab.txt", "vocab.txt")
        digit = load_digits().images[0].repeat(2, axis=0).repeat(2, axis=1) * 15
        tf.io.write_file("digit.png", tf.io.encode_png(digit[..., None].astype(np.uint8)))
        _make_models(arrays, facts)
        _make_checkpoints()
        _make_runs(arrays, facts)
        _make_exports(arrays, facts)
        _record_answers(facts)
        np.savez_compressed("expected.npz", **arrays)
        pathlib.Path("expected.json").write_text(json.dumps(facts, indent=1))


def _make_models(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    os.mkdir("models")
    for name, build in toys.MODELS.items():
        keras.utils.set_random_seed(0)
        model = build()
        if name != "vit_int8":  # Its scales belong to its weights.
            toys.randomized(model)
        _save(model, f"models/{name}.keras", arrays, facts)


def _save(model: keras.Model, path: str, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    model.save(path)
    inputs = toys.random_inputs(model)
    _record(path, inputs, model(inputs, training=False), arrays)
    # As loaded: Keras gives other paths to layers of a user's model then.
    facts[f"{path}:frozen"] = frozen_and_not(keras.saving.load_model(path, safe_mode=False))
    # What models of ours tell about themselves; models of users do not.
    facts[f"{path}:config"] = sorted(getattr(model, "config", ()))
    facts[f"{path}:endpoints"] = sorted(getattr(model, "endpoints", ()))


def frozen_and_not(model: keras.Model) -> dict[str, list[str]]:
    """Paths of the variables that training would change, and of those that a frozen parent alone would keep from it."""
    by_itself = [variable.path for variable in model.variables if variable.trainable]
    return {"trainable": [variable.path for variable in model.trainable_variables], "by_itself": by_itself}


def _record(path: str, inputs: Any, outputs: Any, arrays: dict[str, np.ndarray]) -> None:
    for kind, values in (("inputs", inputs), ("outputs", outputs)):
        arrays |= {f"{path}:{kind}/{key}": plain(value) for key, value in named(values).items()}


def named(values: Any) -> dict[str, Any]:
    """Values of a dictionary by key, of a list by number, of one array under ""."""
    if isinstance(values, (list, tuple)):
        return {str(number): value for number, value in enumerate(values)}
    return dict(values) if isinstance(values, dict) else {"": values}


def plain(value: Any) -> np.ndarray:
    """An array that .npz holds without pickling: texts are bytes, and bfloat16 is float32."""
    array = np.asarray(value)
    return array.astype({"O": "S", "V": np.float32}.get(array.dtype.kind, array.dtype))


def _make_checkpoints() -> None:
    os.mkdir("checkpoints")
    for name, (source, options) in CHECKPOINTS.items():
        model = keras.saving.load_model(f"models/{source}.keras")
        conversion.write_checkpoint(model, f"checkpoints/{name}", **options)


def _make_runs(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    for name, product in RUNS.items():
        if main(["train", f"--config=configs/{name}.py", f"--workdir=runs/{name}"]):
            raise SystemExit(f"The run {name} failed.")
        model = keras.saving.load_model(f"runs/{name}/{product}")
        inputs = toys.random_inputs(model)
        _record(f"runs/{name}", inputs, model(inputs, training=False), arrays)
        facts[f"runs/{name}:frozen"] = frozen_and_not(model)


def _make_exports(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    away = ["export", "runs/classifier", "--overwrite"]
    main([*away, "--format=saved_model", "--output=exports/saved_model", "--no-warm-up"])
    main([*away, "--format=tflite", "--output=exports/tflite", "--precision=float32"])
    path = "exports/saved_model/1"
    facts[f"{path}:signatures"] = export.read_signatures(path)
    module = tf.saved_model.load(path)
    _record(path, images, module(images), arrays)
    for name, signature in module.signatures.items():
        (argument,) = signature.structured_input_signature[1]
        given = images if argument == "images" else np.array([pathlib.Path("digit.png").read_bytes()] * 2)
        _record(f"{path}/{name}", images, signature(**{argument: tf.constant(given)}), arrays)
    file = "exports/tflite/float32.tflite"
    _record(file, images, TFLiteModel(file)(images), arrays)
    model = keras.Sequential([keras.Input((16, 16, 3)), keras_nest.HubLayer(path, trainable=False)])
    _save(model, "models/hub_layer.keras", arrays, facts)


ANSWERS = {
    "predict": ["predict", "digit.png", "--model=runs/classifier", "--json"],
    "predict with a SavedModel": ["predict", "digit.png", "--model=exports/saved_model", "--json"],
    "predict with TFLite": ["predict", "digit.png", "--model=exports/tflite/float32.tflite", "--json"],
    "explain": ["explain", "digit.png", "--model=runs/classifier", "--json"],
    "zero-shot": ["zero-shot", "digit.png", "--model=runs/lit", "--json", "--labels", "seven", "one", "two"],
}
"""Commands whose answers are recorded."""


def _record_answers(facts: dict[str, Any]) -> None:
    for name, arguments in ANSWERS.items():
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if main(arguments):
                raise SystemExit(f"{name} failed.")
        facts[f"answer:{name}"] = [json.loads(line) for line in printed.getvalue().splitlines()]


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if any(pathlib.PurePath(member.name).match(pattern) for pattern in LEFT_OUT):
        return None
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", help="what to write, FILE.tar.xz")
    output = os.path.abspath(parser.parse_args().archive)
    with tempfile.TemporaryDirectory() as temporary:
        make(pathlib.Path(temporary))
        with tarfile.open(output, "w:xz", preset=9) as archive:
            archive.add(temporary, ".", filter=_anonymous)
