"""What Keras allows a file to do while it is loaded: the one place that asks Keras' private state.

`keras.saving.load_model(safe_mode=True)` has no public question for layers of others. What is relied on here:
`in_safe_mode` is True while a file is deserialized so, False where unsafe deserialization is enabled, None elsewhere.
"""

from keras.src.saving import serialization_lib

_SENTENCE = (
    "{} was not loaded: it holds a TensorFlow graph, which can read, write and run anything. If you know where the "
    "file comes from, load it with safe_mode=False, or call keras.config.enable_unsafe_deserialization() before."
)


def in_safe_mode() -> bool | None:
    """True while an object comes from a file that nobody vouched for; None where nothing is being loaded."""
    return serialization_lib.in_safe_mode()


def refuse(what: str) -> None:
    """Ends the loading of something that carries code.

    Args:
        what: it is, such as "The HubLayer 'hub'".

    Raises:
        ValueError: always; says how to allow it.
    """
    raise ValueError(_SENTENCE.format(what))
