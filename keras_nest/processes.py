"""Processes forked from one in which TensorFlow ran: it would wait there for ever, for threads that are gone."""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])

# In which a model was opened first; a fork inherits it.
_opened_in: int | None = None


def check_process() -> None:
    """Notes that TensorFlow is about to run in this process.

    Raises:
        RuntimeError: the process was forked from one that had noted it.
    """
    global _opened_in
    if _opened_in is None:
        _opened_in = os.getpid()
    _check(_opened_in)


def in_its_process(function: Function) -> Function:
    """The same function, but refused after a fork.

    Raises:
        RuntimeError: from the function, in another process than the one that this is called in.
    """
    process = os.getpid()

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        _check(process)
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def _check(process: int) -> None:
    if os.getpid() != process:
        raise RuntimeError(
            f"A model was opened in the process {process}, from which the process {os.getpid()} was forked, and "
            "TensorFlow cannot be forked once it runs; open the model in each process, forked before any was opened, "
            "or start processes with multiprocessing.get_context('spawn')."
        )
