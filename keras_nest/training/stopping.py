"""What a training is asked from outside: to end in order, or to write its state; all machines at the same step."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from keras_nest.backends import on_tensorflow
from keras_nest.training.strategies import Strategy, any_machine, has_processes

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
# Published configurations have hours from one checkpoint to the next.
_MINUTES = 15
_NOTE = b"\nStopping: this step is finished and a checkpoint written; the same signal again ends at once.\n"


class Stopped(KeyboardInterrupt):
    """A training ended in order since a signal asked for it; its checkpoint is written.

    Attributes:
        step: of the checkpoint.
        status: of the process, as schedulers expect it: 143 after SIGTERM, 130 after SIGINT.
    """

    def __init__(self, step: int, number: int) -> None:
        super().__init__(f"Stopped by {signal.Signals(number).name} after step {step}.")
        self.step, self.status = step, 128 + number


class Cut(BaseException):
    """What can be done again was given up, since a signal asks the training to end."""


class Stopping:
    """Takes SIGTERM and SIGINT while its block runs, and says after each step what is due.

    Kubernetes, a TPU's maintenance and spot machines send SIGTERM some 30 seconds before the end, Ctrl-C is SIGINT. The
    second signal does what it would do without this. Other threads than the main one get no signals.

    Args:
        strategy: what one machine is asked, all of them do.
        minutes: from one checkpoint to the next at most; 0 for those of the plan alone.
    """

    def __init__(self, strategy: Strategy, minutes: float | None = None) -> None:
        self._strategy, self._seconds = strategy, 60 * (_MINUTES if minutes is None else minutes)
        self._number: int | None = None
        self._can_cut = False
        self._handlers: dict[int, Any] = {}
        self._step, self._saved_at = 0, time.monotonic()

    def __enter__(self) -> "Stopping":
        if threading.current_thread() is threading.main_thread():
            # What is ignored, as by `nohup` and in the background of a shell, stays ignored.
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._handlers = {number: signal.signal(number, self._take) for number in heard}
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Puts back what was there before.

        Raises:
            Stopped: a signal came after the last step.
        """
        self._release()
        if self._number is not None and kind is None:
            raise Stopped(self._step, self._number)

    def due(self) -> tuple[bool, bool]:
        """Whether the training shall end now, and whether a checkpoint is due by the clock; alike on all machines."""
        is_late = bool(self._seconds) and time.monotonic() - self._saved_at > self._seconds
        stop, save = any_machine(self._strategy, (self._number is not None, is_late))
        return stop, save

    def note_saved(self, step: int) -> None:
        """Counts the minutes from now on."""
        self._step, self._saved_at = step, time.monotonic()

    def stopped(self) -> Stopped:
        """What to raise once the checkpoint is written; where another machine got the signal, it is SIGTERM."""
        return Stopped(self._step, self._number or signal.SIGTERM)

    @contextlib.contextmanager
    def cutting(self) -> Iterator[None]:
        """A block that can be given up at any point, such as an evaluation.

        One machine of several finishes it, and so does JAX, whose model is empty meanwhile.

        Raises:
            Cut: a signal came.
        """
        self._can_cut = on_tensorflow() and not has_processes(self._strategy)
        try:
            if self._can_cut and self._number is not None:
                raise Cut
            yield
        finally:
            self._can_cut = False

    def _take(self, number: int, frame: FrameType | None) -> None:
        self._number = number
        self._release()
        # `print` may be at work at this very moment.
        os.write(2, _NOTE)
        if self._can_cut:
            raise Cut

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
