"""Where a training runs: one device, several, or several machines."""

import functools
import os
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

from keras_nest.backends import on_jax, require_tensorflow
from keras_nest.choices import STRATEGIES
from keras_nest.data import Host
from keras_nest.hints import did_you_mean
from keras_nest.keras_private import set_cardinality
from keras_nest.startup import is_google_cloud
from keras_nest.training.jax_devices import JaxDevices
from keras_nest.training.jax_machines import EXAMPLE, OwnParts

Strategy: TypeAlias = tf.distribute.Strategy | JaxDevices
"""Where a training runs."""

_LOCAL_TPU = "local"
_TPU_PORT = 8470
_TPU_REMEDY = (
    "run on a Cloud TPU VM with tensorflow-tpu==2.19.1 in an environment of its own, or choose --strategy=auto without "
    "--tpu."
)


def create_strategy(name: str = "auto", tpu: str | None = None, model_parallel: int = 1) -> Strategy:
    """The strategy under whose `scope()` a model is made and trained.

    Args:
        name: "one_device"; "mirrored", all GPUs of this machine, or without any all its logical CPU devices;
            "multi_worker", the machines that the environment variable TF_CONFIG lists; "tpu"; or "auto": a TPU if `tpu`
            or the environment variable TPU_NAME names one, the machines of TF_CONFIG if it is set, else all GPUs, else
            the CPU.
        tpu: name or address ("grpc://…") of a Cloud TPU, or "local" for that of this machine; None is what TPU_NAME
            says, or "local".
        model_parallel: devices among which the weights of blocks are divided, on JAX alone; the others get other
            images. 1 divides nothing but the batch.

    Returns:
        A strategy, or what stands for one where Keras runs on JAX: all its devices, or one, see `JaxDevices`.

    Raises:
        ValueError: unknown name, TF_CONFIG is missing, the address of the TPU is none, weights cannot be divided so,
            or Keras runs neither on TensorFlow nor on JAX.
        ConnectionError: no TPU answers.
    """
    if name not in STRATEGIES:
        raise ValueError(f"There is no strategy {name!r}; {_hint(name)}")
    if on_jax():
        return JaxDevices(name, tpu, model_parallel)
    if model_parallel != 1:
        raise ValueError(
            f"Weights are divided among {model_parallel} devices (--model_parallel) by --backend=jax alone."
        )
    require_tensorflow("training.create_strategy", "train on one device, without a strategy")
    tpu = tpu or os.environ.get("TPU_NAME")
    if name == "tpu" or (name == "auto" and tpu):
        return _tpu(tpu or _LOCAL_TPU)
    if name == "multi_worker" or (name == "auto" and os.environ.get("TF_CONFIG")):
        return _multi_worker()
    if name == "mirrored" or (name == "auto" and len(tf.config.list_physical_devices("GPU")) > 1):
        return _mirrored()
    return tf.distribute.get_strategy()


def _hint(name: str) -> str:
    """What somebody means by a name that is no strategy."""
    word = name.lower()
    if "gpu" in word or "cuda" in word:
        return "did you mean mirrored (all GPUs of this machine)? auto takes them, too."
    if "cpu" in word:
        return "did you mean one_device? With CUDA_VISIBLE_DEVICES=-1 in the environment that is the CPU."
    return did_you_mean(word, STRATEGIES)


