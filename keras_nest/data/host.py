"""How the machines that prepare images work: threads of their own, and others that help, by tf.data's service."""

import os
import socket

import tensorflow as tf

_SECONDS = 5


def with_own_threads(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches that are prepared by one thread a core, each of which does one thing at a time.

    Images are many, so that they run side by side; an operation that divides one image among threads gains nothing,
    and takes threads from a model that trains on the same cores. So do the references.

    TensorFlow's tuner has nothing to do then, and is left out: it sleeps for up to a minute between its rounds, and now
    and then misses the end of an iterator, of an evaluation or a training, which then waits until it wakes.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = cores()
    options.threading.max_intra_op_parallelism = 1
    return batches.with_options(options)


def prepared_elsewhere(batches: tf.data.Dataset, service: str) -> tf.data.Dataset:
    """Batches that the workers of a tf.data service prepare; their paths must lead to the same files there.

    A single worker gives the same batches in the same order. Several share the images, each of which comes up once an
    epoch, in batches that follow no order that could be repeated; of TFRecord files each worker takes a whole epoch, so
    that as many epochs are under way at a time.

    Args:
        batches: without functions of Python, which no other process has.
        service: address of the dispatcher, "grpc://HOST:PORT".

    Raises:
        ValueError: that is none.
        ConnectionError: nothing answers there.
    """
    check_service(service)
    distribute = tf.data.experimental.service.distribute(tf.data.experimental.service.ShardingPolicy.DYNAMIC, service)
    return batches.apply(distribute)


def check_service(service: str) -> None:
    """Finds out within seconds what TensorFlow would try for an hour.

    Args:
        service: address of a dispatcher, "grpc://HOST:PORT".

    Raises:
        ValueError: that is none.
        ConnectionError: nothing answers there.
    """
    host, _, port = service.removeprefix("grpc://").rpartition(":")
    if not (service.startswith("grpc://") and host and port.isdecimal()):
        raise ValueError(f"The address of the tf.data service is {service!r}; it must be grpc://HOST:PORT.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"No tf.data service answers at {service} ({error}).") from error


def cores() -> int:
    """Those that this process may use; so many images are prepared at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
