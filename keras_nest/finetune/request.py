"""What is asked of a fine-tuning."""

import dataclasses

from keras_nest.finetune.start import Blocks
from keras_nest.targets import REGRESSION, SINGLE_LABEL


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for; None leaves it open.

    Attributes:
        folder: of the photographs, a list of them, or the name of a data set.
        model: a published name, or without weights a .keras file or the directory of a training.
        weights: checkpoint, or the name of a published one.
        val: share of the images that choose the weights.
        test: share of those that measure the model.
        image_size: side in pixels.
        batch_size: images a step, of all devices together.
        epochs: at most.
        minutes: at most, for everything together.
        learning_rate: the highest.
        layer_decay: factor of the rate from each block to the one before it; None is 1.
        blocks: how many of the last blocks are trained beside the head, "all", or 0.
        augment: one of `keras_nest.choices.AUGMENTS`.
        class_weights: "none" or "balanced".
        patience: epochs without a better evaluation after which the training ends.
        max_broken: share of the images that may be broken.
        seed: of everything random.
        label_column: of a list, that of the classes or numbers.
        task: one of `keras_nest.choices.TASKS`.
        loss: one of `keras_nest.choices.LOSSES`.
        label_smoothing: share of the probability that all classes divide.
        sampling: one of `keras_nest.choices.SAMPLINGS`.
        log: one of `keras_nest.choices.TRACKERS`.
        calibrate: whether a temperature is fit to the validation images at the end; None is no.
        cache_side: training images are kept decoded, their shorter side so many pixels at most; None keeps none.
    """

    folder: str
    model: str
    weights: str | None = None
    val: float = 0.15
    test: float = 0.15
    image_size: int | None = None
    batch_size: int | None = None
    epochs: int | None = None
    minutes: float | None = None
    learning_rate: float | None = None
    layer_decay: float | None = None
    blocks: Blocks | None = None
    augment: str = "crop"
    class_weights: str = "none"
    patience: int | None = None
    max_broken: float = 0.1
    seed: int = 0
    label_column: str | None = None
    task: str = SINGLE_LABEL
    loss: str | None = None
    label_smoothing: float | None = None
    sampling: str | None = None
    calibrate: bool | None = None
    log: str | None = None
    cache_side: int | None = None

    def __post_init__(self) -> None:
        for name in ("image_size", "batch_size", "epochs", "minutes", "learning_rate", "patience"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name.replace('_', '-')} is {value}; it must be above 0.")
        if self.cache_side is not None and self.cache_side < 0:
            raise ValueError(f"--cache-side is {self.cache_side}; it must be a number of pixels, or 0.")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise ValueError(f"--layer-decay is {self.layer_decay}; it must be above 0 and at most 1.")
        if not (self.val > 0 and self.test >= 0 and self.val + self.test < 1):
            raise ValueError(
                f"--val is {self.val} and --test {self.test}; they must be shares, --val above 0, that leave something "
                "to train."
            )
        if not 0 <= self.max_broken <= 1:
            raise ValueError(f"--max-broken is {self.max_broken}; it must be a share, from 0 to 1.")
        if not (self.blocks in (None, "all") or (type(self.blocks) is int and self.blocks >= 0)):
            raise ValueError(f"--blocks is {self.blocks!r}; it must be a number of blocks, 0 or more, or all.")
        self._check_loss()
        self._check_task()

    def _check_loss(self) -> None:
        if not 0 <= (self.label_smoothing or 0) < 1:
            raise ValueError(f"--label-smoothing is {self.label_smoothing}; it must be a share, from 0 to below 1.")
        if self.sampling == self.class_weights == "balanced":
            raise ValueError("--sampling balanced and --class-weights balanced are for the same; give one of them.")
        given = (("--loss", self.loss not in (None, "cross_entropy")), ("--label-smoothing", self.label_smoothing))
        if self.blocks == 0 and (lost := [flag for flag, is_given in given if is_given]):
            raise ValueError(
                f"{lost[0]} is of training steps, and with --blocks 0 there are none: the head is fit by logistic "
                "regression; leave one of them out."
            )

    def _check_task(self) -> None:
        """Refuses what is of images with one class each."""
        given = {
            "--loss": self.loss is not None,
            "--label-smoothing": self.label_smoothing,
            "--class-weights balanced": self.class_weights == "balanced",
            "--sampling balanced": self.sampling == "balanced",
            "--calibrate": self.calibrate and self.task == REGRESSION,
        }
        if self.task != SINGLE_LABEL and (wrong := [flag for flag, is_given in given.items() if is_given]):
            raise ValueError(f"{wrong[0]} is not for --task {self.task}; leave one of them out.")
