"""`keras-nest data`: what a data set is, what a recipe makes of its images, and how fast."""

import argparse
import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from rich.live import Live
from rich.table import Table

from keras_nest.console import console, print_facts
from keras_nest.data import show
from keras_nest.data.pipeline import train_batches
from keras_nest.data.recipes import Recipe, create_recipe
from keras_nest.data.sources import Source, open_source
from keras_nest.data.speed import recipe_stages, stage_times
from keras_nest.figures import picture_file
from keras_nest.types import Size, as_size

_NAMES = 10  # of classes, told at most


def main(args: argparse.Namespace) -> int:
    """Prints facts about a data set, or draws what a recipe makes of it, or measures that.

    Raises:
        ValueError: what is asked for does not exist or is out of range, or an image cannot be read.
        OSError: the data set is not there, or the picture exists or cannot be written.
        ModuleNotFoundError: a package that the data set or the picture needs is not installed.
    """
    picture = picture_file(args.show, args.overwrite) if args.show else contextlib.nullcontext()
    with _unreadable_images_told():
        with picture as partial:
            source = open_source(args.name, args.train_split, args.test_split, args.data_dir, broken=args.broken)
            size = source.info.usual_size if args.image_size is None else as_size(args.image_size)
            recipe = create_recipe(args.recipe, source.info, size)
            if partial is not None:
                show.draw_recipe(source, recipe, size, args.seed, f"{_title(args, size)}: {_stages(recipe)}").savefig(
                    partial
                )
        if args.show:
            console.print(f"Drawn: {args.show}", markup=False, highlight=False, soft_wrap=True)
        if args.speed:
            _print_speed(args, source, recipe, size)
        if not (args.show or args.speed):
            _print_facts(args, source, recipe, size)
    return 0


def _print_facts(args: argparse.Namespace, source: Source, recipe: Recipe, size: Size) -> None:
    info = source.info
    steps = "fewer images than a batch"
    if args.batch_size <= info.num_train:
        steps = f"{train_batches(source, recipe, size, args.batch_size, args.seed).steps_per_epoch:,}"
    height, width, _ = info.image_shape
    names = ", ".join(info.class_names[:_NAMES]) + (", …" if info.num_classes > _NAMES else "")
    facts = {
        "classes": f"{info.num_classes:,}: {names}",
        "training images": info.num_train,
        "test images": info.num_test,
        "image size": "various" if height is None else f"{height} x {width}",
        "recipe": f"{args.recipe}, {size[0]} x {size[1]}",
        "stages": _stages(recipe),
        f"steps an epoch, of {args.batch_size:,} images": steps,
    }
    print_facts(info.name, facts)


def _print_speed(args: argparse.Namespace, source: Source, recipe: Recipe, size: Size) -> None:
    times = stage_times(source, recipe, size, args.batch_size, args.duration)
    console.print(
        f"{_title(args, size)}, batches of {args.batch_size}, {_num_cores()} cores", markup=False, style="bold"
    )
    table = Table("stage", caption="Wall clock; differences of a few percent are noise.")
    for header in ("ms added per image", "ms so far", "images/s so far"):
        table.add_column(header, justify="right")
    before = 0.0
    with Live(table, console=console, auto_refresh=False, transient=True) as live:
        for stage, seconds in times:
            cells = (f"{1000 * (seconds - before):.3f}", f"{1000 * seconds:.3f}", f"{1 / seconds:,.0f}")
            table.add_row(stage, *cells)
            live.refresh()
            before = seconds
    console.print(table)


def _title(args: argparse.Namespace, size: Size) -> str:
    return f"{args.name}, recipe {args.recipe}, {size[0]} x {size[1]}"


def _stages(recipe: Recipe) -> str:
    return ", ".join(recipe_stages(recipe)) or "no augmentation"


def _num_cores() -> int:
    """Cores that this process may use, which is what the input pipeline does."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _unreadable_images_told() -> Iterator[None]:
    """One sentence instead of TensorFlow's, which names nodes of a graph."""
    try:
        yield
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        reason = error.message.splitlines()[0].rpartition("}} ")[2]
        raise ValueError(
            f"An image or its label cannot be read ({reason}); broken files are named by --broken refuse."
        ) from error
