"""Steps, batches and rates of both kinds of configuration."""

import dataclasses

import pytest

from keras_nest.training.config import resolve
from keras_nest.training.plan import Plan, build_plan, keep_batch, source_options

OF_NEST = {"model_name": "nest_tiny", "dataset": "digits", "num_epochs": 4, "per_device_batch_size": 64}
OF_VIT = {"model_name": "ViT-Ti_16", "dataset": "digits", "total_steps": 30, "warmup_steps": 3, "batch": 96}
IMAGES = 1437


def plan(config, replicas=1, images=IMAGES, **change):
    return build_plan(resolve({**config, **change}), images, replicas)


def test_nest_counts_in_epochs_and_devices():
    rates = {"learning_rate": 0.02, "min_learning_rate": 0.004, "warmup_epochs": 1}
    on_one, on_two = plan(OF_NEST, **rates), plan(OF_NEST, 2, **rates)
    assert (on_one.batch_size, on_one.eval_batch_size, on_one.steps_per_epoch, on_one.total_steps) == (64, 64, 22, 88)
    assert (on_two.batch_size, on_two.eval_batch_size, on_two.steps_per_epoch, on_two.total_steps) == (128, 128, 11, 44)
    for planned, batch, steps in ((on_one, 64, 22), (on_two, 128, 11)):
        assert planned.schedule.get_config() == {
            "learning_rate": 0.02 * batch / 256,
            "min_learning_rate": 0.004 * batch / 256,
            "steps_per_epoch": steps,
            "num_epochs": 4,
            "schedule": "cosine",
            "warmup_epochs": 1,
            "name": "warmup_decay",
        }


def test_steps_that_are_handed_over_at_once():
    config = {**OF_NEST, "num_epochs": 1, "log_loss_every_steps": 10, "checkpoint_every_steps": 8}
    planned = plan(config, steps_per_execution=7, profile_steps=(3, 4))
    ends = [0]
    while ends[-1] < planned.total_steps:
        ends.append(planned.execution_end(ends[-1]))
    assert ends == [0, 2, 4, 8, 10, 16, 20, 22]
    assert planned.executions(0) == len(ends) - 1
    # One that goes on from within gets to the same steps.
    assert [planned.execution_end(step) for step in (3, 5, 9, 21)] == [4, 8, 10, 22]
    assert plan(config).executions(0) == 22


def test_what_is_left_of_an_epoch_is_no_step():
    assert plan(OF_NEST, images=127).steps_per_epoch == 1
    assert plan(OF_NEST, images=128).steps_per_epoch == 2


@pytest.mark.parametrize(
    ("change", "every"),
    [
        ({}, (0, 22, 22)),
        ({"eval_per_epochs": 2}, (0, 44, 44)),
        ({"eval_every_steps": 7}, (0, 7, 7)),
        ({"eval_every_steps": 7, "eval_per_epochs": 2, "checkpoint_every_steps": 5}, (0, 7, 5)),
        ({"log_loss_every_steps": 3}, (3, 22, 22)),
    ],
)
def test_how_often_something_happens(change, every):
    planned = plan(OF_NEST, **change)
    assert (planned.log_every, planned.eval_every, planned.checkpoint_every) == every


@pytest.mark.parametrize(
    ("images", "replicas", "batch", "total", "per_epoch"),
    [(50_000, 1, 128, 117_187, 390), (50_000, 8, 128, 14_648, 48), (1600, 1, 64, 7500, 25), (1599, 1, 64, 7200, 24)],
)
def test_steps_are_counted_as_in_the_reference(images, replicas, batch, total, per_epoch):
    """Of the epochs together, as `clu.deterministic_data` repeats the images before it makes batches of them."""
    planned = plan(OF_NEST, replicas, images=images, num_epochs=300, per_device_batch_size=batch)
    assert (planned.total_steps, planned.eval_every) == (total, per_epoch)
    # The epochs that are told are those of the images.
    assert total / planned.steps_per_epoch == pytest.approx(300, abs=0.03)
    assert planned.schedule.get_config()["num_epochs"] == 300
    # The rate ends with the whole steps of the epochs, and is nearly as low at the very end.
    peak = planned.rates[0]
    assert float(planned.schedule.at(per_epoch * 300)) < 1e-6 * peak
    assert float(planned.schedule.at(total)) < 4e-3 * peak


