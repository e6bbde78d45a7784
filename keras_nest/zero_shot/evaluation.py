"""Zero-shot accuracy on a data set: top-1, top-5, and of each class."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from keras_nest.data.checks import check_whole_number
from keras_nest.data.host import cores, with_own_threads
from keras_nest.data.mixing import check_labels
from keras_nest.data.prompts import Progress, silent
from keras_nest.data.sources import ONLY_HOST, Example, Examples, Source, open_source
from keras_nest.data.sources.base import decode
from keras_nest.data.sources.folder import TEST_SPLITS
from keras_nest.metrics import accuracy, top5
from keras_nest.places import as_place
from keras_nest.zero_shot.classifier import ZeroShotClassifier


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What was measured; shares are in [0, 1].

    Attributes:
        top1: images whose label is the most probable one.
        top5: images whose label is among the five most probable ones.
        images: int64 (K,), images of each class.
        per_class: float64 (K,), top1 of each class; NaN of those without images.
    """

    top1: float
    top5: float
    images: np.ndarray
    per_class: np.ndarray


def evaluate(
    classifier: ZeroShotClassifier, examples: Examples, batch_size: int = 32, progress: Progress = silent
) -> Evaluation:
    """Zero-shot accuracy. A label that is only as probable as another one is not the right answer, nor is NaN.

    Args:
        classifier: whose labels are the classes, in their order.
        examples: images, which go through the model's own preprocessing, and classes.
        batch_size: images at a time.
        progress: is shown meanwhile.

    Raises:
        ValueError: there are no images, a class has no label, images have captions, or batch_size is below 1.
    """
    check_whole_number("batch_size", batch_size, 1)
    if not len(examples):
        raise ValueError("There are no images to evaluate on.")

    def prepare(example: Example) -> tuple[tf.Tensor, tf.Tensor]:
        return classifier.embedder.preprocess(decode(example)), example.label

    images = examples.in_order(ONLY_HOST).map(prepare, cores(), deterministic=True)
    batches = iter(with_own_threads(images.batch(batch_size).prefetch(tf.data.AUTOTUNE)))
    found: list[tuple[np.ndarray, ...]] = []
    for _ in progress(range(0, len(examples), batch_size), "classifying"):
        pixels, classes = next(batches)
        if not classes.dtype.is_integer:
            raise ValueError("The images have captions instead of classes; `retrieval_recalls` measures those.")
        check_labels(classes, len(classifier.labels))
        logits = tf.constant(classifier.compare(classifier.embedder.prepared(pixels)))
        found.append((classes.numpy(), accuracy(classes, logits).numpy(), top5(classes, logits).numpy()))
    classes, first, fifth = (np.concatenate(part) for part in zip(*found, strict=True))
    return _summary(classes, first, fifth, len(classifier.labels))


def _summary(classes: np.ndarray, first: np.ndarray, fifth: np.ndarray, num_classes: int) -> Evaluation:
    images = np.bincount(classes, minlength=num_classes)
    right = np.bincount(classes, first, minlength=num_classes)
    per_class = np.divide(right, images, out=np.full(num_classes, np.nan), where=images > 0)
    return Evaluation(float(first.mean()), float(fifth.mean()), images, per_class)


def open_test_images(name: str, split: str | None = None, data_dir: str | None = None) -> Source:
    """A data set of which only the test images are wanted; a folder needs no others.

    Args:
        name: as `keras_nest.data.open_source` takes it.
        split: which part; None takes "test" or "validation", whichever there is.
        data_dir: where TFDS finds its data.

    Raises:
        ValueError: as `open_source`.
        FileNotFoundError: likewise.
        ModuleNotFoundError: likewise.
    """
    folder = as_place(os.path.expanduser(name))
    train_split = "train"
    if folder.is_dir() and not (folder / train_split).is_dir():
        there = [part for part in (split, *TEST_SPLITS) if part and (folder / part).is_dir()]
        train_split = there[0] if there else train_split
    return open_source(name, train_split, split, data_dir)
