"""How long each stage of a recipe takes."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

from keras_nest.data.pipeline import train_batches
from keras_nest.data.recipes import Recipe
from keras_nest.data.sources.base import ONLY_HOST, Source
from keras_nest.types import Size

STAGES = ("crop", "shift", "flip", "randaugment", "color_jitter", "erasing", "mix")


class StageTime(NamedTuple):
    """One row of `stage_times`.

    Attributes:
        stage: what is done in addition to the rows before.
        seconds: for one image, everything up to this stage.
    """

    stage: str
    seconds: float


def stage_times(
    source: Source,
    recipe: Recipe,
    image_size: Size,
    batch_size: int,
    duration: float = 2.0,
    clock: Callable[[], float] = time.perf_counter,
    threads: int | None = None,
) -> Iterator[StageTime]:
    """Runs the pipeline with one stage more at a time.

    Args:
        source: the data set; its training images are used.
        recipe: what happens to them.
        image_size: (height, width) in pixels.
        batch_size: images a batch.
        duration: seconds to run each, beside the first batches, which warm up.
        clock: `time.process_time` counts the seconds of all cores, the default those that pass.
        threads: cores to use; None is all.

    Returns:
        What takes the time when asked for the next row: reading first; then decoding and cropping with normalization,
        and every stage of the recipe.

    Raises:
        ValueError: the batch cannot be filled, or a number is not positive.
    """
    if not duration > 0:
        raise ValueError(f"duration is {duration}; it must be above 0 seconds.")
    if threads is not None and threads < 1:
        raise ValueError(f"threads is {threads}; it must be 1 or more, or None for all cores.")
    growing = [(name, train_batches(source, part, image_size, batch_size, seed=0)) for name, part in _growing(recipe)]
    read = source.train.shuffled(0, ONLY_HOST, 0).batch(batch_size)
    return (
        StageTime(name, measure_batches(batches, batch_size, duration, clock, threads))
        for name, batches in [("read", read), *growing]
    )


def recipe_stages(recipe: Recipe) -> list[str]:
    """Names of the stages that a recipe has, in their order."""
    return [stage for stage in STAGES if getattr(recipe, stage) is not None]


def _growing(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """The recipe with its first stage, its first two, and so on."""
    partial = Recipe(recipe.preprocessing, crop=recipe.crop)
    yield "decode, crop, normalize", partial
    for stage in recipe_stages(recipe):
        if stage != "crop":
            partial = dataclasses.replace(partial, **{stage: getattr(recipe, stage)})
            yield stage, partial


def measure_batches(
    batches: tf.data.Dataset, batch_size: int, duration: float, clock: Callable[[], float], threads: int | None
) -> float:
    """Seconds that endless batches take for one image; arguments are those of `stage_times`."""
    options = tf.data.Options()
    if threads is not None:
        options.threading.private_threadpool_size = threads
        options.autotune.cpu_budget = threads
    iterator = iter(batches.with_options(options))
    for _ in range(2):
        next(iterator)
    count, start, begin = 0, clock(), time.perf_counter()
    while time.perf_counter() - begin < duration:
        next(iterator)
        count += batch_size
    return (clock() - start) / count
