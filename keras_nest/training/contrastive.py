"""Contrastive tuning of image and text towers: every image against every text of the global batch.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, figure 3; Zhai et
al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022, section 3.2 (global loss).
"""

from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor as Tensor
from keras import ops

from keras_nest.backends import on_tensorflow
from keras_nest.models.lit import LiT
from keras_nest.models.losses import cross_entropy
from keras_nest.training.sharpness import SharpnessAware
from keras_nest.training.trainer import Trainer


class ContrastiveTrainer(Trainer):
    """Tunes a LiT on matching images and texts with `compile` and `fit`, on any number of devices.

    >>> with strategy.scope():
    ...     model.image_model.trainable = False
    ...     trainer = ContrastiveTrainer(model)
    ...     trainer.compile(AdamW(1e-3))
    >>> trainer.fit(batches, epochs=10, shuffle=False)  # of {"images": (B, H, W, C), "tokens": (B, N)}
    >>> model.save("lit.keras")

    The loss is that of the global batch: embeddings of all replicas are gathered, and gradients flow back to where they
    came from, so that the number of replicas changes nothing but rounding. (On JAX a step has the global batch.) `fit`
    logs as `accuracy` the share of images whose own text, or one of the same words, is the most similar of the batch.

    Args:
        model: of both towers; freeze the one that is locked.
        clip_norm: as for `Trainer`.
        sharpness: as for `Trainer`.

    Raises:
        ValueError: the model is no LiT, `clip_norm` is negative, or as for `Trainer`.
    """

    def __init__(self, model: LiT, clip_norm: float | None = None, sharpness: SharpnessAware | None = None) -> None:
        if not isinstance(model, LiT):
            raise ValueError(f"{type(model).__name__} has no two towers; contrastive training takes a LiT.")
        super().__init__(model, clip_norm, sharpness=sharpness)

    def resolve_jit(self, jit_compile: Any = "auto", run_eagerly: bool = False, **options: Any) -> bool:
        """As that of `Trainer`, on one device.

        Raises:
            ValueError: it is True under a strategy, where replicas exchange embeddings in the forward pass.
        """
        if jit_compile is True and on_tensorflow() and self.distribute_strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "jit_compile=True is not for a LiT on several replicas, which exchange embeddings; leave it out."
            )
        return super().resolve_jit(jit_compile, run_eagerly=run_eagerly, **options)

    @property
    def output_names(self) -> list[str]:
        """An AttributeError: similarities are one output, which has no name."""
        raise AttributeError("The output of a ContrastiveTrainer has no name.")

    def call(self, inputs: dict[str, Any], training: bool | None = None) -> Any:
        """Similarities (b, 2, B) of a replica's images to all texts, and of its texts to all images."""
        outputs = self.model(inputs, training=training)
        images, texts = outputs["zimg"], outputs["ztxt"]
        to_texts = ops.matmul(images, ops.transpose(gather(texts)))
        to_images = ops.matmul(texts, ops.transpose(gather(images)))
        return outputs["t"] * ops.stack([to_texts, to_images], axis=1)

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """As for `Trainer`; loss and metrics are there already.

        Raises:
            ValueError: as `Trainer.compile`.
        """
        match = keras.metrics.MeanMetricWrapper(image_to_text_accuracy, name="accuracy")
        chosen = [match] if metrics is None else metrics
        super().compile(optimizer, loss or contrastive_loss, loss_weights, chosen, weighted_metrics, **options)

    def train_step(self, *state_and_data: Any) -> Any:
        """As `Trainer.train_step`, of images and texts; on JAX the state comes first."""
        *state, data = state_and_data
        return super().train_step(*state, _with_matches(data))

    def test_step(self, *state_and_data: Any) -> Any:
        """As `Trainer.test_step`, likewise."""
        *state, data = state_and_data
        return super().test_step(*state, _with_matches(data))

    def compute_loss(self, x: Any = None, y: Any = None, *outputs: Any, **options: Any) -> Any:
        """As for every Keras model; Keras on JAX asks before the first step, without matches."""
        return super().compute_loss(x, y if _are_matches(y) else _matches(x), *outputs, **options)

    def compute_metrics(self, x: Any, y: Any, *outputs: Any, **options: Any) -> dict[str, Any]:
        """Likewise."""
        return super().compute_metrics(x, y if _are_matches(y) else _matches(x), *outputs, **options)

    def measured(self, batch: Any, prepare: Any = None) -> tuple[Any, Any, Any]:
        """Matches and similarities, see `contrastive_loss`."""
        return keras.KerasTensor((None, None), "int32"), keras.KerasTensor((None, 2, None)), None


def contrastive_loss(matches: Tensor, similarities: Tensor) -> Tensor:
    """Mean of the two cross-entropies of each pair: its text among all texts, its image among all images.

    Args:
        matches: integer (b, B), largest where the pair of a row is in the global batch.
        similarities: float (b, 2, B), see `ContrastiveTrainer.call`.

    Returns:
        float32 (b,).
    """
    places = ops.argmax(matches, axis=-1)
    return (cross_entropy(places, similarities[:, 0]) + cross_entropy(places, similarities[:, 1])) / 2


def image_to_text_accuracy(matches: Tensor, similarities: Tensor) -> Tensor:
    """Whether the text most similar to each image is its own, or one of the same words.

    Args:
        matches: integer (b, B), above 0 for such texts.
        similarities: as above.

    Returns:
        float32 (b,), 1 or 0.
    """
    best = ops.argmax(similarities[:, 0], axis=-1, keepdims=True)
    return ops.cast(ops.take_along_axis(matches, best, axis=-1)[:, 0] > 0, "float32")


def gather(values: Any) -> Any:
    """Rows of all replicas, in their order: float (b, C) -> (B, C); differentiable, for use inside a step.

    A sum in which each replica fills its own place, since `all_gather` has no gradient on every strategy.
    """
    if not on_tensorflow():
        return values
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync
    if replicas == 1:
        return values
    place = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=values.dtype)
    spread = context.all_reduce(tf.distribute.ReduceOp.SUM, place[:, None, None] * values[None])
    return tf.reshape(spread, (-1, values.shape[-1]))


def _with_matches(data: Any) -> tuple[Any, Any]:
    """A replica's batch, and what matches in it."""
    inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    return inputs, _matches(inputs)


def _are_matches(labels: Any) -> bool:
    return len(getattr(labels, "shape", ())) == 2


def _matches(inputs: Any) -> Any:
    """int32 (b, B): 2 where a text is an image's own, 1 where it has the same tokens, else 0."""
    tokens = ops.cast(inputs["tokens"], "float32")
    everything = gather(tokens)
    same = ops.all(tokens[:, None] == everything[None], axis=-1)
    rows = ops.shape(tokens)[0]
    own = _replica() * rows + ops.arange(rows)
    return ops.cast(same, "int32") + ops.one_hot(own, ops.shape(everything)[0], dtype="int32")


def _replica() -> Any:
    """Which of the replicas this one is, from 0."""
    if not on_tensorflow():
        return 0
    return tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
