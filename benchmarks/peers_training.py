"""A train step of a model of this package, of Flax' and of timm's of the same architecture, in float32 and bfloat16.

AdamW, cross-entropy and stochastic depth on the same batch, in turns in one process with as many threads as there are
processors. bfloat16 is what each library calls mixed precision: weights and their updates stay float32. The limit is
one float32 matrix product with as many multiply-adds as a step has, three times those of the forward pass. Memory is
what each holds and takes at the peak of a warm step, weights and AdamW's averages too, in a process of its own. Runs in
the environment of `make bench-peers`.
"""

import argparse
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import torch

import keras_nest
from benchmarks import forward, memory, steps, timing
from benchmarks.peers import TIMM, timm
from keras_nest.files import local_path
from keras_nest.models.families import MODELS
from keras_nest.profiling import count_macs

GRAPH = "Keras, graph"
# Fields of the model and options of `keras_step`.
_OURS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    GRAPH: ({}, {}),
    "Keras, XLA": ({}, {"jit_compile": True}),
    "Keras, graph, remat": ({"remat": True}, {}),
    "Keras, graph, bfloat16": ({"dtype": "mixed_bfloat16"}, {}),
}
_FLAX = {"Flax and optax, jax.jit": False, "Flax and optax, jax.jit, bfloat16": True}
# Whether it is compiled, and in bfloat16.
_TIMM = {
    "timm, eager": (False, False),
    "timm, compiled": (True, False),
    "timm, compiled, bfloat16": (True, True),
}
CANDIDATES = (*_OURS, *_FLAX, *_TIMM)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["nest_tiny_s196_224", "ViT-S_16"], choices=TIMM, help="which")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--runs", type=int, default=9, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for name in options.models:
        rows += timing.in_own_process(measure, name, options.batch, options.runs)
    note = (
        f"batch {options.batch}, {os.cpu_count()} processors; limit: of one matrix product with as many multiply-adds"
    )
    timing.report("Train step, here and elsewhere", rows, options.results / "peers_training.csv", note)


def measure(name: str, batch: int, runs: int) -> list[dict[str, Any]]:
    """Rows of one model."""
    peaks = {candidate: timing.in_own_process(peak, candidate, name, batch) for candidate in CANDIDATES}
    calls = {candidate: step(candidate, name, batch) for candidate in CANDIDATES}
    product = forward.limit(3 * count_macs(keras_nest.create_model(name)) * batch)
    (limit,) = product
    rounds = timing.interleave(calls | product, runs, f"train step of {name}")
    return [
        {
            "model": name,
            "batch": batch,
            "candidate": forward.LIMIT if candidate == limit else candidate,
            "median ms": rounds.median(candidate) * 1e3,
            "times graph": rounds.ratio(candidate, GRAPH),
            "times limit": rounds.ratio(candidate, limit),
            "peak MiB": peaks.get(candidate),
            "runs": len(rounds.seconds[candidate]),
            "load of others": round(rounds.load, 2),
        }
        for candidate in rounds.seconds
    ]


def peak(candidate: str, name: str, batch: int) -> float:
    """MiB of a warm step; to be called in a process that has computed nothing."""
    return memory.steady_peak(lambda: step(candidate, name, batch))[1]


def step(candidate: str, name: str, batch: int) -> Callable[[], Any]:
    """A call that makes one update of a new model.

    Args:
        candidate: one of `CANDIDATES`.
        name: of the model.
        batch: images a step.
    """
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, 224, 224, 3)).astype(np.float32)
    labels = random.integers(0, 1000, batch).astype(np.int32)
    if candidate in _OURS:
        fields, options = _OURS[candidate]
        endless = tf.data.Dataset.from_tensors((images, labels)).repeat()
        return steps.keras_step(keras_nest.create_model(name, **fields), endless, **options)
    if candidate in _FLAX:
        return steps.flax_step(keras_nest.create_model(name), images, labels, mixed=_FLAX[candidate])
    compiled, mixed = _TIMM[candidate]
    return timm_step(name, images, labels, compiled, mixed)


def timm_step(name: str, images: np.ndarray, labels: np.ndarray, compiled: bool, mixed: bool) -> Callable[[], Any]:
    """A call that makes one update of timm's model, with the stochastic depth of this package's.

    Args:
        name: of this package's model.
        images: (B, H, W, 3).
        labels: (B,), classes.
        compiled: by `torch.compile`.
        mixed: forward pass and loss under `torch.autocast` in bfloat16.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    rate = MODELS[name][1].get("stochastic_depth_drop", 0.0)
    network = timm.create_model(TIMM[name], pretrained=False, drop_path_rate=rate).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=steps.RATE, weight_decay=steps.DECAY)
    compute = torch.compile(network) if compiled else network
    x = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    y = torch.from_numpy(labels.astype(np.int64))

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = torch.nn.functional.cross_entropy(compute(x), y)
        loss.backward()
        optimizer.step()

    return update


if __name__ == "__main__":
    main()
