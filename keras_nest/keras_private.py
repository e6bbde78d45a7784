"""Everything that this package uses of Keras, TensorFlow, TF Text and LiteRT without their promise.

Nothing else in the package touches a name with a leading underscore of theirs, or `keras.src`. Each entry says why it
is needed and what breaks if it changes; tests/test_keras_private.py has a contract test for each, which runs with the
oldest and the newest Keras that pyproject.toml allows.
"""

import contextlib
import functools
import gc
import hashlib
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common.remat import get_current_remat_mode
from keras.src.saving import saving_lib, serialization_lib
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


def in_safe_mode() -> bool | None:
    """Whether a file is being loaded with `safe_mode=True`; None where nothing is being loaded.

    Why: `keras.saving.load_model` tells layers of others nothing about it. If it changes: files that carry a graph are
    refused although they were trusted, or worse, loaded although nobody vouched for them.

    Returns:
        True while an object is deserialized in safe mode, False where unsafe deserialization is enabled, else None.
    """
    return serialization_lib.in_safe_mode()


def save_weights(model: keras.Model, path: pathlib.Path) -> None:
    """Writes what `model.save_weights` writes, made in memory.

    Why: HDF5 ends the process with a segmentation fault where a disk becomes full, and nothing public writes elsewhere
    than into a file. If it changes: AttributeError or TypeError, or files that `load_weights` does not read.

    Args:
        model: built.
        path: ends in ".weights.h5".

    Raises:
        OSError: the disk does not take it.
    """
    content = io.BytesIO()
    store = saving_lib.H5IOStore(content, mode="w")
    saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set())
    store.close()
    path.write_bytes(content.getbuffer())


def in_remat_scope() -> bool:
    """Whether a `keras.RematScope` with a mode is around the caller.

    Why: models that are made in one draw other dropout masks in the backward pass, and nothing public tells of it.
    If it changes: ImportError, or such models train with wrong gradients.
    """
    mode = get_current_remat_mode()
    return mode is not None and mode.mode is not None


def outermost_model(layer: keras.layers.Layer) -> keras.Model | None:
    """The model whose call the present call of a layer is part of; None if a layer was called by itself.

    Why: only there can a head see with which loss it is trained. If it changes: the first training step of a model with
    a head ends in an AttributeError, or losses that take logits for probabilities are not refused.
    """
    entry = layer._get_call_context().entry_layer
    return entry if isinstance(entry, keras.Model) else None


def compilation(model: keras.Model) -> Any:
    """An object that a model has from one `compile` to the next.

    Why: a model is checked once after each `compile`. If it changes: AttributeError in the first step.
    """
    return model._compile_config


def compiled_metrics(model: keras.Model) -> tuple[Any, Any]:
    """Metrics and weighted metrics of a compiled model, as `compile` got them; the former ones if it got none.

    Why: `model.metrics` has objects of Keras' own in their place. If it changes: AttributeError in the first step.
    """
    metrics = model._compile_metrics
    return (None, None) if metrics is None else (metrics._user_metrics, metrics._user_weighted_metrics)


def producer(tensor: keras.KerasTensor) -> tuple[Any, int, tuple[Any, ...], dict[str, Any]]:
    """The operation that a symbolic tensor comes from, which of its outputs it is, and the arguments of that call.

    Why: whether a model ends with logits or probabilities is seen on its graph alone. If it changes: AttributeError in
    `compile`.
    """
    operation, node, index = tensor._keras_history
    arguments = operation._inbound_nodes[node].arguments
    return operation, index, arguments.args, arguments.kwargs


def unwrap(loss_or_metric: Any) -> Any:
    """The function that Keras wrapped as a loss or a metric, with its arguments bound; anything else as it is.

    Why: `from_logits` is among these arguments. If it changes: a loss that does not fit the output is not refused.
    """
    function = getattr(loss_or_metric, "fn", None) or getattr(loss_or_metric, "_fn", None)
    arguments = getattr(loss_or_metric, "_fn_kwargs", {})
    return functools.partial(function, **arguments) if callable(function) else loss_or_metric


