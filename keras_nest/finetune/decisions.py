"""What fine-tuning does where nothing else is asked for, and why."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from keras_nest.finetune.request import Request
from keras_nest.finetune.split import TEST, TRAIN, VAL, Split
from keras_nest.finetune.start import Blocks, Start
from keras_nest.targets import REGRESSION

LARGEST_BATCH = 32
"""Images a step, at most, where nothing else is asked for."""

_SMALLEST_BATCH = 4
_STEPS_AN_EPOCH = 8  # at least, where there are images for it
_MINUTES = 5.0
# Of training that goes on from good weights, and of training from new ones.
_EPOCHS = {True: 30, False: 100}
_RATES = {True: 1e-4, False: 5e-4}
_PATIENCE = {True: 5, False: 15}
# An epoch of few images has few steps, after which little can have become better: so many at least.
_STEPS, _PATIENT_STEPS = 1000, 150
# Models with fewer parameters than any published one have room for larger steps, and time for all of their layers.
_SMALL, _FASTER = 2_000_000, 4
# The biggest class has so many times the images of the smallest before a sentence recommends weights.
_UNEVEN = 3
_A_MINUTE = 60  # seconds


class Decision(NamedTuple):
    """A decision in words.

    Attributes:
        name: what is decided.
        value: how.
        reason: why, in a line.
    """

    name: str
    value: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Times:
    """How long things take, in seconds.

    Attributes:
        image: to compute the features of an image.
        step: of training.
        start: until the first step is done.
        files: to write what is written after each epoch.
        graph: until the first features are there, whenever images of another part are looked at.
        opening: to make the model, which is done once more before the training.
    """

    image: float
    step: float
    start: float = 0.0
    files: float = 0.0
    graph: float = 0.0
    opening: float = 0.0

    def head(self, images: int) -> float:
        """Seconds until the head is fit to the features of training and validation images."""
        return self.opening + 2 * self.graph + images * self.image

    def finish(self, images: int) -> float:
        """Seconds from the last epoch to the end: test images are looked at, and the results written."""
        return self.graph + images * self.image + self.files


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is decided before anything was measured.

    Attributes:
        batch: images a step.
        blocks: as in `Request`.
        frozen: paths of the layers that are not trained.
        learning_rate: the highest.
        epochs: at most.
        minutes: at most; infinite where the epochs alone are asked for.
        patience: epochs without a better evaluation.
        class_weights: factors of the loss, in the order of the names of the classes; None for none.
        fits_head: whether the head is fit to the features first, which it is where the weights are not new.
        decisions: these, in words.
    """

    batch: int
    blocks: Blocks
    frozen: tuple[str, ...]
    learning_rate: float
    epochs: int
    minutes: float
    patience: int
    class_weights: tuple[float, ...] | None
    fits_head: bool
    decisions: tuple[Decision, ...]


def choose(request: Request, split: Split, start: Start, largest: int = LARGEST_BATCH) -> Settings:
    """Decides what was left open.

    Args:
        request: what is asked for.
        split: the images.
        start: the model.
        largest: batch that fits into the memory, as far as is known.

    Raises:
        ValueError: the model has no such blocks, or a batch cannot be filled.
    """
    trained, is_tuned = split.counts(TRAIN), start.weights is not None
    images = split.size(TRAIN)
    batch = request.batch_size or batch_for(images, largest)
    if batch > images:
        raise ValueError(f"--batch-size is {batch}, and there are {images} images to train with; it may be no more.")
    is_small = start.model.count_params() < _SMALL
    usual: Blocks = _last_third(start.depth) if is_tuned and not is_small else "all"
    blocks = request.blocks if request.blocks is not None else usual
    frozen = start.frozen(blocks)
    steps = images // batch
    epochs = request.epochs or max(_EPOCHS[is_tuned], math.ceil(_STEPS / steps))
    minutes = request.minutes or (math.inf if request.epochs else _MINUTES)
    patience = request.patience or max(_PATIENCE[is_tuned], math.ceil(_PATIENT_STEPS / steps))
    rate = request.learning_rate or _RATES[is_tuned] * (_FASTER if is_small else 1)
    weights = balanced(trained) if request.class_weights == "balanced" else None
    is_single = split.target.is_single_label
    decisions = (
        *([] if is_single else [_say_task(request, start)]),
        _say_split(request, split),
        _say_size(request, start),
        Decision("batch", f"{batch} images", _asked(request.batch_size) or _why_batch(batch, largest, images)),
        Decision("trained", _say_blocks(blocks, start), _asked(request.blocks) or _why_blocks(start, blocks)),
        Decision("learning rate", f"{rate:g}", _asked(request.learning_rate) or _why_rate(is_tuned, is_small)),
        Decision("augmentation", request.augment, _AUGMENTATIONS[request.augment]),
        *([Decision("class weights", request.class_weights, _why_weights(request, trained))] if is_single else []),
        *_say_asked(request),
    )
    return Settings(batch, blocks, frozen, rate, epochs, minutes, patience, weights, is_tuned, decisions)


