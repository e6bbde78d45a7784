"""The forward pass of a model of this package in all that runs it, and of the same architecture elsewhere.

All take turns in one process with as many threads as there are processors, on the same batch; each model and batch size
has a process of its own, whose gigabytes go with it. Weights are random, those of the peers their own. The limit is
that of `benchmarks.forward`: one matrix product with as many multiply-adds. Runs in an environment of its own, which
`make bench-peers` makes (benchmarks/peers.txt).
"""

import argparse
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
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
from benchmarks import forward, timing
from benchmarks.peers_picture import draw
from keras_nest import export
from keras_nest.export.tflite import to_tflite
from keras_nest.files import local_path
from keras_nest.models import ImageModel
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
OPTIMIZED = {"SavedModel": {}, "SavedModel, cpu": {"optimize": "cpu"}}
OPTIMIZED["SavedModel, cpu, bfloat16"] = {"optimize": "cpu", "precision": "bfloat16"}
OPENVINO = {"OpenVINO": "f32", "OpenVINO, bfloat16": "bf16"}
# Takes images (B, H, W, 3) in [0, 1] and gives a call that computes the logits.
Engine = Callable[[np.ndarray], Callable[[], Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["nest_tiny_s196_224", "ViT-S_16"], choices=TIMM, help="which")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="batch sizes")
    parser.add_argument("--runs", type=int, default=15, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--picture", type=local_path, default=pathlib.Path("docs/peers.png"), help="file of the plot")
    options = parser.parse_args(arguments)
    cases = [(name, batch, options.runs) for name in options.models for batch in options.batch]
    with ProcessPoolExecutor(max_workers=1, max_tasks_per_child=1) as processes:
        rows = [row for found in processes.map(measure_one, *zip(*cases, strict=True)) for row in found]
    note = f"{os.cpu_count()} processors; times the limit: of one matrix product with as many multiply-adds"
    timing.report("Forward pass, here and elsewhere", rows, options.results / "peers.csv", note)
    draw(options.picture, rows)


def measure_one(name: str, batch: int, runs: int) -> list[dict[str, Any]]:
    """Rows of one model at one batch size."""
    torch.set_num_threads(os.cpu_count() or 1)
    model = keras_nest.create_model(name)
    randomize(model)
    images = np.random.default_rng(0).random((batch, *model.input.shape[1:]), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        engines = {**ours(model, pathlib.Path(folder), batch), **others(name, batch)}
        calls = {candidate: bind(images) for candidate, bind in engines.items()}
    calls |= forward.limit(count_macs(model) * batch)
    limit = next(candidate for candidate in calls if candidate.startswith(forward.LIMIT))
    rounds = timing.interleave(calls, runs, f"{name}, batch {batch}")
    return [
        {
            "model": name,
            "batch": batch,
            "candidate": forward.LIMIT if candidate == limit else candidate,
            "median ms": rounds.median(candidate) * 1e3,
            "times Keras, XLA": rounds.ratio(candidate, forward.XLA),
            "times limit": rounds.ratio(candidate, limit),
            "runs": len(rounds.seconds[candidate]),
            "load of others": round(rounds.load, 2),
        }
        for candidate in calls
    ]


def randomize(model: keras.Model) -> None:
    """Gives every weight noise: graph optimizers leave out what multiplies by one or adds zero."""
    for seed, variable in enumerate(model.trainable_variables):
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.02, seed=seed))


def ours(model: ImageModel, folder: pathlib.Path, batch: int) -> dict[str, Engine]:
    """A model as Keras runs it, Flax' of the same configuration, and the files that are exported of it."""
    engines: dict[str, Engine] = dict(forward.make_engines(model))
    for number, (name, options) in enumerate(OPTIMIZED.items()):
        path = export.to_saved_model(model, folder / str(number), **options)
        engines[name] = _saved_model(tf.saved_model.load(str(path)))
    to_tflite(model, folder / "lite", ["float32", "dynamic_int8"], batch_size=batch, activation="none")
    for precision in ("float32", "dynamic_int8"):
        file = TFLiteModel(folder / "lite" / f"{precision}.tflite", os.cpu_count() or 1)
        engines[f"TFLite, {precision}"] = lambda images, file=file: lambda: file(images)
    onnx = export.to_onnx(model, folder / "model.onnx")
    engines["ONNX Runtime"] = _onnx_runtime(onnxruntime.InferenceSession(str(onnx)))
    core = openvino.Core()
    for name, precision in OPENVINO.items():
        compiled = core.compile_model(str(onnx), "CPU", {"INFERENCE_PRECISION_HINT": precision})
        engines[name] = lambda images, compiled=compiled: lambda: compiled({"images": images})["logits"]
    return engines


def others(name: str, batch: int) -> dict[str, Engine]:
    """The same architecture in other libraries, with weights of their own."""
    network = timm.create_model(TIMM[name], pretrained=False).eval()
    engines = {"timm, eager": _torch(network), "timm, compiled": _torch(torch.compile(network))}
    if name in KERAS_HUB:
        width, heads, mlp = KERAS_HUB[name]
        fields = {"patch_size": 16, "num_layers": 12, "num_heads": heads, "hidden_dim": width, "mlp_dim": mlp}
        backbone = keras_hub.models.ViTBackbone(image_shape=(224, 224, 3), **fields)
        engines["keras-hub, XLA"] = _keras(backbone)
    return engines


def _keras(model: keras.Model) -> Engine:
    compute = tf.function(lambda images: model(images, training=False), autograph=False, jit_compile=True)
    return lambda images: forward.bind_tensorflow(compute, tf.constant(images))


def _saved_model(loaded: Any) -> Engine:
    serve = loaded.signatures["serving_default"]
    # The signature does not keep what it was loaded with.
    return lambda images, loaded=loaded: forward.bind_tensorflow(
        lambda x, loaded=loaded: serve(images=x)["logits"], tf.constant(images)
    )


def _onnx_runtime(session: Any) -> Engine:
    return lambda images: lambda: session.run(["logits"], {"images": images})


def _torch(network: Any) -> Engine:
    def bind(images: np.ndarray) -> Callable[[], Any]:
        x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

        def call() -> Any:
            with torch.inference_mode():
                return network(x)

        return call

    return bind


if __name__ == "__main__":
    main()
