"""Which backend Keras runs on. The models run on any; what is made of TensorFlow says so here, in one sentence."""

from typing import Any

import keras

from keras_nest.keras_private import keep_short
from keras_nest.optional import import_optional


class BackendError(ValueError):
    """Something was asked for that another backend of Keras does."""


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow in this process."""
    return keras.backend.backend() == "tensorflow"


def on_jax() -> bool:
    """Whether Keras runs on JAX in this process."""
    return keras.backend.backend() == "jax"


def require_tensorflow(what: str, instead: str) -> None:
    """Refuses what TensorFlow alone can do, where Keras runs on something else.

    Args:
        what: is asked for, such as "export.to_tflite".
        instead: what leads there from this backend, as an order: "save the model and …".

    Raises:
        BackendError: Keras does not run on TensorFlow; says which backend it is, and `instead`.
    """
    if not on_tensorflow():
        sentence = (
            f"{what} needs Keras on TensorFlow, and this process runs it on {keras.backend.backend()}; {instead}, or "
            "set KERAS_BACKEND=tensorflow before Keras is imported."
        )
        raise keep_short(BackendError(sentence))


def check_backend(name: str | None) -> None:
    """Refuses a backend that a command line asks for and this process does not have.

    Args:
        name: of the backend; None is whichever it has.

    Raises:
        ModuleNotFoundError: it is not installed.
        BackendError: Keras was imported on another one.
    """
    if name in (None, keras.backend.backend()):
        return
    import_optional(str(name), f"--backend={name} trains with {name}", str(name))
    raise BackendError(f"Keras runs on {keras.backend.backend()} in this process; --backend={name} is for a new one.")


def is_traced(value: Any) -> bool:
    """Whether a value stands for what comes when a compiled function of JAX runs, which TensorFlow cannot compute."""
    if not on_jax():
        return False
    import jax

    return isinstance(value, jax.core.Tracer)
