"""How many steps a training has, with how many images, and what happens at which of them."""

import dataclasses
import math

import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest.training.config import is_of_vit
from keras_nest.training.schedules import FineTuningDecay, WarmupDecay


@dataclasses.dataclass(frozen=True)
class Plan:
    """The numbers of a training, whichever way its configuration counts.

    Attributes:
        batch_size: images a step, of all replicas together.
        eval_batch_size: likewise in evaluation.
        total_steps: updates.
        steps_per_epoch: updates in which each training image comes up once; may be fractional.
        schedule: learning rates.
        log_every: steps from one row of the history to the next.
        eval_every: steps from one evaluation to the next.
        checkpoint_every: steps from one checkpoint to the next; 0 for none but that of the end.
    """

    batch_size: int
    eval_batch_size: int
    total_steps: int
    steps_per_epoch: float
    schedule: WarmupDecay | FineTuningDecay
    log_every: int
    eval_every: int
    checkpoint_every: int

    def logs_at(self, step: int) -> bool:
        """Whether a row of the history ends with this step; each evaluation and checkpoint has one."""
        return self._is_due(step, self.log_every) or self.evaluates_at(step) or self.saves_at(step)

    def evaluates_at(self, step: int) -> bool:
        """Whether the model is evaluated after this step."""
        return self._is_due(step, self.eval_every)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return self._is_due(step, self.checkpoint_every)

    def _is_due(self, step: int, every: int) -> bool:
        return step == self.total_steps or (every > 0 and step % every == 0)


def plan_of(config: ConfigDict, images: int, strategy: tf.distribute.Strategy) -> Plan:
    """The plan of a resolved configuration.

    Args:
        config: as `keras_nest.training.config.resolve` gives it.
        images: number of training images.
        strategy: where it runs.

    Raises:
        ValueError: a batch cannot be filled, or not be divided among the replicas or into parts; a schedule without
            steps.
    """
    replicas = strategy.num_replicas_in_sync
    batch = config.batch if is_of_vit(config) else config.per_device_batch_size * replicas
    _check_batch(batch, images, replicas, config.accum_steps)
    return (_of_vit if is_of_vit(config) else _of_nest)(config, images, batch, replicas)


def _of_nest(config: ConfigDict, images: int, batch: int, replicas: int) -> Plan:
    given = config.num_train_steps
    # An epoch has whole steps, as in the reference; the images that are left begin the next one.
    per_epoch = images // batch if given == -1 else given // config.num_epochs
    by_epochs = config.eval_every_steps == -1
    eval_every = per_epoch * config.eval_per_epochs if by_epochs else config.eval_every_steps
    return Plan(
        batch_size=batch,
        eval_batch_size=batch,
        total_steps=per_epoch * config.num_epochs if given == -1 else given,
        steps_per_epoch=per_epoch,
        schedule=WarmupDecay(
            learning_rate=config.learning_rate * batch / 256,
            steps_per_epoch=per_epoch,
            num_epochs=config.num_epochs,
            schedule=config.learning_rate_schedule,
            warmup_epochs=config.warmup_epochs,
            min_learning_rate=config.min_learning_rate * batch / 256,
        ),
        log_every=config.log_loss_every_steps,
        eval_every=eval_every,
        checkpoint_every=config.checkpoint_every_steps or eval_every,
    )


def _of_vit(config: ConfigDict, images: int, batch: int, replicas: int) -> Plan:
    return Plan(
        batch_size=batch,
        # Test batches are filled up, so that any size can be made divisible.
        eval_batch_size=math.ceil(config.batch_eval / replicas) * replicas,
        total_steps=config.total_steps,
        steps_per_epoch=images / batch,
        schedule=FineTuningDecay(config.base_lr, config.total_steps, config.decay_type, config.warmup_steps),
        log_every=config.progress_every,
        eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every,
    )


def _check_batch(batch: int, images: int, replicas: int, accum_steps: int) -> None:
    if batch > images:
        raise ValueError(f"A batch of {batch} cannot be filled from {images} training images.")
    if batch % replicas:
        near = batch // replicas * replicas or replicas
        raise ValueError(f"A batch of {batch} cannot be divided evenly among {replicas} replicas; {near} can.")
    if batch // replicas % accum_steps:
        raise ValueError(
            f"A replica's batch of {batch // replicas} cannot be divided evenly into accum_steps={accum_steps} parts."
        )
