"""One train step on the processor: `keras_nest.training.Trainer` against the Flax module with optax under jax.jit.

Both compute the same: AdamW with decoupled decay, cross-entropy, the model's stochastic depth, float32; the rows below
add what a training may ask for. The last one takes its images from NesT's ImageNet recipe, which runs on the same
processors; what it is slower than the first is the time that the step waits for them or shares with them. Bar: the step
as a graph takes at most 0.5 of Flax's time at batch 8.
"""

import argparse
import os
import pathlib
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import timing
from benchmarks.input_pipeline import photographs
from benchmarks.steps import flax_step, keras_step
from keras_nest import create_model
from keras_nest.data import create_recipe, train_batches
from keras_nest.files import local_path

GRAPH, FLAX = "Keras, graph", "Flax and optax, jax.jit"
FED = "Keras, graph, fed by the input pipeline"
BAR = 0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nest_tiny_s196_224", help="a name of keras_nest.list_models()")
    parser.add_argument("--batch", type=int, default=8, help="images a step")
    parser.add_argument("--runs", type=int, default=9, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    name, fields = ("nest_tiny_s16_32", timing.TOY_NEST) if options.quick else (options.model, {})
    rows = measure(name, fields, options.batch, 2 if options.quick else options.runs)
    timing.report(f"Train step of {name}, batch {options.batch}", rows, options.results / "train_step.csv")
    if not options.quick:
        ours = next(row for row in rows if row["candidate"] == GRAPH)["times Flax"]
        print(f"The step takes {ours:.2f} of Flax's time, bar {BAR}: {'kept' if ours <= BAR else 'MISSED'}.")


def measure(name: str, fields: dict[str, Any], batch: int, runs: int) -> list[dict[str, Any]]:
    """Rows of the table.

    Args:
        name: of the model.
        fields: of the model.
        batch: images a step.
        runs: interleaved rounds.
    """
    model = create_model(name, **fields)
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, *model.input.shape[1:])).astype(np.float32)
    labels = random.integers(0, model.num_classes, batch).astype(np.int32)
    endless = tf.data.Dataset.from_tensors((images, labels)).repeat()
    candidates = {
        GRAPH: keras_step(model, endless),
        "Keras, XLA": keras_step(create_model(name, **fields), endless, jit_compile=True),
        "Keras, graph, bfloat16": keras_step(create_model(name, dtype="mixed_bfloat16", **fields), endless),
        "Keras, graph, clipped": keras_step(create_model(name, **fields), endless, clip_norm=1.0),
        "Keras, graph, average of weights": keras_step(create_model(name, **fields), endless, use_ema=True),
        "Keras, graph, 2 parts": keras_step(create_model(name, **fields), endless, accum_steps=2),
        FED: keras_step(create_model(name, **fields), pipeline(model, batch)),
        FLAX: flax_step(model, images, labels),
    }
    rounds = timing.interleave(candidates, runs, f"train step of {name}")
    return [
        {
            "candidate": candidate,
            "median ms": rounds.median(candidate) * 1e3,
            "times Flax": rounds.ratio(candidate, FLAX),
            "times graph": rounds.ratio(candidate, GRAPH),
            "images/s": batch / rounds.median(candidate),
            "runs": len(rounds.seconds[candidate]),
            "load of others": round(rounds.load, 2),
        }
        for candidate in candidates
    ]


def pipeline(model: keras.Model, batch: int) -> tf.data.Dataset:
    """Photographs as NesT is trained on them."""
    source = photographs(quality=92)
    recipe = create_recipe("nest_imagenet", source.info, model.image_size)
    batches = train_batches(source, recipe, model.image_size, batch, seed=0)
    # A toy model has fewer classes.
    return batches.map(lambda images, labels: (images, labels[:, : model.num_classes]))


if __name__ == "__main__":
    main()
