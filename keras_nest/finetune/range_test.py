"""`keras-nest finetune --find-lr`: which learning rate a fine-tuning should have."""

import dataclasses
import pathlib
from collections.abc import Sequence

from keras_nest.data.sources.table import Row
from keras_nest.finetune.plan import Plan
from keras_nest.finetune.run import begin, give_head, open_run
from keras_nest.training.range_test import HIGHEST, LOWEST, STEPS, RangeTest, run_range_test
from keras_nest.training.strategies import Strategy, distribute

TABLE, PICTURE = "learning-rate.csv", "learning-rate.png"


def find_learning_rate(plan: Plan, rows: Sequence[Row], workdir: pathlib.Path, strategy: Strategy) -> RangeTest:
    """Starts the training of a plan, its head first, with rates that rise until it diverges.

    Args:
        plan: what was decided.
        rows: the images.
        workdir: a directory that is thrown away afterwards.
        strategy: where it runs.
    """
    batch = plan.config["per_device_batch_size"] * strategy.num_replicas_in_sync
    config = {
        **plan.config,
        "learning_rate_schedule": "range_test",
        # Configurations of this kind give the rate of a batch of 256.
        "learning_rate": HIGHEST * 256 / batch,
        "min_learning_rate": LOWEST * 256 / batch,
        "warmup_epochs": 0,
        "total_steps": STEPS,
        "patience": None,
        "minutes": None,
        "log": None,
    }
    plan = dataclasses.replace(plan, config=config)
    begin(plan, rows, workdir, strategy.num_replicas_in_sync, overwrite=False)
    experiment = open_run(plan, workdir, strategy)
    give_head(plan, experiment)
    schedule = experiment.plan.schedule
    return run_range_test(
        experiment.trainer, distribute(strategy, experiment.train), lambda step: float(schedule.at(step))
    )