def test_number_of_steps_instead_of_epochs():
    planned = plan(OF_NEST, num_train_steps=10)
    assert (planned.total_steps, planned.steps_per_epoch, planned.eval_every) == (10, 2, 2)
    assert planned.schedule.get_config()["steps_per_epoch"] == 2
    with pytest.raises(ValueError, match="steps_per_epoch is 0; an epoch needs at least one step"):
        plan(OF_NEST, num_train_steps=3)


def test_vit_counts_in_steps_and_the_whole_batch():
    planned = plan(OF_VIT, 2, base_lr=0.01, decay_type="linear", eval_every=9, progress_every=4, checkpoint_every=0)
    assert (planned.batch_size, planned.total_steps, planned.steps_per_epoch) == (96, 30, IMAGES / 96)
    assert (planned.log_every, planned.eval_every, planned.checkpoint_every) == (4, 9, 0)
    rates = planned.schedule.get_config()
    assert (rates["base_lr"], rates["total_steps"], rates["warmup_steps"]) == (0.01, 30, 3)
    assert rates["decay_type"] == "linear"


@pytest.mark.parametrize(("replicas", "size"), [(1, 33), (2, 34), (8, 40), (11, 33)])
def test_test_batches_of_vit_are_filled_up_until_they_divide(replicas, size):
    assert plan(OF_VIT, replicas, batch=replicas * 8, accum_steps=1, batch_eval=33).eval_batch_size == size


NEST_FIELDS = {"learning_rate": 0.02, "min_learning_rate": 0.004, "grad_clip_max_norm": 0.5, "sgd_momentum": 0.8}


@pytest.mark.parametrize(
    ("config", "change", "expected"),
    [
        (OF_NEST, {}, ((1e-3 / 4, 0.0), 0, 0.9, False)),
        (OF_NEST, NEST_FIELDS, ((0.02 / 4, 0.004 / 4), 0.5, 0.8, False)),
        (OF_NEST, {"reinit_head": "zero_all"}, ((1e-3 / 4, 0.0), 0, 0.9, True)),
        (OF_VIT, {}, ((0.03, 0.0), 1.0, 0.9, True)),
        (OF_VIT, {"base_lr": 0.01, "grad_norm_clip": 2.0}, ((0.01, 0.0), 2.0, 0.9, True)),
        (OF_VIT, {"eval_only": True}, ((0.03, 0.0), 1.0, 0.9, False)),
        (OF_VIT, {"eval_only": True, "reinit_head": "zero_all"}, ((0.03, 0.0), 1.0, 0.9, True)),
    ],
)
def test_both_papers_name_the_same_things_otherwise(config, change, expected):
    planned = plan(config, **change)
    assert (planned.rates, planned.clip_norm, planned.momentum, planned.new_head) == expected


