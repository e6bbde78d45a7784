"""Where a training runs on JAX: on one device, or on all of one or several machines, which share each batch.

Groups of the devices of one machine can have parts of the weights, too, for models that are too large for one.
"""

import contextlib
import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from keras_nest.optional import import_optional
from keras_nest.training.jax_machines import OwnParts, find_machines
from keras_nest.training.model_parallel import ModelParallel

_LOCAL = "local"


class DataParallel(OwnParts, keras.distribution.DataParallel):
    """Divides each batch among all devices."""


class JaxDevices:
    """Stands where a `tf.distribute.Strategy` stands on TensorFlow.

    Making one sets the `keras.distribution` of this process, under which models must be made and trained. A step is one
    program for all devices and its batch the whole one: losses, gradients, statistics and random draws are those of one
    device. TensorFlow, which prepares the data, gets no GPU.

    Of several machines each has a process. They find each other when the first of these is made, by TF_CONFIG as under
    `MultiWorkerMirroredStrategy`, or as JAX finds them: on the hosts of a TPU slice, under SLURM, Open MPI and
    Kubernetes. Processes that `keras.distribution.initialize` has brought together are taken as they are. With
    `distribute` each reads images of its own; of other datasets that `fit` is given, Keras takes the part of each.

    Attributes:
        num_replicas_in_sync: number of devices, or of groups of them, each of which gets its own images.
        machines: number of processes.
        machine: which of them this is, from 0.

    Args:
        name: "one_device"; "mirrored" (all devices); "multi_worker" (those of several machines); "tpu" (all, which must
            be TPUs); or "auto" (all, of the machines of TF_CONFIG if it is set).
        tpu: None, or "local", that of this machine.
        model_parallel: devices of a group, among which the weights of blocks are divided, see `ModelParallel`.

    Raises:
        ValueError: JAX does not train so here, the devices make no such groups, or the other machines are not named.
        ConnectionError: there is no TPU, or no other machine.
    """

    def __init__(self, name: str = "auto", tpu: str | None = None, model_parallel: int = 1) -> None:
        jax = import_optional("jax", "Keras' backend is JAX", "jax")
        if tpu not in (None, _LOCAL):
            raise ValueError(f"On JAX a TPU is that of this machine, not {tpu!r}; leave --tpu out.")
        if name == "multi_worker" or (name == "auto" and os.environ.get("TF_CONFIG")):
            find_machines()
        self.machines, self.machine = jax.process_count(), jax.process_index()
        if self.machines > 1 and name == "one_device":
            raise ValueError(f"one_device is for one machine, and here are {self.machines}; choose --strategy=auto.")
        local = jax.local_device_count()
        if local * self.machines != jax.device_count():
            raise ValueError("The machines have different numbers of devices, which share no batch evenly.")
        if self.machines > 1 and local % model_parallel:
            raise ValueError(
                f"Devices that share the weights (--model_parallel) are of one machine; {local} cannot be divided into "
                f"groups of {model_parallel}."
            )
        kind = jax.default_backend()
        if (name == "tpu" or tpu) and kind != "tpu":
            raise ConnectionError(f"JAX finds no TPU on this machine, only a {kind.upper()}; pip install 'jax[tpu]'.")
        with contextlib.suppress(RuntimeError):  # It has them already.
            tf.config.set_visible_devices([], "GPU")
        # Those of a machine side by side: it reads images for them, and groups lie within it.
        found = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        devices = [f"{device.platform}:{device.id}" for device in found]
        devices = devices[:1] if name == "one_device" else devices
        self._count, self._kind = len(devices), kind.upper()
        self._distribution: keras.distribution.Distribution | None = None
        if model_parallel != 1:
            self._distribution = ModelParallel(devices, model_parallel)
        elif self._count > 1:
            self._distribution = DataParallel(devices=devices)
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
        among = f" of {self.machines} machines" if self.machines > 1 else ""
        return f"{self._count} {self._kind}s{among} with JAX{divided}"

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """The numbers of all machines, float32 (machines, N); each has to ask for them."""
        from jax.experimental import multihost_utils

        own = np.asarray(numbers, np.float32)
        return np.reshape(multihost_utils.process_allgather(own), (self.machines, -1))
