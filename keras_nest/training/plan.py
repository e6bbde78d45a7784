"""How many steps a training has, with how many images, and what happens at which of them."""

import dataclasses
import math
from typing import Any

from ml_collections import ConfigDict

from keras_nest.training.config import counts_steps
from keras_nest.training.schedules import FineTuningDecay, WarmupDecay
from keras_nest.types import Size, as_size

# Steps of an epoch from which on those that are left over are less than 4 %.
_STEPS_TO_COUNT_ALL = 25


@dataclasses.dataclass(frozen=True)
class Plan:
    """The one form that configurations of both papers take: steps, whole batches, learning rates.

    Attributes:
        batch_size: images a step, of all replicas together.
        eval_batch_size: likewise in evaluation.
        total_steps: updates.
        steps_per_epoch: updates in which each training image comes up once; may be fractional.
        schedule: learning rates.
        log_every: steps from one row of the history to the next.
        eval_every: steps from one evaluation to the next.
        checkpoint_every: steps from one checkpoint to the next; 0 for none but that of the end.
        rates: the highest learning rate and the lowest, whose difference decides the radius of GSAM.
        clip_norm: largest norm of the gradient; 0 or None for any.
        momentum: of the optimizers that have one.
        new_head: whether a checkpoint's classifier head is replaced by zeros.
        image_size: (height, width) as configured; None for the published one of the model.
        steps_per_execution: steps that are handed to the devices at once, at most.
        profile_steps: the first and the last step of a profile; () without one.
    """

    batch_size: int
    eval_batch_size: int
    total_steps: int
    steps_per_epoch: float
    schedule: WarmupDecay | FineTuningDecay
    log_every: int
    eval_every: int
    checkpoint_every: int
    rates: tuple[float, float] = (0.0, 0.0)
    clip_norm: float | None = None
    momentum: float = 0.9
    new_head: bool = False
    image_size: Size | None = None
    steps_per_execution: int = 1
    profile_steps: tuple[int, ...] = ()

    def logs_at(self, step: int) -> bool:
        """Whether a row of the history ends with this step; each evaluation and checkpoint has one."""
        return is_due(step, self.log_every, self.total_steps) or self.evaluates_at(step) or self.saves_at(step)

    def evaluates_at(self, step: int) -> bool:
        """Whether the model is evaluated after this step."""
        return is_due(step, self.eval_every, self.total_steps)

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint is written after this step."""
        return is_due(step, self.checkpoint_every, self.total_steps)

    def execution_end(self, step: int) -> int:
        """The last of the steps that are handed over at once after this one: what is due comes after its own step."""
        intervals = (self.log_every, self.eval_every, self.checkpoint_every)
        due = [step - step % every + every for every in intervals if every > 0]
        first, last = self.profile_steps or (0, 0)
        cuts = [cut for cut in (first - 1, last) if cut > step]
        return min(step + self.steps_per_execution, self.total_steps, *due, *cuts)

    def executions(self, step: int) -> int:
        """How often steps are handed over from this one to the last."""
        count = 0
        while step < self.total_steps:
            step, count = self.execution_end(step), count + 1
        return count


def is_due(step: int, every: int, total_steps: int) -> bool:
    """Whether something that happens every so many steps happens after this one.

    Args:
        step: counted from 1.
        every: steps from one time to the next; 0 for the last step alone.
        total_steps: of the training; everything happens after the last.
    """
    return step == total_steps or (every > 0 and step % every == 0)


def build_plan(config: ConfigDict, images: int, replicas: int) -> Plan:
    """The plan of a configuration, whichever paper's fields it has.

    NesT counts epochs and gives the batch of one device and the learning rate of a batch of 256; ViT, Mixer and AugReg
    count steps and give the whole batch and its rate. A field of the other count stands in the place of its own.

    Args:
        config: as `keras_nest.training.config.resolve` gives it.
        images: number of training images.
        replicas: number of devices that train together.

    Raises:
        ValueError: a batch cannot be filled, or not be divided among the replicas or into parts; a schedule without
            steps.
    """
    plan = (_plan_steps if counts_steps(config) else _plan_epochs)(config, images, replicas)
    handed = {"steps_per_execution": config.steps_per_execution, "profile_steps": tuple(config.profile_steps)}
    return dataclasses.replace(plan, **handed)


def source_options(config: ConfigDict) -> dict[str, Any]:
    """Arguments of `keras_nest.data.open_source`: which images, from where, and how they are shuffled."""
    return {
        "train_split": config.pp.get("train", "train"),
        "test_split": config.pp.get("test"),
        "data_dir": config.tfds_data_dir,
        "broken": config.broken or "refuse",
        "shuffle_buffer": config.shuffle_buffer if counts_steps(config) else config.shuffle_buffer_size,
    }


def keep_batch(config: ConfigDict, batch: int, replicas: int) -> ConfigDict:
    """A configuration whose whole batch does not follow the number of devices.

    Args:
        config: complete; one that gives the batch of a device bounds what a device takes at once.
        batch: images a step, of all devices together.
        replicas: number of devices.

    Returns:
        The same training, with more `accum_steps` where a device takes more images than it did.

    Raises:
        ValueError: the devices cannot divide the batch.
    """
    if batch % replicas:
        raise ValueError(
            f"This run has batches of {batch} images, which {replicas} devices cannot divide evenly; go on with "
            "another number of them."
        )
    share, accum_steps = batch // replicas, config.accum_steps
    if size := config.per_device_batch_size:
        fitting = math.ceil(share / (size // accum_steps))
        accum_steps = next((parts for parts in range(fitting, share) if share % parts == 0), max(1, share))
    changes = {"batch": batch, "accum_steps": accum_steps}
    if counts_steps(config):
        changes["per_device_batch_size"] = None
    return ConfigDict({**config.to_dict(), **changes}).lock()


def _plan_epochs(config: ConfigDict, images: int, replicas: int) -> Plan:
    batch = config.batch or config.per_device_batch_size * replicas
    _check_batch(batch, images, replicas, config.accum_steps)
    # An epoch has whole steps; the images that are left begin the next one.
    per_epoch, total = images // batch, config.total_steps
    if config.num_train_steps != -1 and not total:
        per_epoch, total = config.num_train_steps // config.num_epochs, config.num_train_steps
    total = total or _steps_of_epochs(images, batch, config.num_epochs)
    seen_once = images / batch if per_epoch >= _STEPS_TO_COUNT_ALL else per_epoch
    by_epochs = config.eval_every_steps == -1
    eval_every = per_epoch * config.eval_per_epochs if by_epochs else config.eval_every_steps
    # Rates are those of a batch of 256, but for that of ViT.
    highest, lowest = (rate * batch / 256 for rate in (config.learning_rate, config.min_learning_rate))
    highest = highest if config.base_lr is None else config.base_lr
    warmup = config.warmup_epochs if config.warmup_steps is None else config.warmup_steps / max(1, per_epoch)
    return Plan(
        batch_size=batch,
        eval_batch_size=batch,
        total_steps=total,
        steps_per_epoch=seen_once,
        schedule=WarmupDecay(
            learning_rate=highest,
            steps_per_epoch=per_epoch,
            num_epochs=total / per_epoch if config.total_steps else config.num_epochs,
            schedule=config.learning_rate_schedule,
            warmup_epochs=warmup,
            min_learning_rate=lowest,
        ),
        log_every=config.log_loss_every_steps,
        eval_every=eval_every,
        checkpoint_every=config.checkpoint_every_steps or eval_every,
        rates=(highest, lowest),
        clip_norm=config.grad_clip_max_norm,
        momentum=config.sgd_momentum,
        new_head=bool(config.reinit_head),
        image_size=_image_size(config.model.get("image_size") or config.input_size or config.pp.get("crop")),
    )


def _steps_of_epochs(images: int, batch: int, epochs: int) -> int:
    """Steps of so many epochs, as the reference counts them: of all of them together, what is left of each included.

    Its learning rates end with the whole steps of each epoch, and rise again a little in those that are left. Where an
    epoch has few steps that would be long, so that its whole steps alone are taken.
    """
    return images * epochs // batch if images // batch >= _STEPS_TO_COUNT_ALL else images // batch * epochs


def _plan_steps(config: ConfigDict, images: int, replicas: int) -> Plan:
    batch = config.batch if config.per_device_batch_size is None else config.per_device_batch_size * replicas
    _check_batch(batch, images, replicas, config.accum_steps)
    total = config.total_steps if config.num_epochs is None else max(1, round(config.num_epochs * images / batch))
    rate = config.base_lr if config.learning_rate is None else config.learning_rate * batch / 256
    epochs = config.warmup_epochs
    warmup = config.warmup_steps if epochs is None else round(epochs * images / batch)
    return Plan(
        batch_size=batch,
        # Test batches are filled up, so that any size can be made divisible.
        eval_batch_size=math.ceil(config.batch_eval / replicas) * replicas,
        total_steps=total,
        steps_per_epoch=images / batch,
        schedule=FineTuningDecay(rate, total, config.decay_type, warmup),
        log_every=config.progress_every,
        eval_every=config.eval_every,
        checkpoint_every=config.checkpoint_every,
        rates=(rate, 0.0),
        clip_norm=config.grad_norm_clip,
        # The reference starts with a new head, whatever the classes of the checkpoint; evaluation needs the old one.
        new_head=bool(config.reinit_head) or not config.eval_only,
        image_size=_image_size(config.model.get("image_size") or config.pp.get("crop")),
    )


def _image_size(given: int | Size | None) -> Size | None:
    return as_size(given) if given else None


def _check_batch(batch: int, images: int, replicas: int, accum_steps: int) -> None:
    if batch > images:
        raise ValueError(
            f"A batch of {batch} cannot be filled from {images} training images; batch=N takes N of them a step."
        )
    if batch % replicas:
        near = batch // replicas * replicas or replicas
        raise ValueError(f"A batch of {batch} cannot be divided evenly among {replicas} replicas; {near} can.")
    if batch // replicas % accum_steps:
        raise ValueError(
            f"A replica's batch of {batch // replicas} cannot be divided evenly into accum_steps={accum_steps} parts; "
            f"accum_steps={math.gcd(batch // replicas, accum_steps)} can."
        )
