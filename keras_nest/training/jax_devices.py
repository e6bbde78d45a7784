"""Where a training runs on JAX: on one device, or on all of this machine, among which Keras divides each batch."""

import contextlib

import keras
import tensorflow as tf

from keras_nest.optional import import_optional

_LOCAL = "local"


class JaxDevices:
    """Stands where a `tf.distribute.Strategy` stands on TensorFlow.

    Making one sets the `keras.distribution` of this process, under which models must be made and trained. A step is one
    program for all devices and its batch the whole one: losses, gradients, statistics and random draws are those of one
    device. TensorFlow, which prepares the data, gets no GPU.

    Attributes:
        num_replicas_in_sync: number of devices.

    Args:
        name: "one_device", "mirrored" (all devices), "tpu" (all, which must be TPUs) or "auto" (all).
        tpu: None, or "local", that of this machine.

    Raises:
        ValueError: JAX does not train so here.
        ConnectionError: there is no TPU.
    """

    def __init__(self, name: str = "auto", tpu: str | None = None) -> None:
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
        self.num_replicas_in_sync = len(devices)
        distribution = keras.distribution.DataParallel(devices=devices) if len(devices) > 1 else None
        keras.distribution.set_distribution(distribution)
        self._kind = kind.upper()

    def scope(self) -> contextlib.AbstractContextManager[None]:
        """Nothing: what holds does so for the process."""
        return contextlib.nullcontext()

    def __str__(self) -> str:
        """The devices in words."""
        count = self.num_replicas_in_sync
        return f"{count} {self._kind}s with JAX" if count > 1 else f"the {self._kind} with JAX"
