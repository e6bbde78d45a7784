"""Arguments of models as plain Python values: what NumPy computes means the same, and no file can hold it."""

import functools
import inspect
import types
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, TypeVar, get_args

import numpy as np

Init = TypeVar("Init", bound=Callable[..., None])


def plain_arguments(init: Init) -> Init:
    """Decorates a constructor: its arguments reach it as plain values, and numbers are what the annotations say.

    NumPy's numbers become Python's, its arrays tuples. Lists, and what is nested in them, are treated likewise.

    Args:
        init: the constructor; annotations such as `int`, `float | None` and `Sequence[int]` are checked.

    Raises:
        ValueError: from the constructor, of something else than a number where one is due: also of a bool, and of a
            float for a whole number.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            return init(self, *args, **kwargs)  # Python's own message names the class
        for name in bound.arguments.keys() - {"self"}:
            value = bound.arguments[name] = plain(bound.arguments[name])
            _check(name, value, signature.parameters[name].annotation)
        return init(*bound.args, **bound.kwargs)

    # Keras wraps constructors itself, and reads no further than this.
    checked.__signature__ = signature  # type: ignore[attr-defined]
    return checked  # type: ignore[return-value]


def plain(value: Any) -> Any:
    """A number, array or nested sequence of them as Python has it; other values are returned as they are."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
        return plain(tuple(value)) if isinstance(value, list) else value
    # Not what derives from them: Keras' own lists are told apart from users'.
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    return value


def _check(name: str, value: Any, annotation: Any) -> None:
    kinds = get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    if value is None and types.NoneType in kinds:
        return
    several = Sequence[int] in kinds
    if several and isinstance(value, Sequence) and not isinstance(value, str):
        if not all(_is_a(Integral, each) for each in value):
            raise ValueError(f"{name} is {value!r}; it must hold whole numbers.")
    elif int in kinds and not _is_a(Integral, value) and set(kinds) <= {int, Sequence[int], types.NoneType}:
        raise ValueError(f"{name} is {value!r}; it must be a whole number{', or some' * several}.")
    elif int not in kinds and several:
        raise ValueError(f"{name} is {value!r}; it must be a list of whole numbers.")
    elif float in kinds and not _is_a(Real, value):
        raise ValueError(f"{name} is {value!r}; it must be a number.")


def _is_a(kind: type, value: Any) -> bool:
    # A bool is an integer for Python.
    return isinstance(value, kind) and not isinstance(value, bool)