def test_either_takes_what_the_other_counts_by():
    """In the place of its own, whatever that says."""
    own = {"per_device_batch_size": 8, "learning_rate": 1.0, "warmup_epochs": 2, "optim": "adamw", "sgd_momentum": 0.8}
    of_nest = plan({**OF_NEST, **own}, 2, total_steps=33, batch=96, base_lr=0.02)
    rates = of_nest.schedule.get_config()
    assert (of_nest.batch_size, of_nest.total_steps, of_nest.steps_per_epoch) == (96, 33, IMAGES // 96)
    assert (of_nest.rates[0], rates["warmup_epochs"]) == (0.02, 2)
    assert plan({**OF_NEST, **own}, warmup_steps=90).schedule.get_config()["warmup_epochs"] == 90 / (IMAGES // 8)
    # It ends where the training does.
    assert float(of_nest.schedule.at(33)) == pytest.approx(0, abs=1e-6)
    assert float(of_nest.schedule.at(32)) > 1e-6
    own = {"prefetch": 2, "progress_every": 10, "base_lr": 1.0}
    of_vit = plan({**OF_VIT, **own}, 2, num_epochs=4, per_device_batch_size=24, learning_rate=0.016, warmup_epochs=1)
    rates = of_vit.schedule.get_config()
    assert (of_vit.batch_size, of_vit.total_steps) == (48, round(4 * IMAGES / 48))
    assert (of_vit.rates[0], rates["warmup_steps"]) == (pytest.approx(0.003), round(IMAGES / 48))


def test_images():
    pp = {"train": "train[:98%]", "test": "validation", "crop": 24}
    of_vit = resolve({**OF_VIT, "pp": pp, "shuffle_buffer": 7, "tfds_data_dir": "data"})
    assert source_options(of_vit) == {
        "train_split": "train[:98%]",
        "test_split": "validation",
        "data_dir": "data",
        "broken": "refuse",
        "shuffle_buffer": 7,
    }
    of_nest = resolve({**OF_NEST, "shuffle_buffer_size": 9, "input_size": 40})
    assert source_options(of_nest) == {
        "train_split": "train",
        "test_split": None,
        "data_dir": None,
        "broken": "refuse",
        "shuffle_buffer": 9,
    }
    sizes = [plan(config).image_size for config in (of_vit, of_nest, OF_NEST)]
    assert sizes == [(24, 24), (40, 40), None]
    assert plan(OF_VIT, pp=pp, model={"image_size": (16, 32)}).image_size == (16, 32)


def test_what_happens_at_a_step():
    every = {"log_every": 2, "eval_every": 3, "checkpoint_every": 5}
    planned = dataclasses.replace(plan(OF_NEST, num_train_steps=11), **every)
    steps = range(1, 12)
    assert [step for step in steps if planned.evaluates_at(step)] == [3, 6, 9, 11]
    assert [step for step in steps if planned.saves_at(step)] == [5, 10, 11]
    assert [step for step in steps if planned.logs_at(step)] == [2, 3, 4, 5, 6, 8, 9, 10, 11]


def test_without_evaluations_and_checkpoints_there_are_those_of_the_end():
    planned = Plan(8, 8, 4, 2.0, None, log_every=0, eval_every=0, checkpoint_every=0)
    assert [step for step in range(1, 5) if planned.logs_at(step)] == [4]
    assert planned.evaluates_at(4)
    assert planned.saves_at(4)


@pytest.mark.parametrize(
    ("config", "change", "replicas", "message"),
    [
        (OF_NEST, {"per_device_batch_size": 1000}, 2, "A batch of 2000 cannot be filled from 1437 training images"),
        (OF_VIT, {"batch": 1438}, 1, "A batch of 1438 cannot be filled from 1437 training images"),
        (OF_VIT, {"batch": 97}, 4, "A batch of 97 cannot be divided evenly among 4 replicas; 96 can"),
        (OF_VIT, {"batch": 3}, 4, "A batch of 3 cannot be divided evenly among 4 replicas; 4 can"),
        (OF_VIT, {"accum_steps": 7}, 2, "A replica's batch of 48 cannot be divided evenly into accum_steps=7 parts"),
        (OF_NEST, {"accum_steps": 3}, 2, "A replica's batch of 64 cannot be divided evenly into accum_steps=3 parts"),
        (OF_NEST, {"warmup_epochs": 4}, 1, "warmup_epochs is 4; it must be less than num_epochs, 4"),
        (OF_NEST, {"learning_rate_schedule": "step"}, 1, "learning_rate_schedule is 'step'"),
        (OF_VIT, {"warmup_steps": 30}, 1, "warmup_steps is 30; it must be at least 0 and below total_steps, 30"),
        (OF_VIT, {"decay_type": "cubic"}, 1, "decay_type is 'cubic'"),
    ],
)
def test_refused(config, change, replicas, message):
    with pytest.raises(ValueError, match=message):
        plan(config, replicas, **change)


@pytest.mark.parametrize(
    ("size", "accum_steps", "replicas", "expected"),
    [
        (32, 1, 4, (128, 1)),
        (32, 1, 8, (128, 1)),
        # What was a batch of a device is at most a part of it now.
        (32, 1, 2, (128, 2)),
        (32, 2, 1, (128, 8)),
        (48, 2, 1, (96, 4)),
        # Parts are equal: 7 x 4 of 28 where 5 would do for at most 6.
        (6, 1, 1, (28, 7)),
        (6, 1, 28, (28, 1)),
    ],
)
def test_a_batch_that_stays(size, accum_steps, replicas, expected):
    batch = expected[0]
    config = resolve({**OF_NEST, "per_device_batch_size": size, "accum_steps": accum_steps})
    kept = keep_batch(config, batch, replicas)
    assert (kept.batch, kept.accum_steps) == expected
    assert build_plan(kept, 1000, replicas).batch_size == batch


def test_a_batch_that_devices_cannot_divide():
    with pytest.raises(
        ValueError, match=r"^This run has batches of 128 images, which 3 devices cannot divide evenly; "
    ):
        keep_batch(resolve(OF_NEST), 128, 3)
