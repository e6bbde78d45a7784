"""From a data set and a recipe to batches, the same on every run."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import tensorflow as tf

from keras_nest.data.checks import check_whole_number
from keras_nest.data.host import cores, prepared_elsewhere, with_own_threads
from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.mixing import check_labels
from keras_nest.data.recipes import Recipe, as_uint8
from keras_nest.data.sources.base import ONLY_HOST, Example, Host, Source
from keras_nest.keras_private import DatasetAround
from keras_nest.specs import PreprocessingSpec
from keras_nest.types import Size

Transfer: TypeAlias = Literal["float32", "uint8"]
"""How images travel to the accelerator."""
Target: TypeAlias = Callable[[Example, tf.Tensor], tf.Tensor]
"""(example, key (2,)) -> scalar."""


class PreparedBatches(DatasetAround):
    """Batches that say how their images were prepared; else an ordinary `tf.data.Dataset`.

    Attributes:
        preprocessing: of the recipe, which the model that takes them should have, too; it says so in `fit` and
            `evaluate` if not. None where it is not known.

    Args:
        batches: the data set.
        preprocessing: see above.
    """

    def __init__(self, batches: tf.data.Dataset, preprocessing: PreprocessingSpec | None) -> None:
        self.preprocessing = preprocessing
        super().__init__(batches)


class TrainBatches(PreparedBatches):
    """Endless training batches that can start anywhere.

    An ordinary `tf.data.Dataset`, but for `skip`, which neither reads nor decodes what it leaves out; so a training
    that resumes at step k takes `batches.skip(k)`.

    Args:
        start_at: number of batches to leave out -> the others.
        steps_per_epoch: full batches in the data set.
        first_step: number of batches that are left out.
        preprocessing: of the images; None where it is not known.
    """

    def __init__(
        self,
        start_at: Callable[[int], tf.data.Dataset],
        steps_per_epoch: int,
        first_step: int = 0,
        preprocessing: PreprocessingSpec | None = None,
    ) -> None:
        self.steps_per_epoch = steps_per_epoch
        self._start_at, self._first_step = start_at, first_step
        super().__init__(start_at(first_step), preprocessing)

    def skip(self, count: int, name: str | None = None) -> "TrainBatches":
        """The same batches without the next `count`.

        Raises:
            ValueError: `count` is negative.
        """
        if count < 0:
            raise ValueError(f"count is {count}; it must be 0 or more batches.")
        if count == 0:
            return self  # Building the graph anew takes seconds.
        return TrainBatches(self._start_at, self.steps_per_epoch, self._first_step + int(count), self.preprocessing)


def train_batches(
    source: Source,
    recipe: Recipe,
    image_size: Size,
    batch_size: int,
    seed: int,
    host: Host = ONLY_HOST,
    transfer: Transfer = "float32",
    target: Target | None = None,
    service: str | None = None,
) -> TrainBatches:
    """Endless shuffled and augmented batches.

    Epochs follow each other without a gap: what does not fill a batch begins the next one, so that each epoch has each
    image once. The order depends on (seed, epoch) alone, the augmentation of an image on (seed, its place in the whole
    stream), the mixing of a batch on (seed, its number).

    Args:
        source: the data set.
        recipe: what happens to its images.
        image_size: (height, width) in pixels.
        batch_size: images a step, of all hosts together.
        seed: of everything random.
        host: which of the processes that train together this is; each gets its own images.
        transfer: "float32" gives finished batches; "uint8" a quarter of the bytes, for `Recipe.finish` in the train
            step.
        target: what stands in the place of the labels; None are the labels.
        service: address of a tf.data service whose workers prepare them, as `prepared_elsewhere` takes it; None is
            this machine.

    Returns:
        "float32": images float32 (B, H, W, C); labels int32 (B,), or float32 (B, K) if the recipe mixes, or if an
        image has several or a number. "uint8": (images uint8 (B, H, W, C), keys int64 (B, 2)), labels likewise, not
        mixed. B is the share of one host.

    Raises:
        ValueError: the batch cannot be filled or divided among the hosts, the seed is too large, unknown `transfer`, or
            an address that is none.
        ConnectionError: no service answers.
    """
    if transfer not in ("float32", "uint8"):
        raise ValueError(f"transfer is {transfer!r}; it must be 'float32' or 'uint8'.")
    check_whole_number("seed", seed, -(2**63))
    if seed >= 2**63:
        raise ValueError(f"seed is {seed}; it must be a number of 64 bits.")
    share, count = _share(batch_size, host), len(source.train)
    if batch_size > count:
        raise ValueError(f"A batch of {batch_size} cannot be filled from {count} training images.")

    def prepare(step: tf.Tensor, example: Example) -> Any:
        position = step * host.count + host.index
        key = derive_key(seed, Stream.EXAMPLE, position)
        label = (
            _label(source, example) if target is None else target(example, derive_key(seed, Stream.CAPTION, position))
        )
        if transfer == "uint8":
            return (as_uint8(recipe.pixels(example, key, image_size)), key), label
        return recipe.train_image(example, key, image_size), label

    def mix(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        key = derive_key(seed, Stream.BATCH, step * host.count + host.index)
        return recipe.mix(*batch, key, source.info.num_classes)  # type: ignore[misc]

    def start_at(first_step: int) -> tf.data.Dataset:
        first = first_step * share
        examples = source.train.shuffled(seed, host, first).enumerate(first)
        prepared = examples.map(prepare, cores(), deterministic=True)
        batches = prepared.batch(share, drop_remainder=True)
        if recipe.mix is not None and transfer == "float32":
            # A tenth of the work, on whole batches, which take memory.
            at_once = max(2, cores() // 8)
            batches = batches.enumerate(first_step).map(mix, at_once, deterministic=True)
        batches = with_own_threads(batches)
        batches = batches if service is None else prepared_elsewhere(batches, service)
        return batches.prefetch(tf.data.AUTOTUNE)

    return TrainBatches(start_at, count // batch_size, preprocessing=recipe.preprocessing)


def eval_batches(
    source: Source, recipe: Recipe, image_size: Size, batch_size: int, host: Host = ONLY_HOST
) -> PreparedBatches:
    """Every test image once, among all hosts together.

    All batches are full and every host has the same number of them, so that replicas stay in step: what is missing is
    filled up with black images whose weight is 0.

    Args:
        source: the data set.
        recipe: how test images are resized, cropped and normalized.
        image_size: (height, width) in pixels.
        batch_size: images a step, of all hosts together.
        host: which of the processes that evaluate together this is.

    Returns:
        Images float32 (B, H, W, C); labels int32 (B,), of images with captions their numbers, or float32 (B, K);
        weights float32 (B,), 1 for images and 0 for the filling, which Keras takes as sample weights. B is the share of
        one host.

    Raises:
        ValueError: the batch cannot be divided among the hosts.
    """
    share, count = _share(batch_size, host), len(source.test)
    largest_part = -(-count // host.count)
    padded = -(-largest_part // share) * share

    def prepare(number: tf.Tensor, example: Example) -> tuple[tf.Tensor, ...]:
        label = tf.cast(number, tf.int32) if source.info.has_captions else _label(source, example)
        return recipe.test_image(example, image_size), label, tf.constant(1.0)

    numbered = source.test.in_order(host).enumerate(host.part(count).start)
    images = numbered.map(prepare, cores(), deterministic=True)
    label = images.element_spec[1]
    nothing = (tf.zeros((*image_size, recipe.channels)), tf.zeros(label.shape, label.dtype), 0.0)
    filling = tf.data.Dataset.from_tensors(nothing)
    filled = images.concatenate(filling.repeat(padded - len(host.part(count))))
    batches = with_own_threads(filled.batch(share, drop_remainder=True)).prefetch(tf.data.AUTOTUNE)
    counted = batches.apply(tf.data.experimental.assert_cardinality(padded // share))
    return PreparedBatches(counted, recipe.preprocessing)


def without_filling(batches: tf.data.Dataset) -> PreparedBatches:
    """Test batches for one device, where the last may be smaller: images and labels of weight 1 alone."""

    def kept(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.boolean_mask(images, weights > 0), tf.boolean_mask(labels, weights > 0)

    return PreparedBatches(batches.map(kept, tf.data.AUTOTUNE), getattr(batches, "preprocessing", None))


def _share(batch_size: int, host: Host) -> int:
    """Images of a batch that belong to one host."""
    check_whole_number("batch_size", batch_size, 1)
    if batch_size % host.count:
        raise ValueError(f"A batch of {batch_size} cannot be divided evenly among {host.count} hosts.")
    return batch_size // host.count


def _label(source: Source, example: Example) -> tf.Tensor:
    if source.info.has_captions:
        raise ValueError(f"{source.info.name} has captions and no classes; only a LiT learns from them.")
    if source.info.target.is_single_label:
        check_labels(example.label, source.info.num_classes)
    return example.label