def keep_short(error: ValueError) -> ValueError:
    """The error, to which neither Keras adds the layer and its arguments nor TensorFlow's AutoGraph the code.

    If it changes: the sentence of an error is followed by pages.
    """
    error._keras_call_info_injected = error.ag_pass_through = True  # type: ignore[attr-defined]
    return error


def with_constants(function: Any) -> Any:
    """A concrete function of TensorFlow with the values of its variables in the graph.

    Why: a file that is optimized for processors holds kernels as constants, which oneDNN lays out once, and nothing
    public makes them such. If it changes: ImportError, or `optimize="cpu"` fails.

    Args:
        function: as `get_concrete_function` gives it; all of its graph has less than 2 GiB.
    """
    return convert_variables_to_constants_v2(function)


@contextlib.contextmanager
def quick_deletion() -> Iterator[None]:
    """Within it, collections of garbage pass over all objects that there were before.

    Why: Keras collects garbage for each weight that a layer deletes, and quantizing deletes one in each layer: to look
    through all objects of the process so often was 26 of the 27 seconds that it took for a ViT-S/16. If it changes:
    nothing but time is lost.
    """
    if gc.get_freeze_count():  # As servers do before they fork; theirs stay apart.
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def unlocked(layer: keras.layers.Layer) -> Iterator[None]:
    """Within it, a layer that was built takes variables.

    Why: those of an attention go over to its output projection when that is quantized or gets LoRA. If it changes:
    AttributeError, or Keras' ValueError that the layer is built already.
    """
    was_locked = layer._tracker.locked
    layer._tracker.unlock()
    try:
        yield
    finally:
        if was_locked:
            layer._tracker.lock()


class SummedGradients:
    """Mixin for optimizers that update weights with gradients which are summed over the replicas already.

    Why: Keras clips the gradient of each replica and then sums; clipping must come after the sum, and a second sum
    would cost a round of communication. If it changes: gradients would be summed twice, and `update_weights` says so.
    """

    _was_asked = False

    def update_weights(self, gradients: Sequence[Any], variables: Sequence[Any] | None = None) -> None:
        """As `apply` of Keras' optimizers, of summed gradients.

        Raises:
            RuntimeError: this Keras sums gradients elsewhere.
        """
        self._was_asked = False
        super().apply(gradients, variables)  # type: ignore[misc]
        if not self._was_asked and keras.backend.backend() == "tensorflow":
            raise RuntimeError(f"Keras {keras.__version__} sums gradients elsewhere than Keras 3.15; use Keras 3.15.")

    def _all_reduce_sum_gradients(self, gradients_and_variables: Any) -> list[Any]:
        self._was_asked = True
        return list(gradients_and_variables)


class ToldOfScaling:
    """Mixin for optimizers that want to know whether Keras' LossScaleOptimizer was put around them.

    Why: `compile` does so for models in float16, tells nobody, and that class is wrong under a strategy. If it changes:
    such a model trains on several replicas with a check of the first one alone.
    """

    is_scaled_by_keras = False

    def __setattr__(self, name: str, value: Any) -> None:
        # The constructor sets it, too, and first.
        if name == "loss_scale_factor" and hasattr(self, name):
            super().__setattr__("is_scaled_by_keras", True)
        super().__setattr__(name, value)


class DecayInUpdateStep:
    """Mixin for optimizers whose `update_step` has the weight decay.

    Why: Keras puts the learning rate's schedule into the graph once for each variable, and decays before the update. If
    it changes: weights decay twice.
    """

    def _apply_weight_decay(self, variables: Any) -> None:
        """Nothing."""

    def is_decayed(self, variable: Any) -> bool:
        """Whether a variable was not excluded with `exclude_from_weight_decay`."""
        return self._use_weight_decay(variable)  # type: ignore[attr-defined]


