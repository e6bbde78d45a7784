"""A Keras model as a SavedModel holds it: TensorFlow's variables and a function of them, from any backend of Keras."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import keras
import tensorflow as tf

from keras_nest.backends import on_tensorflow, require_tensorflow
from keras_nest.optional import import_optional

TO_A_FILE = "save the model and run keras-nest export FILE.keras --format {} --output DIR"
"""What to do where a format cannot be written from another backend, for messages."""
# For which the program of JAX is compiled where the file is loaded.
_PLATFORMS = ("cpu", "cuda", "tpu")


class Carrier:
    """Brings models of Keras into a SavedModel; those that share weights do so there, if one carrier brings them.

    From TensorFlow's backend they come as they are. From JAX's they come converted by jax2tf, for inference: variables
    are copies, and a function is a program that XLA compiles where the file is loaded.

    Attributes:
        whole: whether a second network costs no second copy of the weights, so that intermediates are brought too.
    """

    whole: ClassVar[bool] = True

    @property
    def trains(self) -> bool:
        """Whether functions take training=True."""
        return on_tensorflow()

    def __init__(self) -> None:
        self._copies: dict[int, tf.Variable] = {}

    def variables(self, variables: Iterable[keras.Variable]) -> list[tf.Variable]:
        """TensorFlow's variables in the place of Keras'."""
        # `.value` is TensorFlow's variable. Keras' wrapper around it would be stored as well, as a second copy.
        return [variable.value if on_tensorflow() else self._copy(variable) for variable in variables]

    def held(self) -> list[tf.Variable]:
        """What else a function of this carrier reads, and the SavedModel must hold."""
        return []

    def function(self, network: keras.Model) -> Callable[..., Any]:
        """A function (inputs, training=False) of TensorFlow's tensors: the model itself, where that is one.

        Raises:
            ValueError: Keras runs neither on TensorFlow nor on JAX.
            ModuleNotFoundError: jax2tf is not installed.
            NotImplementedError: the model is not built of operations that JAX can compile for any batch.
        """
        if keras.backend.backend() != "jax":
            require_tensorflow("export.to_saved_model", TO_A_FILE.format("saved_model"))
            return network
        jax2tf = import_optional("jax.experimental.jax2tf", "SavedModels from JAX are written by jax2tf", "jax")
        states = [self.variables(group) for group in (network.trainable_variables, network.non_trainable_variables)]

        def compute(trainable: Any, others: Any, inputs: Any) -> Any:
            return network.stateless_call(trainable, others, inputs, training=False)[0]

        options = {"polymorphic_shapes": [None, None, "b, ..."], "native_serialization_platforms": _PLATFORMS}
        converted = jax2tf.convert(compute, with_gradient=False, **options)

        def infer(inputs: Any, training: bool = False) -> Any:
            if training:
                raise ValueError(f"The model {network.name!r} comes from JAX for inference; leave training=True out.")
            return converted(*states, inputs)

        return infer

    def _copy(self, variable: keras.Variable) -> tf.Variable:
        if id(variable) not in self._copies:
            self._copies[id(variable)] = tf.Variable(variable.value, trainable=False, name=variable.name)
        return self._copies[id(variable)]
