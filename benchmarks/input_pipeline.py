"""CPU time of NesT's ImageNet recipe, stage by stage, on one core.

The images are parts of the photographs inside scikit-learn and scikit-image, as 500x375 JPEG files of quality 95 in
memory. A number is the median over interleaved rounds of the CPU time of the whole process for one image, with
everything up to that stage. In the same rounds: the nearest to the whole recipe that layers of Keras make, see
`benchmarks.keras_pipeline`, and with `--reference DIRECTORY` the code of NesT itself, of which that is a checkout
(`git clone https://github.com/google-research/nested-transformer`).
"""

import argparse
import io
import os
import pathlib
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import skimage.data
import sklearn.datasets
import tensorflow as tf
from PIL import Image

from benchmarks import keras_pipeline, reference_pipeline, timing
from keras_nest.data import DatasetInfo, Host, Source, create_recipe
from keras_nest.data.sources import IndexedExamples
from keras_nest.data.speed import measure_batches, stage_times
from keras_nest.files import local_path

WIDTH, HEIGHT = 500, 375
BATCH = 24
KERAS, REFERENCE = "keras.layers", "google-research/nested-transformer"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="nest", help="name of a recipe")
    parser.add_argument("--image-size", type=int, default=224, help="pixels")
    parser.add_argument("--quality", type=int, default=95, help="of the JPEG files")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds for each stage in each round")
    parser.add_argument("--reference", type=local_path, help="checkout of NesT's own code, to be measured too")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    if options.reference and not (options.reference / "libml" / "preprocess.py").is_file():
        parser.error(f"--reference={options.reference} is no checkout of NesT's own code.")
    if options.quick:
        options.image_size, options.rounds, options.duration = 32, 1, 0.05
    _use_one_core()
    source = photographs(options.quality)
    beside = {}
    if options.recipe == "nest" and not options.quick:  # Layers of Keras take a minute to become a graph.
        beside[KERAS] = keras_pipeline.keras_layers(source, options.image_size, BATCH)
    if options.reference:
        beside[REFERENCE] = reference_pipeline.reference(options.reference, source, options.image_size, BATCH)
    rows = measure(source, options.recipe, options.image_size, options.rounds, options.duration, beside)
    note = f"{len(source.train)} photographs of {WIDTH}x{HEIGHT} pixels, mean {_mean_kilobytes(source):.0f} kB."
    title = f"Recipe {options.recipe} at {options.image_size} pixels"
    name = "input_pipeline_reference" if options.reference else "input_pipeline"
    timing.report(title, rows, options.results / f"{name}.csv", note)


def measure(
    source: Source,
    recipe_name: str,
    image_size: int,
    rounds: int,
    duration: float,
    beside: Mapping[str, tf.data.Dataset] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the table.

    Args:
        source: the images.
        recipe_name: one of `keras_nest.data.RECIPES`.
        image_size: side in pixels.
        rounds: how often each stage is measured.
        duration: seconds for each stage in each round.
        beside: endless batches of `BATCH` images that others make, to be measured too.
    """
    recipe, size = create_recipe(recipe_name, source.info, image_size), (image_size, image_size)
    beside = beside or {}
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for time_of in stage_times(source, recipe, size, BATCH, duration, time.process_time, threads=1):
            seconds.setdefault(time_of.stage, []).append(time_of.seconds)
        for name, batches in beside.items():
            seconds.setdefault(name, []).append(measure_batches(batches, BATCH, duration, time.process_time, 1))
    medians = {stage: statistics.median(values) for stage, values in seconds.items()}
    before = [0.0, *medians.values()]
    return [
        {
            "candidate": stage,
            "ms added": "" if stage in beside else 1e3 * (median - so_far),
            "median ms": 1e3 * median,
            "images/s": 1 / median,
            "runs": rounds,
            "load": round(os.getloadavg()[0], 2),
        }
        for (stage, median), so_far in zip(medians.items(), before, strict=False)
    ]


def photographs(quality: int, count: int = 24) -> Source:
    """JPEG files in memory, labeled as if there were a thousand classes.

    Args:
        quality: of the JPEG files, up to 100.
        count: number of images; each is another part of one of six photographs.
    """
    names = ("astronaut", "chelsea", "coffee", "rocket")
    whole = [*sklearn.datasets.load_sample_images().images, *(getattr(skimage.data, name)() for name in names)]
    random = np.random.default_rng(0)
    files = [_jpeg(_part(Image.fromarray(whole[number % len(whole)]), random), quality) for number in range(count)]
    examples = IndexedExamples(np.array(files, object), np.arange(count))
    info = DatasetInfo("photographs", tuple(map(str, range(1000))), (None, None, 3), count, count)
    return Source(info, examples, examples)


def _part(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """At least 80 % of an image's largest part of the right proportions."""
    width = min(image.width, image.height * WIDTH / HEIGHT) * random.uniform(0.8, 1)
    height = width * HEIGHT / WIDTH
    left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    return image.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box)


def _jpeg(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def _mean_kilobytes(source: Source) -> float:
    return float(np.mean([len(example.content.numpy()) for example in source.train.in_order(Host())])) / 1e3


def _use_one_core() -> None:
    """Before the first operation, which starts TensorFlow's threads."""
    if hasattr(os, "sched_setaffinity"):  # not on macOS
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


if __name__ == "__main__":
    main()
