"""Which backend Keras runs on. The models run on any; what is made of TensorFlow says so here, in one sentence."""

from typing import Any

import keras

from keras_nest.keras_private import keep_short


class BackendError(ValueError):
    """Something was asked for that another backend of Keras does."""


def on_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow in this process."""
    return keras.backend.backend() == "tensorflow"


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


def is_traced(value: Any) -> bool:
    """Whether a value stands for what comes when a compiled function of JAX runs, which TensorFlow cannot compute."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(value, jax.core.Tracer)
