"""The table of stages: which there are, what each row runs, and that it is measured."""

import time

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import create_recipe, open_source, speed
from keras_nest.data.speed import recipe_stages, stage_times

SIZE = (32, 32)
NEST = ["crop", "flip", "randaugment", "color_jitter", "erasing", "mix"]


@pytest.fixture(scope="module")
def source():
    return open_source("digits")


def recipe_of(name, source):
    return create_recipe(name, source.info, SIZE)


@pytest.mark.parametrize(("name", "stages"), [("nest", NEST), ("vit", NEST[:2]), ("shift", ["shift"]), ("plain", [])])
def test_stages(source, name, stages):
    assert recipe_stages(recipe_of(name, source)) == stages


@pytest.mark.parametrize("name", ["nest", "nest_cifar", "plain"])
def test_every_row_runs_one_stage_more(source, name, monkeypatch):
    recipe, run = recipe_of(name, source), []

    def recorded(source, partial, *arguments, **options):
        run.append(partial)
        return tf.data.Dataset.from_tensors(0).repeat()

    monkeypatch.setattr(speed, "train_batches", recorded)
    rows = [row.stage for row in stage_times(source, recipe, SIZE, 2, duration=1e-3)]
    first, *partials = run
    assert rows[:2] == ["read", "decode, crop, normalize"]
    assert rows[2:] == [stage for stage in recipe_stages(recipe) if stage != "crop"]
    assert (recipe_stages(first), first.crop) == (["crop"] if recipe.crop else [], recipe.crop)
    for before, partial, stage in zip(run, partials, rows[2:], strict=False):
        assert set(recipe_stages(partial)) == {*recipe_stages(before), stage}
        assert getattr(partial, stage) is getattr(recipe, stage)
    assert run[-1] == recipe


def test_times(source):
    """With the real stages, on one core, in seconds of that core."""
    rows = list(stage_times(source, recipe_of("vit", source), SIZE, 16, 0.1, time.process_time, threads=1))
    seconds = np.array([row.seconds for row in rows])
    assert np.all((seconds > 0) & np.isfinite(seconds))


def test_clock_is_divided_by_the_images(source, monkeypatch):
    """A clock that counts the batches, as each of these takes one tick."""
    ticks = iter(range(10**9))
    batches = tf.data.Dataset.from_tensors(0).repeat()
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    # Begin, and the four readings 1 to 4, the last of which is too late: three batches.
    assert (
        speed.measure_batches(batches, 5, duration=4, clock=lambda: 30.0 * (next(ticks) >= 5), threads=None) == 30 / 15
    )


@pytest.mark.parametrize(("threads", "expected"), [(1, (1, 1)), (None, (None, None))])
def test_threads(source, monkeypatch, threads, expected):
    given, with_options = [], tf.data.Dataset.with_options

    def recorded(self, options, *arguments):
        given.append((options.threading.private_threadpool_size, options.autotune.cpu_budget))
        return with_options(self, options, *arguments)

    monkeypatch.setattr(tf.data.Dataset, "with_options", recorded)
    rows = list(stage_times(source, recipe_of("plain", source), SIZE, 2, duration=1e-3, threads=threads))
    assert [given.count(expected), len(rows)] == [2, 2]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 2000}, "A batch of 2000 cannot be filled from 1437 training images"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"duration": 0.0}, "duration is 0.0; it must be above 0 seconds"),
        ({"duration": float("nan")}, "duration is nan"),
        ({"threads": 0}, "threads is 0; it must be 1 or more"),
    ],
)
def test_bad_input_is_refused_before_the_first_row(source, options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        stage_times(source, recipe_of("plain", source), SIZE, **{"batch_size": 2, **options})
