"""Batches of images and token ids, for LiT."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_nest.data.pipeline import TrainBatches, train_batches
from keras_nest.data.recipes import Recipe
from keras_nest.data.sources.base import ONLY_HOST, Example, Host, Source
from keras_nest.tokenizers import Tokenizer
from keras_nest.types import Size


@dataclasses.dataclass(frozen=True)
class Captions:
    """What images are called.

    Attributes:
        tokenizer: of the text tower.
        of_classes: all captions of each class, one a line; empty if images come with captions of their own.
    """

    tokenizer: Tokenizer
    of_classes: tuple[str, ...] = ()

    def pick(self, example: Example, key: tf.Tensor) -> tf.Tensor:
        """One caption of an image at random, a string scalar.

        Args:
            example: image, and class or captions.
            key: integer (2,).
        """
        lines = tf.gather(self.of_classes, example.label) if self.of_classes else example.label
        captions = tf.strings.split(lines, "\n")
        return captions[tf.random.stateless_uniform([], key, maxval=tf.size(captions), dtype=tf.int32)]

    def of_test(self, source: Source) -> tuple[str, ...]:
        """All captions of each class, or of each test image of its own; one a line."""
        if self.of_classes:
            return self.of_classes
        examples = source.test.in_order(ONLY_HOST)
        return tuple(label.decode() for _, label, _ in examples.as_numpy_iterator())


def captions_of_classes(class_texts: Sequence[str], templates: Sequence[str]) -> tuple[str, ...]:
    """Captions of classes, as `Captions` has them.

    Args:
        class_texts: what stands for each class.
        templates: sentences with `{}` for it.
    """
    return tuple("\n".join(template.replace("{}", text) for template in templates) for text in class_texts)


def captioned_batches(
    source: Source,
    recipe: Recipe,
    image_size: Size,
    batch_size: int,
    seed: int,
    host: Host = ONLY_HOST,
    *,
    captions: Captions,
    service: str | None = None,
) -> TrainBatches:
    """Endless batches of matching images and texts; order and augmentation are those of `train_batches`.

    Args:
        source: the data set.
        recipe: what happens to its images; it mixes none.
        image_size: (height, width) in pixels.
        batch_size: pairs a step, of all hosts together.
        seed: of everything random.
        host: which of the processes that train together this is.
        captions: what images are called; which one of several is drawn anew each time.
        service: as for `train_batches`.

    Returns:
        {"images": float32 (B, H, W, 3), "tokens": int32 (B, N)}; B is the share of one host.

    Raises:
        ValueError: the recipe mixes images, or as `train_batches`.
        ConnectionError: no service answers.
    """
    if recipe.mix is not None:
        raise ValueError("The recipe mixes images, and a mixed image has no text; leave `mix` out.")
    batches = train_batches(source, recipe, image_size, batch_size, seed, host, target=captions.pick, service=service)

    def tokenize(images: tf.Tensor, texts: tf.Tensor) -> dict[str, Any]:
        # TensorFlow forgets the size of the batch in the tokenizer.
        tokens = tf.ensure_shape(captions.tokenizer(texts), (images.shape[0], captions.tokenizer.max_len))
        return {"images": images, "tokens": tokens}

    def start_at(first_step: int) -> tf.data.Dataset:
        return batches.skip(first_step).map(tokenize, tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)

    return TrainBatches(start_at, batches.steps_per_epoch, preprocessing=batches.preprocessing)