def adam_slots(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[keras.Variable, keras.Variable]:
    """The averages of a variable's gradient and of its square.

    Why: with slots of its own, an optimizer could not go on from files of today. If it changes: AttributeError.
    """
    index = variable_index(optimizer, variable)
    return optimizer._momentums[index], optimizer._velocities[index]


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """The place of a variable among those that an optimizer was built with, on any replica.

    Why: Keras' own guide to writing an optimizer uses it, and there is no other way under a strategy. If it changes:
    AttributeError.
    """
    return optimizer._get_variable_index(variable)


def built_for(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables that an optimizer was built with, which gradients without variables belong to.

    Why: where nothing may stand in a condition, an update that comes too early is taken back. If it changes:
    AttributeError.
    """
    return optimizer._trainable_variables


def clip_gradients(optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any]) -> list[Any]:
    """Gradients as an optimizer clips them before it follows them: by `global_clipnorm` and the like.

    Why: an optimizer around another one clips for it, on every backend. If it changes: AttributeError.
    """
    return list(optimizer._clip_gradients(list(gradients)))


class BuiltInFirstStep(keras.Model):
    """A model that makes the variables of its metrics itself, before its first step.

    Why: to make them, Keras throws a batch away and ends in an error under `MultiWorkerMirroredStrategy`, as long as
    https://github.com/keras-team/keras/issues/20585 is open. If it changes: training on two machines fails, and the
    check of the number of batches is left out.
    """

    def check_steps(self, steps_per_epoch: int | None, num_batches: int | None) -> None:
        """Refuses numbers of batches that the model cannot go through.

        Args:
            steps_per_epoch: as for `fit`, or the steps of `evaluate`.
            num_batches: of an epoch, as far as it is known.
        """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if iterator is not None:
            self.check_steps(iterator.steps_per_epoch, iterator.num_batches)


class DatasetAround(tf.data.Dataset):
    """A data set of tf.data with methods and attributes of its own around another one.

    Why: TensorFlow has no public way of adding to a data set. If it changes: TypeError when one is made.
    """

    def __init__(self, dataset: tf.data.Dataset) -> None:
        self._inner = dataset
        super().__init__(tf.data.experimental.to_variant(dataset))

    def _inputs(self) -> list[tf.data.Dataset]:
        return [self._inner]

    @property
    def element_spec(self) -> Any:
        """Shapes and dtypes of an element."""
        return self._inner.element_spec


def made_of(dataset: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    """A data set of tf.data, and all that its stages were put upon.

    Why: attributes of a data set are not those of what `map` and others make of it. If it changes: AttributeError when
    several machines train on JAX.
    """
    yield dataset
    for inner in dataset._inputs():
        yield from made_of(inner)


def set_cardinality(batches: tf.distribute.DistributedDataset, count: int) -> None:
    """Tells distributed batches how many they are.

    Why: TensorFlow counts the parts of all replicas as batches, and Keras knows distributed data by TensorFlow's class,
    so that no other object can stand in. If it changes: `fit` warns that the data came to an end.
    """
    batches._cardinality = count


def tflite_operations(interpreter: Any) -> list[dict[str, Any]] | None:
    """The operations that an interpreter of LiteRT runs: "op_name", "inputs" and "outputs"; None if it does not say.

    Why: how much of a file a delegate computes is said nowhere else. If it changes: reports leave that out.
    """
    ask = getattr(interpreter, "_get_ops_details", None)
    return None if ask is None else ask()


def sentencepiece_tokenizer(content: bytes) -> Any:
    """TF Text's `SentencepieceTokenizer` of a model, to int32, whose model outlives `keras.utils.set_random_seed`.

    Why: TF Text lets the operation that makes a model own it, and TensorFlow throws operations away whenever it is
    seeded; a name makes the model TensorFlow's own, one for each content. If it changes: AttributeError, or
    NotFoundError from a tokenizer after a seed.

    Raises:
        tf.errors.OpError: SentencePiece does not read it.
    """
    import tensorflow_text as text
    from tensorflow_text.python.ops.sentencepiece_tokenizer import gen_sentencepiece_tokenizer as operations

    class Model(tf.saved_model.experimental.TrackableResource):
        def _create_resource(self) -> tf.Tensor:
            name = f"sentencepiece_{hashlib.sha256(content).hexdigest()}"
            return operations.sentencepiece_op(model=content, shared_name=name)

    tokenizer = text.SentencepieceTokenizer(content, out_type=tf.int32)
    tokenizer._model_resource = Model()
    return tokenizer
