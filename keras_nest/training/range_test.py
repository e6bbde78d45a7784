"""Learning-rate range test: a short training whose rate rises until it diverges tells which rate is worth trying.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (2017), section 3.3; fastai's `lr_find`.
"""

import csv
import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_nest.figures import new_figure, picture_file
from keras_nest.files import atomic_output

LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 120
# Steps before and after one whose losses are averaged: no rate later than its loss, as in a mean over those before.
_REACH = 4
# A loss so many times the lowest will not come back.
_DIVERGED = 4.0
# A loss of at most so many times the lowest is low, too; the suggestion is so much below the rate where that ends.
_LOW, _SAFETY = 1.2, 3.0


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """What a range test measured.

    Attributes:
        rates: of the steps, rising.
        losses: likewise, as measured.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]

    @property
    def smoothed(self) -> np.ndarray:
        """Losses without most of their noise, (N,) float64."""
        around = [self.losses[max(0, step - _REACH) : step + _REACH + 1] for step in range(len(self.losses))]
        return np.array([np.mean(losses) for losses in around])

    @property
    def highest(self) -> float:
        """The highest rate at which the loss was low: where it begins to rise."""
        smoothed = self.smoothed
        return self.rates[int(np.flatnonzero(smoothed <= _LOW * smoothed.min())[-1])]

    @property
    def suggestion(self) -> float:
        """A third of that, rounded to one digit."""
        rate = self.highest / _SAFETY
        digits = 10.0 ** math.floor(math.log10(rate))
        return float(f"{round(rate / digits) * digits:.0e}")


class _Measure(keras.callbacks.Callback):
    """Notes the loss of each step, and ends the training when it diverges."""

    def __init__(self, rate_at: Callable[[int], float]) -> None:
        super().__init__()
        self._rate_at = rate_at
        self.rates: list[float] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = float(self.model.loss_tracker.result())
        self.model.reset_metrics()
        if not math.isfinite(loss):
            self.model.stop_training = True
            return
        self.losses.append(loss)
        self.rates.append(self._rate_at(len(self.losses)))
        smoothed = RangeTest(tuple(self.rates), tuple(self.losses)).smoothed
        if smoothed[-1] > _DIVERGED * smoothed.min():
            self.model.stop_training = True


def run_range_test(
    trainer: keras.Model, batches: Any, rate_at: Callable[[int], float], steps: int = STEPS
) -> RangeTest:
    """Trains a model at rising rates; its weights are of no use afterwards.

    Args:
        trainer: a `Trainer`, compiled with an optimizer whose schedule rises, such as `WarmupDecay` with "range_test".
        batches: endless, as for its `fit`.
        rate_at: step, counted from 1 -> its rate.
        steps: at most.

    Raises:
        ValueError: the loss is infinite or not a number from the start.
    """
    measured = _Measure(rate_at)
    trainer.fit(batches, steps_per_epoch=steps, callbacks=[measured], shuffle=False, verbose=0)
    if not measured.losses:
        raise ValueError(
            "The loss is infinite or not a number at the lowest learning rate; look at images and weights."
        )
    return RangeTest(tuple(measured.rates), tuple(measured.losses))


def write_range_test(found: RangeTest, table: pathlib.Path, picture: pathlib.Path) -> None:
    """Writes what was measured as CSV (learning_rate, loss, smoothed_loss), and draws it.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    with atomic_output(table, overwrite=True) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("learning_rate", "loss", "smoothed_loss"))
        writer.writerows(zip(found.rates, found.losses, found.smoothed, strict=True))
    figure = new_figure(7, 4)
    _draw(figure.subplots(), found)
    with picture_file(picture, overwrite=True) as partial:
        figure.savefig(partial)


def _draw(axes: Any, found: RangeTest) -> None:
    smoothed, suggestion = found.smoothed, found.suggestion
    axes.plot(found.rates, found.losses, color="tab:gray", alpha=0.4, linewidth=1, label="of a step")
    axes.plot(found.rates, smoothed, color="tab:blue", label="smoothed")
    axes.axvline(suggestion, color="tab:green", linestyle="--", label=f"suggested: {suggestion:g}")
    axes.set_xscale("log")
    ticks = _decades(found.rates)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    # What diverges would press all else to the bottom.
    room = smoothed.max() - smoothed.min() or 1.0
    axes.set_ylim(max(0.0, smoothed.min() - 0.15 * room), smoothed.max() + 0.15 * room)
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _decades(rates: Sequence[float]) -> list[float]:
    """Powers of ten among the rates."""
    first, last = math.ceil(math.log10(rates[0]) - 1e-6), math.floor(math.log10(rates[-1]) + 1e-6)
    return [10.0**power for power in range(first, last + 1)]