def batch_for(images: int, largest: int = LARGEST_BATCH) -> int:
    """A power of two with which an epoch of so many images has enough steps, and no more than the largest."""
    wanted = max(_SMALLEST_BATCH, images // _STEPS_AN_EPOCH)
    return min(2 ** int(math.log2(wanted)), largest, images)


def balanced(counts: Mapping[str, int]) -> tuple[float, ...]:
    """Factors with which all classes count the same, with a mean of 1 over the images; sorted by name."""
    images = sum(counts.values())
    return tuple(images / (len(counts) * counts[name]) for name in sorted(counts))


def epochs_within(
    settings: Settings, times: Times, split: Split, spent: float
) -> tuple[int, float, tuple[Decision, ...]]:
    """How many epochs there is time for, and what is decided by that.

    Args:
        settings: what was decided before.
        times: as measured.
        split: the images.
        spent: seconds since the command began.

    Returns:
        Epochs, 0 where only the head is fit; seconds until training must end; and the decisions in words.
    """
    train, val, test = (split.size(part) for part in (TRAIN, VAL, TEST))
    head = times.head(train + val) if settings.fits_head else times.opening
    finish = times.finish(test)
    epoch = max(1, train // settings.batch) * times.step + val * times.image + times.files
    # What the training starts from is evaluated, too.
    start = times.start + times.graph + val * times.image
    until_finish = 60 * settings.minutes - spent - finish
    left = until_finish - head - start
    epochs = int(min(settings.epochs, max(left / epoch, 0 if settings.fits_head else 1))) if settings.blocks else 0
    first = f"{clock(head)} for the head; " if settings.fits_head else ""
    seconds = head + (start + epochs * epoch if epochs else 0) + finish
    if not settings.blocks:
        reason = "the features of all images are computed once, and the head is fit to them"
    elif epochs < settings.epochs:
        all_of_them = clock(spent + head + start + settings.epochs * epoch + finish)
        reason = f"{settings.epochs} would end after {all_of_them}, and --minutes is {settings.minutes:g}"
    else:
        reason = f"or fewer: it ends after {settings.patience} without a better one; the best weights are kept"
    if (end := spent + seconds) > 60 * settings.minutes:
        reason += f"; even this ends only after {clock(end)}"
    return (
        epochs,
        until_finish,
        (
            Decision("epochs", str(epochs) if epochs else "none, the head alone", reason),
            Decision("time", f"about {clock(seconds)}", f"{first}{_a_step(times, epoch)}, measured"),
        ),
    )


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: "1:02:03" or "2:03"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


_AUGMENTATIONS = {
    "crop": "random parts of an image, mirrored or not; `--augment shift` where left and right mean something",
    "shift": "images moved by up to an eighth of their side, never mirrored",
    "none": "images as they are",
}


def _a_step(times: Times, epoch: float) -> str:
    if not times.step:
        return f"an image takes {_duration(times.image)}"
    return f"a step takes {_duration(times.step)}, an epoch {_duration(epoch)}"


def _duration(seconds: float) -> str:
    """A time to read: "0.12 s" or "2:03"."""
    return f"{seconds:.2g} s" if seconds < _A_MINUTE else clock(seconds)


def _asked(value: Any) -> str:
    return "as asked for" if value is not None else ""


def _say_asked(request: Request) -> Iterator[Decision]:
    """What is only said where it is asked for."""
    if request.loss is not None:
        focal = "images that are recognized surely count less"
        yield Decision("loss", request.loss.replace("_", "-"), focal if request.loss == "focal" else _asked(True))
    if request.label_smoothing:
        yield Decision(
            "label smoothing", f"{request.label_smoothing:g}", "all classes divide so much of the probability"
        )
    if request.layer_decay:
        yield Decision("layer decay", f"{request.layer_decay:g}", "from each block to the one before, the rate is less")
    if request.sampling is not None:
        often = "all classes come up equally often, so that an epoch has not all images of large ones"
        yield Decision("sampling", request.sampling, often if request.sampling == "balanced" else _asked(True))


def _say_task(request: Request, start: Start) -> Decision:
    if request.task == REGRESSION:
        return Decision("task", request.task, "the squared error of a number, of which 1 is its standard deviation")
    return Decision("task", request.task, f"each of {start.model.num_classes} classes is there or not, for itself")


def _last_third(depth: int) -> Blocks:
    return max(1, depth // 3) if depth else "all"


def _say_split(request: Request, split: Split) -> Decision:
    train, val, test = (split.size(part) for part in (TRAIN, VAL, TEST))
    return Decision("split", f"{train:,} train, {val:,} val, {test:,} test", split.reason)


def _say_size(request: Request, start: Start) -> Decision:
    height, width = start.model.image_size
    reason = _asked(request.image_size) or ("that of the weights" if start.weights else f"that of {start.name}")
    return Decision("image size", f"{height} x {width}", reason)


def _say_blocks(blocks: Blocks, start: Start) -> str:
    if blocks == "all":
        return "all layers"
    return f"the head, and the last {blocks} of {start.depth} blocks" if blocks else "the head"


def _why_batch(batch: int, largest: int, images: int) -> str:
    is_full = batch == largest < LARGEST_BATCH
    return "larger ones do not fit into the memory" if is_full else f"{images // batch} steps an epoch"


def _why_blocks(start: Start, blocks: Blocks) -> str:
    if start.weights is None:
        return "the weights are new; --weights names better ones"
    if blocks != "all":
        return "the head is fit first; what comes early fits all photographs"
    return "the head is fit first, and the model is small" if start.depth else "it has no blocks to choose the last of"


def _why_rate(is_tuned: bool, is_small: bool) -> str:
    reason = "small, so that the weights stay near those that are given" if is_tuned else "as is usual for new weights"
    return f"{reason}; {_FASTER} times that of large models, as this one is small" if is_small else reason


def _why_weights(request: Request, counts: Mapping[str, int]) -> str:
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    is_even = counts[most] == counts[least]
    facts = f"{most} has {counts[most]:,} images, {least} {counts[least]:,}"
    if is_even:
        facts = f"each class has {counts[most]:,} images"
    if request.class_weights == "balanced":
        return f"all classes count the same, {'and' if is_even else 'though'} {facts}"
    if request.sampling == "balanced":
        return "all classes come up equally often"
    uneven = counts[most] >= _UNEVEN * counts[least]
    if uneven:
        return f"{facts}: `--class-weights balanced` makes rare ones count more"
    return facts if is_even else f"even enough: {facts}"