def distribute(
    strategy: Strategy, batches_of: Callable[[Host], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Batches for `fit` and `evaluate`: each host's own images, divided among its replicas.

    Args:
        strategy: where they go.
        batches_of: a host -> its batches, all of one static size that its replicas divide evenly.

    Raises:
        ValueError: the size is not static, or cannot be divided.
    """
    if isinstance(strategy, JaxDevices):
        return OwnParts.mark(batches_of(Host(strategy.machine, strategy.machines)))
    if strategy.num_replicas_in_sync == 1 and not is_tpu(strategy):
        return batches_of(Host(0, 1))

    steps = tf.data.UNKNOWN_CARDINALITY

    def of_replicas(context: tf.distribute.InputContext) -> tf.data.Dataset:
        nonlocal steps
        batches = batches_of(Host(context.input_pipeline_id, context.num_input_pipelines))
        steps = int(batches.cardinality())
        size = tf.nest.flatten(batches.element_spec)[0].shape[0]
        replicas = strategy.num_replicas_in_sync // context.num_input_pipelines
        if not size or size % replicas:
            raise ValueError(f"A batch of {size} images cannot be divided among {replicas} replicas of this machine.")
        return batches.rebatch(size // replicas, drop_remainder=True)

    distributed = strategy.distribute_datasets_from_function(of_replicas)
    # `rebatch` forgets it, and Keras would warn that the data came to an end.
    set_cardinality(distributed, steps)
    return distributed


def is_tpu(strategy: Strategy) -> bool:
    """Whether the strategy runs on TPUs."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def is_chief(strategy: Strategy) -> bool:
    """Whether this process writes what a run leaves behind."""
    if isinstance(strategy, JaxDevices):
        return strategy.machine == 0
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return True
    resolver = strategy.cluster_resolver
    if resolver is None:
        return True
    jobs = resolver.cluster_spec().as_dict()
    return resolver.task_id in (0, None) and (resolver.task_type == "chief" or "chief" not in jobs)


def machines(strategy: Strategy) -> int:
    """Number of machines that read data, each for its own replicas."""
    if isinstance(strategy, JaxDevices):
        return strategy.machines
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.cluster_resolver is not None:
        return sum(map(len, strategy.cluster_resolver.cluster_spec().as_dict().values()))
    return strategy.extended.num_hosts if isinstance(strategy, tf.distribute.TPUStrategy) else 1


def wait_for_all(strategy: Strategy) -> None:
    """Returns when all machines have come here."""
    any_machine(strategy, (True,))


def any_machine(strategy: Strategy, asked: Sequence[bool]) -> tuple[bool, ...]:
    """What one of the machines asks, or several; all of them have to come here.

    Args:
        strategy: where a training runs; without several processes nothing is exchanged.
        asked: by this machine.

    Returns:
        The same on all machines.
    """
    if not has_processes(strategy):
        return tuple(asked)
    if isinstance(strategy, JaxDevices):
        return tuple(bool(number) for number in strategy.gather(asked).sum(0))
    return tuple(bool(number) for number in _sum(strategy)(tf.constant(asked, "float32")).numpy())


@functools.cache
def _sum(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], tf.Tensor]:
    """Traced once, since it may run after each step."""

    def over_replicas(numbers: tf.Tensor) -> tf.Tensor:
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, (numbers,)), axis=None)

    return tf.function(over_replicas, autograph=False)


def has_processes(strategy: Strategy) -> bool:
    """Whether each machine has a process of its own, as it has not on a TPU under TensorFlow."""
    if isinstance(strategy, JaxDevices):
        return strategy.machines > 1
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def describe(strategy: Strategy) -> str:
    """Where a training runs, in words."""
    if isinstance(strategy, JaxDevices):
        return str(strategy)
    if is_tpu(strategy):
        return f"{strategy.num_replicas_in_sync} TPU cores"
    kind = "GPU" if tf.config.list_physical_devices("GPU") else "CPU"
    if strategy.num_replicas_in_sync == 1:
        return f"the {kind}"
    kind = f"{strategy.num_replicas_in_sync} {kind}s"
    return f"{kind} of {machines(strategy)} machines" if machines(strategy) > 1 else kind


@functools.cache
def _mirrored() -> tf.distribute.Strategy:
    """One for the whole process: TensorFlow numbers the sums of each strategy anew, and equal numbers get mixed up."""
    return tf.distribute.MirroredStrategy()


def _multi_worker() -> tf.distribute.Strategy:
    if not os.environ.get("TF_CONFIG"):
        raise ValueError(f"TF_CONFIG is not set; every machine needs it, such as {EXAMPLE}.")
    return tf.distribute.MultiWorkerMirroredStrategy()


def _tpu(tpu: str) -> tf.distribute.Strategy:
    address = tpu.removeprefix("grpc://")
    if address != tpu:
        host, _, port = address.partition(":")
        if not (host and (port or str(_TPU_PORT)).isdecimal()):
            raise ValueError(f"The TPU address {tpu!r} is not grpc://HOST:PORT.")
        _check_answers(host, int(port or _TPU_PORT))
    elif not is_google_cloud():
        raise ConnectionError(
            f"The TPU {tpu!r} cannot be found, since this machine is none of Google Cloud; {_TPU_REMEDY}"
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu)
    try:
        if tpu != _LOCAL_TPU:
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, IndexError, RuntimeError) as error:
        # Errors of compiled functions begin with a line that says nothing.
        reason = str(error).removeprefix("Graph execution error:").strip().splitlines()[0]
        raise ConnectionError(
            f"The TPU {tpu!r} does not start under TensorFlow {tf.__version__} ({reason}); {_TPU_REMEDY}"
        ) from error


def _check_answers(host: str, port: int) -> None:
    """Finds out within seconds what TensorFlow would try for minutes."""
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise ConnectionError(f"No TPU answers at grpc://{host}:{port} ({error}); {_TPU_REMEDY}") from error
