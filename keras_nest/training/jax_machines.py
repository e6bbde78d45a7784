"""Several machines on JAX: how they find each other, what is a machine's own, and what is said of one that is lost."""

import atexit
import contextlib
import os
import re
import sys
import threading
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_nest.backends import on_jax
from keras_nest.keras_private import made_of

EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'
"""What TF_CONFIG says."""

# Seconds. JAX waits five minutes for other machines, and says nothing.
_PATIENCE = 10
# A status of XLA, and what sums over the machines go through.
_LOST = re.compile(r"[A-Z_]+: .*(Gloo|NCCL|[Cc]onnection|[Hh]eartbeat|[Bb]arrier|[Cc]oordination)")


def find_machines() -> None:
    """Makes this process one of several that train together; before JAX has looked for devices.

    Raises:
        ValueError: TF_CONFIG is not what it should be, JAX knows of no other machines, or has already begun.
        ConnectionError: they do not answer.
    """
    import jax

    if jax.distributed.is_initialized():
        return
    addresses, index = _machines_of_environment()
    if len(addresses) == 1:  # Services of the cloud set TF_CONFIG for one machine, too.
        return
    told = f"Waiting for the other machines of TF_CONFIG, {len(addresses)} in all; each needs the same command."
    waiting = threading.Timer(_PATIENCE, print, (told,), {"file": sys.stderr, "flush": True})
    waiting.daemon = True
    if addresses:
        waiting.start()
    try:
        # Seeds of Python, where none is set, become the same on all machines.
        keras.distribution.initialize(",".join(addresses) or None, len(addresses) or None, index)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        if addresses:
            raise ConnectionError(f"The machines of TF_CONFIG do not find each other ({reason}).") from error
        raise ValueError(
            f"JAX finds no other machines ({reason}); set TF_CONFIG on each of them, such as {EXAMPLE}, or leave "
            "--strategy=multi_worker out."
        ) from error
    finally:
        waiting.cancel()


def _machines_of_environment() -> tuple[list[str], int | None]:
    """Addresses in TF_CONFIG, and which of them is this process; none without it."""
    if not os.environ.get("TF_CONFIG"):
        return [], None
    try:
        resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        jobs = resolver.cluster_spec().as_dict()
        places = [(job, index) for job in ("chief", "worker") for index in range(len(jobs.get(job, [])))]
        addresses = [jobs[job][index] for job, index in places]
        return addresses, places.index((resolver.task_type, resolver.task_id))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG does not name machines, and which of them this is, as in {EXAMPLE}.") from error


class OwnParts:
    """Mixin for distributions of Keras: batches that are marked as a machine's own are not divided again."""

    @staticmethod
    def mark(batches: tf.data.Dataset) -> tf.data.Dataset:
        """Says that they are this machine's part of each batch, and so is what is made of them."""
        batches.is_own_part = True
        return batches

    def distribute_dataset(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """What Keras asks for of the data of `fit`: of whole batches this machine's part."""
        # Models that look at the first batch, and class weights, put a stage upon it.
        if any(getattr(each, "is_own_part", False) for each in made_of(dataset)):
            return dataset
        parts = super().distribute_dataset(dataset)  # type: ignore[misc]
        count = dataset.cardinality()
        # Keras loses it, and warns that the data came to an end.
        return parts if count < 0 else parts.apply(tf.data.experimental.assert_cardinality(count))


def readable(variables: Iterable[keras.Variable]) -> contextlib.AbstractContextManager[Any]:
    """A block in which variables are read as a whole, of which the devices of several machines have parts.

    Each machine has all of the parts, see `ModelParallel`, and JAX does not put them together. No model is made in it.

    Args:
        variables: to be read, by Keras' writers of files too.
    """
    if not on_jax():
        return contextlib.nullcontext()
    arrays = [(variable, variable.value) for variable in variables]
    divided = [pair for pair in arrays if not (pair[1].is_fully_addressable or pair[1].is_fully_replicated)]
    if not divided:
        return contextlib.nullcontext()
    return keras.StatelessScope([(variable, _whole(array)) for variable, array in divided])


def _whole(array: Any) -> np.ndarray:
    values = np.empty(array.shape, array.dtype)
    for shard in array.addressable_shards:
        values[shard.index] = shard.data
    return values


def why_lost(error: Exception) -> str | None:
    """What JAX says of a machine that does not answer any more; None if an error says something else.

    The process has to end then, and will not wait for that machine, for which JAX would wait a minute and abort.
    """
    told = str(error).partition("\n")[0]
    if not _LOST.match(told):
        return None
    # What is registered last is called first.
    atexit.register(_end_at_once)
    return told.partition(": ")[2].rstrip(".")


def _end_at_once() -> None:
    sys.stdout.flush()
    os._exit(1)
