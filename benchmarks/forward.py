"""Forward pass on the processor: the Keras model as a graph and under XLA, against the Flax module under jax.jit.

All run with the same threads on the same images. The limit is the time of one large float32 matrix product with as
many multiply-adds as the model's own products and convolutions, in the fastest of NumPy, TensorFlow and JAX, timed in
the same rounds. Bars: XLA takes at most 1.0 of Flax's time at batch 1 and 0.8 at batch 8.
"""

import argparse
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf

import keras_nest
from benchmarks import timing
from conversion import flax_reference
from keras_nest.models import ImageModel
from keras_nest.profiling import count_macs

GRAPH, XLA, FLAX = "Keras, graph", "Keras, XLA", "Flax, jax.jit"
LIMITS = ("matmul, NumPy", "matmul, TensorFlow", "matmul, JAX")
BARS = {1: 1.0, 8: 0.8}
# Side of the limit's constant operand: large enough for the peak, small enough to stay in the cache.
_SIDE = 1024

Candidates = dict[str, Callable[[], Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nest_tiny_s196_224", help="a name of keras_nest.list_models()")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="batch sizes")
    parser.add_argument("--runs", type=int, default=9, help="interleaved rounds")
    parser.add_argument("--results", type=pathlib.Path, default="results", help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    model = _toy_model() if options.quick else keras_nest.create_model(options.model)
    engines = make_engines(model)
    macs = count_macs(model)
    rows = []
    for batch in options.batch:
        rows += measure(model, engines, macs, batch, 2 if options.quick else options.runs)
    note = f"{macs:,} multiply-adds an image; {os.cpu_count()} processors"
    timing.report(f"Forward pass of {model.name}", rows, pathlib.Path(options.results) / "forward.csv", note)
    if not options.quick:
        _print_bars(rows)


def _toy_model() -> ImageModel:
    return keras_nest.NesT(10, 16, embedding_dim=16, num_heads=2, num_layers_per_block=(1, 1), init_patch_embed_size=2)


def make_engines(model: ImageModel) -> dict[str, Callable[[np.ndarray], Callable[[], Any]]]:
    """Ways to run a model; each takes normalised images (B, H, W, 3) and gives a call that computes the logits.

    Args:
        model: the Keras model; the Flax module of its configuration gets random weights of its own.
    """
    graph = tf.function(lambda images: model(images, training=False), autograph=False)
    xla = tf.function(lambda images: model(images, training=False), autograph=False, jit_compile=True)
    module = flax_reference.for_config(type(model).__name__, model.config)
    shape = (1, *model.input.shape[1:])
    parameters = jax.jit(module.init)(jax.random.key(0), jnp.zeros(shape))
    flax = jax.jit(module.apply)
    return {
        GRAPH: lambda images: _bind_tensorflow(graph, tf.constant(images)),
        XLA: lambda images: _bind_tensorflow(xla, tf.constant(images)),
        FLAX: lambda images: _bind_jax(lambda x: flax(parameters, x), jnp.asarray(images)),
    }


def _bind_tensorflow(function: Callable[..., Any], *operands: tf.Tensor) -> Callable[[], Any]:
    return lambda: function(*operands).numpy()


def _bind_jax(function: Callable[..., Any], *operands: jax.Array) -> Callable[[], Any]:
    return lambda: function(*operands).block_until_ready()


def limits(macs: int) -> Candidates:
    """One matrix product of about `macs` multiply-adds in each of the libraries."""
    left = np.ones((max(round(macs / _SIDE**2), 1), _SIDE), np.float32)
    right = np.ones((_SIDE, _SIDE), np.float32)
    tf_product = tf.function(tf.matmul, autograph=False)
    # TensorFlow's product is awaited by reading one number, not by copying the matrix.
    await_tensorflow = tf.function(lambda a, b: tf_product(a, b)[0, 0], autograph=False)
    calls = (
        lambda: left @ right,
        _bind_tensorflow(await_tensorflow, tf.constant(left), tf.constant(right)),
        _bind_jax(jax.jit(jnp.matmul), jnp.asarray(left), jnp.asarray(right)),
    )
    return dict(zip(LIMITS, calls, strict=True))


def measure(
    model: ImageModel,
    engines: dict[str, Callable[[np.ndarray], Callable[[], Any]]],
    macs: int,
    batch: int,
    runs: int,
) -> list[dict[str, Any]]:
    """Rows of the table for one batch size.

    Args:
        model: the Keras model, for its input shape.
        engines: of `make_engines`.
        macs: multiply-adds an image.
        batch: images at a time.
        runs: interleaved rounds.
    """
    images = np.random.default_rng(0).standard_normal((batch, *model.input.shape[1:])).astype(np.float32)
    candidates = {name: bind(images) for name, bind in engines.items()} | limits(macs * batch)
    rounds = timing.interleave(candidates, runs, f"batch {batch}")
    fastest = min(LIMITS, key=rounds.median)
    return [
        {
            "batch": batch,
            "candidate": "limit: " + name if name in LIMITS else name,
            "median ms": rounds.median(name) * 1e3,
            "times Flax": rounds.ratio(name, FLAX),
            "share of limit": rounds.ratio(fastest, name),
            "GMAC/s": macs * batch / rounds.median(name) / 1e9,
            "runs": len(rounds.seconds[name]),
            "load of others": round(rounds.load, 2),
        }
        for name in (GRAPH, XLA, FLAX, fastest)
    ]


def _print_bars(rows: Sequence[dict[str, Any]]) -> None:
    """Says whether XLA keeps its bars."""
    for row in rows:
        bar = BARS.get(row["batch"])
        if bar is not None and row["candidate"] == XLA:
            verdict = "kept" if row["times Flax"] <= bar else "MISSED"
            print(f"Batch {row['batch']}: XLA takes {row['times Flax']:.2f} of Flax's time, bar {bar:.1f}: {verdict}.")


if __name__ == "__main__":
    main()
