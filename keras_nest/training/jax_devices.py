"""Where a training runs on JAX: on one device, or on all of this machine, among which Keras divides each batch.

Groups of them can have parts of the weights, too, for models that are too large for one.
"""

import contextlib

import keras
import tensorflow as tf

from keras_nest.optional import import_optional
from keras_nest.training.model_parallel import ModelParallel

_LOCAL = "local"


class JaxDevices:
    """Stands where a `tf.distribute.Strategy` stands on TensorFlow.

    Making one sets the `keras.distribution` of this process, under which models must be made and trained. A step is one
    program for all devices and its batch the whole one: losses, gradients, statistics and random draws are those of one
    device. TensorFlow, which prepares the data, gets no GPU.

    Attributes:
        num_replicas_in_sync: number of devices, or of groups of them, each of which gets its own images.

    Args:
        name: "one_device", "mirrored" (all devices), "tpu" (all, which must be TPUs) or "auto" (all).
        tpu: None, or "local", that of this machine.
        model_parallel: devices of a group, among which the weights of blocks are divided, see `ModelParallel`.

    Raises:
        ValueError: JAX does not train so here, or the devices make no such groups.
        ConnectionError: there is no TPU.
    """

    def __init__(self, name: str = "auto", tpu: str | None = None, model_parallel: int = 1) -> None:
        jax = import_optional("jax", "Keras' backend is JAX", "jax")
        if name == "multi_worker" or jax.process_count() > 1:
            raise ValueError("On JAX a training runs on one machine; choose --strategy=auto.")
        kind = jax.default_backend()
        if tpu not in (None, _LOCAL):
            raise ValueError(f"On JAX a TPU is that of this machine, not {tpu!r}; leave --tpu out.")
        if (name == "tpu" or tpu) and kind != "tpu":
            raise ConnectionError(f"JAX finds no TPU on this machine, only a {kind.upper()}; pip install 'jax[tpu]'.")
        with contextlib.suppress(RuntimeError):  # It has them already.
            tf.config.set_visible_devices([], "GPU")
        devices = keras.distribution.list_devices()
        devices = devices[:1] if name == "one_device" else devices
        self._count, self._kind = len(devices), kind.upper()
        self._distribution: keras.distribution.Distribution | None = None
        if model_parallel != 1:
            self._distribution = ModelParallel(devices, model_parallel)
        elif self._count > 1:
            self._distribution = keras.distribution.DataParallel(devices=devices)
        self.num_replicas_in_sync = self._count // model_parallel
        keras.distribution.set_distribution(self._distribution)

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: what holds does so for the process."""
        return contextlib.nullcontext()

    def check(self, model: keras.Model) -> None:
        """Refuses a model whose weights were to be divided, and cannot be.

        Raises:
            ValueError: says so.
        """
        if isinstance(self._distribution, ModelParallel):
            self._distribution.check(model)

    def __str__(self) -> str:
        """The devices in words."""
        if self._count == 1:
            return f"the {self._kind} with JAX"
        size = self._count // self.num_replicas_in_sync
        divided = f", the weights divided among {size}" if size > 1 else ""
        return f"{self._count} {self._kind}s with JAX{divided}"
