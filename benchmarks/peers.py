"""The forward pass of a model of this package in all that runs it, and of the same architecture elsewhere.

All take turns in one process with as many threads as there are processors, on the same batch; each model and batch size
has a process of its own, whose gigabytes go with it. Weights are random, those of the peers their own. The limit is
that of `benchmarks.forward`: one matrix product with as many multiply-adds. Memory is what an engine holds and takes at
the peak of a warm call, weights too, in a process of its own. Runs in an environment of its own, which
`make bench-peers` makes (benchmarks/peers.txt).
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import MagicMock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import keras_hub
import numpy as np
import onnxruntime
import openvino
import tensorflow as tf
import torch

import keras_nest
from benchmarks import forward, memory, timing
from benchmarks.forward import Engine
from benchmarks.peers_picture import draw
from keras_nest import export
from keras_nest.export.tflite import to_tflite
from keras_nest.files import local_path
from keras_nest.profiling import count_macs
from keras_nest.tflite import TFLiteModel

# timm imports torchvision for data and augmentation, of which nothing here is used; tests/torch_check/theirs.py says
# why the real one is not there.
_UNUSED = ("", ".datasets", ".models", ".models.feature_extraction", ".ops", ".ops.misc", ".transforms")
for _part in (*_UNUSED, ".transforms.functional"):
    sys.modules[f"torchvision{_part}"] = MagicMock(__spec__=None)

import timm  # noqa: E402

for _part in (*_UNUSED, ".transforms.functional"):
    del sys.modules[f"torchvision{_part}"]  # what compiles looks for it, too

TIMM = {
    "nest_tiny_s196_224": "nest_tiny_jx",
    "ViT-S_16": "vit_small_patch16_224",
    "Mixer-B_16": "mixer_b16_224",
}
# hidden size, heads and width of the MLP, of what keras-hub builds.
KERAS_HUB = {"ViT-S_16": (384, 6, 1536)}
# Options of `to_saved_model`, and what OpenVINO computes in.
SAVED_MODELS: dict[str, dict[str, Any]] = {
    "SavedModel": {},
    "SavedModel, cpu": {"optimize": "cpu"},
    "SavedModel, cpu, bfloat16": {"optimize": "cpu", "precision": "bfloat16"},
}
TFLITE = {"TFLite, float32": "float32", "TFLite, dynamic_int8": "dynamic_int8"}
OPENVINO = {"OpenVINO": "f32", "OpenVINO, bfloat16": "bf16"}
KERAS_HUB_XLA = "keras-hub, XLA"
# Whether it is compiled.
TORCH = {"timm, eager": False, "timm, compiled": True}
# Memory is measured at this batch size; each engine takes a process of its own for it.
MEMORY_BATCH = 8


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(TIMM), choices=TIMM, help="which")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32], help="batch sizes")
    parser.add_argument("--runs", type=int, default=15, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--picture", type=local_path, default=pathlib.Path("docs/peers.png"), help="file of the plot")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.models:
        for batch in options.batch:
            rows += timing.in_own_process(measure, name, batch, options.runs)
    note = f"{os.cpu_count()} processors; times the limit: of one matrix product with as many multiply-adds"
    timing.report("Forward pass, here and elsewhere", rows, options.results / "peers.csv", note)
    draw(options.picture, rows)


def measure(name: str, batch: int, runs: int) -> list[dict[str, Any]]:
    """Rows of one model at one batch size."""
    candidates = [*forward.ENGINES, *SAVED_MODELS, *TFLITE, "ONNX Runtime", *OPENVINO, *TORCH]
    candidates += [KERAS_HUB_XLA] if name in KERAS_HUB else []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        macs = timing.in_own_process(write_files, name, batch, folder)
        peaks: dict[str, float] = {}
        if batch == MEMORY_BATCH:
            peaks = {candidate: timing.in_own_process(peak, candidate, name, batch, folder) for candidate in candidates}
        calls = {candidate: prepare(candidate, name, batch, folder) for candidate in candidates}
    calls |= (product := forward.limit(macs * batch))
    (limit,) = product
    rounds = timing.interleave(calls, runs, f"{name}, batch {batch}")
    return [
        {
            "model": name,
            "batch": batch,
            "candidate": forward.LIMIT if candidate == limit else candidate,
            "median ms": rounds.median(candidate) * 1e3,
            "times Keras, XLA": rounds.ratio(candidate, forward.XLA),
            "times limit": rounds.ratio(candidate, limit),
            "peak MiB": peaks.get(candidate),
            "runs": len(rounds.seconds[candidate]),
            "load of others": round(rounds.load, 2),
        }
        for candidate in calls
    ]


def write_files(name: str, batch: int, folder: pathlib.Path) -> int:
    """Exports a model into a folder, and counts its multiply-adds for an image."""
    model = keras_nest.create_model(name)
    randomize(model)
    for candidate, options in SAVED_MODELS.items():
        export.to_saved_model(model, folder / candidate, **options)
    to_tflite(model, folder / "lite", list(TFLITE.values()), batch_size=batch, activation="none")
    export.to_onnx(model, folder / "model.onnx")
    return count_macs(model)


def peak(candidate: str, name: str, batch: int, folder: pathlib.Path) -> float:
    """MiB of a warm engine; to be called in a process that has computed nothing."""
    return memory.steady_peak(lambda: prepare(candidate, name, batch, folder))[1]


def prepare(candidate: str, name: str, batch: int, folder: pathlib.Path) -> Callable[[], Any]:
    """A call that computes the logits of a batch."""
    images = np.random.default_rng(0).random((batch, 224, 224, 3), np.float32)
    return engine(candidate, name, folder)(images)


def engine(candidate: str, name: str, folder: pathlib.Path) -> Engine:
    """One of those that take turns: of the files that `write_files` wrote, or of new weights."""
    if candidate in forward.ENGINES:
        model = keras_nest.create_model(name)
        randomize(model)
        return forward.ENGINES[candidate](model)
    if candidate in SAVED_MODELS:
        return _saved_model(tf.saved_model.load(str(folder / candidate)))
    if candidate in TFLITE:
        file = TFLiteModel(folder / "lite" / f"{TFLITE[candidate]}.tflite", os.cpu_count() or 1)
        return lambda images: lambda: file(images)
    if candidate in OPENVINO:
        hint = {"INFERENCE_PRECISION_HINT": OPENVINO[candidate]}
        compiled = openvino.Core().compile_model(str(folder / "model.onnx"), "CPU", hint)
        return lambda images: lambda: compiled({"images": images})["logits"]
    if candidate in TORCH:
        return _timm(TIMM[name], TORCH[candidate])
    if candidate == KERAS_HUB_XLA:
        return _keras_hub(*KERAS_HUB[name])
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    return lambda images: lambda: session.run(["logits"], {"images": images})


def randomize(model: keras.Model) -> None:
    """Gives every weight noise: graph optimizers leave out what multiplies by one or adds zero."""
    for seed, variable in enumerate(model.trainable_variables):
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.02, seed=seed))


def _saved_model(loaded: Any) -> Engine:
    serve = loaded.signatures["serving_default"]
    # The signature does not keep what it was loaded with.
    return lambda images, loaded=loaded: forward.bind_tensorflow(
        lambda x, loaded=loaded: serve(images=x)["logits"], tf.constant(images)
    )


def _keras_hub(width: int, heads: int, mlp: int) -> Engine:
    fields = {"patch_size": 16, "num_layers": 12, "num_heads": heads, "hidden_dim": width, "mlp_dim": mlp}
    model = keras_hub.models.ViTBackbone(image_shape=(224, 224, 3), **fields)
    compute = tf.function(lambda images: model(images, training=False), autograph=False, jit_compile=True)
    return lambda images: forward.bind_tensorflow(compute, tf.constant(images))


def _timm(name: str, compiled: bool) -> Engine:
    torch.set_num_threads(os.cpu_count() or 1)
    network = timm.create_model(name, pretrained=False).eval()
    compute = torch.compile(network) if compiled else network

    def bind(images: np.ndarray) -> Callable[[], Any]:
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

        def call() -> Any:
            with torch.inference_mode():
                return compute(x)

        return call

    return bind


if __name__ == "__main__":
    main()
