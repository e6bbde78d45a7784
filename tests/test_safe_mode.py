"""What is relied on of Keras' private state; fails where a new Keras has it otherwise."""

import keras
import pytest

from keras_nest import safe_mode


@keras.saving.register_keras_serializable(package="tests_of_safe_mode")
class Witness(keras.layers.Layer):
    """Keeps what was said while it was made of a file."""

    seen = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        type(self).seen = safe_mode.in_safe_mode()


@pytest.mark.parametrize("mode", [True, False])
def test_it_is_known_while_a_file_is_loaded(tmp_path, mode):
    keras.Sequential([keras.Input((2,)), Witness()]).save(tmp_path / "model.keras")
    assert Witness.seen is None
    keras.saving.load_model(tmp_path / "model.keras", safe_mode=mode)
    assert Witness.seen is mode
    assert safe_mode.in_safe_mode() is None
    Witness.seen = None


def test_it_is_on_unless_it_is_asked_off():
    keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Witness()))
    assert Witness.seen is True
    Witness.seen = None


def test_refusing_says_how_to_allow_it():
    with pytest.raises(ValueError, match=r"^The layer 'a' was not loaded: .* safe_mode=False"):
        safe_mode.refuse("The layer 'a'")
