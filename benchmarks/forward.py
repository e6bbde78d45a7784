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
from keras_nest.conversion import flax_reference
from keras_nest.files import local_path
from keras_nest.models import ImageModel
from keras_nest.profiling import count_macs

GRAPH, XLA, FLAX = "Keras, graph", "Keras, XLA", "Flax, jax.jit"
LIMIT = "limit: matmul"
BARS = {1: 1.0, 8: 0.8}
# Side of the limit's constant operand: large enough for the peak, small enough to stay in the cache.
_SIDE = 1024

Candidates = dict[str, Callable[[], Any]]
# Takes normalized images (B, H, W, 3) and gives a call that computes the logits.
Engine = Callable[[np.ndarray], Callable[[], Any]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nest_tiny_s196_224", help="a name of keras_nest.list_models()")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="batch sizes")
    parser.add_argument("--runs", type=int, default=15, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    model = _toy_model() if options.quick else keras_nest.create_model(options.model)
    rows = measure(model, options.batch, 2 if options.quick else options.runs)
    note = f"{count_macs(model):,} multiply-adds an image; {os.cpu_count()} processors"
    timing.report(f"Forward pass of {model.name}", rows, options.results / "forward.csv", note)
    if not options.quick:
        _print_bars(rows)


def _toy_model() -> ImageModel:
    return keras_nest.NesT(10, 16, embedding_dim=16, num_heads=2, num_layers_per_block=(1, 1), init_patch_embed_size=2)


def _tensorflow(jit_compile: bool) -> Callable[[ImageModel], Engine]:
    def engine(model: ImageModel) -> Engine:
        function = tf.function(lambda images: model(images, training=False), autograph=False, jit_compile=jit_compile)
        return lambda images: bind_tensorflow(function, tf.constant(images))

    return engine


def _flax(model: ImageModel) -> Engine:
    """Of the configuration of the Keras model, with random weights of its own."""
    module = flax_reference.for_config(type(model).__name__, model.config)
    parameters = jax.jit(module.init)(jax.random.key(0), jnp.zeros((1, *model.input.shape[1:])))
    compute = jax.jit(module.apply)
    return lambda images: _bind_jax(lambda x: compute(parameters, x), jnp.asarray(images))


ENGINES: dict[str, Callable[[ImageModel], Engine]] = {GRAPH: _tensorflow(False), XLA: _tensorflow(True), FLAX: _flax}
"""Ways to run a model."""


def bind_tensorflow(function: Callable[..., Any], *operands: tf.Tensor) -> Callable[[], Any]:
    """A call of a function that returns when its result is there."""
    return lambda: function(*operands).numpy()


def _bind_jax(function: Callable[..., Any], *operands: jax.Array) -> Callable[[], Any]:
    return lambda: function(*operands).block_until_ready()


def limit(macs: int) -> Candidates:
    """One matrix product of about `macs` multiply-adds in the fastest of the libraries, by its name.

    The choice is made by the best of three runs; the time that counts is taken in the rounds.
    """
    left = np.ones((max(round(macs / _SIDE**2), 1), _SIDE), np.float32)
    right = np.ones((_SIDE, _SIDE), np.float32)
    # TensorFlow's product is awaited by reading one number, not by copying the matrix.
    tf_product = tf.function(lambda a, b: tf.matmul(a, b)[0, 0], autograph=False)
    candidates = {
        "NumPy": lambda: left @ right,
        "TensorFlow": bind_tensorflow(tf_product, tf.constant(left), tf.constant(right)),
        "JAX": _bind_jax(jax.jit(jnp.matmul), jnp.asarray(left), jnp.asarray(right)),
    }
    fastest = min(candidates, key=lambda name: timing.best_of(candidates[name], 3))
    return {f"{LIMIT} ({fastest})": candidates[fastest]}


def measure(model: ImageModel, batches: Sequence[int], runs: int) -> list[dict[str, Any]]:
    """Rows of the table.

    Every round times every engine at every batch size: a machine shared with others has slow spells of many seconds,
    which then meet all of them.

    Args:
        model: the Keras model.
        batches: images at a time.
        runs: interleaved rounds.
    """
    engines, macs = {name: make(model) for name, make in ENGINES.items()}, count_macs(model)
    random = np.random.default_rng(0)
    candidates: dict[tuple[int, str], Callable[[], Any]] = {}
    for batch in batches:
        images = random.standard_normal((batch, *model.input.shape[1:])).astype(np.float32)
        calls = {name: bind(images) for name, bind in engines.items()} | limit(macs * batch)
        candidates |= {(batch, name): call for name, call in calls.items()}
    rounds = timing.interleave(candidates, runs, f"forward pass of {model.name}")
    product = {batch: (batch, name) for batch, name in candidates if name.startswith(LIMIT)}
    return [
        {
            "batch": batch,
            "candidate": name,
            "median ms": rounds.median((batch, name)) * 1e3,
            "times Flax": rounds.ratio((batch, name), (batch, FLAX)),
            "share of limit": rounds.ratio(product[batch], (batch, name)),
            "GMAC/s": macs * batch / rounds.median((batch, name)) / 1e9,
            "runs": len(rounds.seconds[batch, name]),
            "load of others": round(rounds.load, 2),
        }
        for batch, name in candidates
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
