"""A model's answers to labeled images, and the figures that follow from them."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.evaluation.images import LabeledImage, LabeledImages, Tell
from keras_nest.hints import did_you_mean
from keras_nest.imagenet import find_dataset, read_classes
from keras_nest.metrics import calibration_error, class_scores, reliability
from keras_nest.predict.predictor import Predictor

Progress: TypeAlias = Callable[[Iterable[LabeledImage], int], Iterable[LabeledImage]]
"""Shows how far it is: (images, their number) -> the same images."""

_TOP = 5
_LEAST = float(np.finfo(np.float32).tiny)


class Answers(NamedTuple):
    """What a model said about N images.

    Attributes:
        names: N names of the images.
        labels: int64 (N,), the right classes, as the model counts them.
        predicted: int64 (N,), the most probable classes; of several the wrong one.
        confidence: float64 (N,), their probabilities.
        lead: float64 (N,), how much the most probable class is ahead of the second.
        in_top5: bool (N,), whether the right class is among the five most probable ones.
        losses: float64 (N,), cross-entropy in nats; of probabilities that do not add up to 1, its sum over the classes.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    lead: np.ndarray
    in_top5: np.ndarray
    losses: np.ndarray

    @property
    def right(self) -> np.ndarray:
        """Bool (N,), whether the most probable class is the right one."""
        return self.labels == self.predicted


def match_classes(names: Sequence[str], predictor: Predictor, data: str) -> dict[str, int]:
    """The model's index of each class of the images, by name; ImageNet's classes have their WordNet ids, too.

    Args:
        names: of the classes that the images are of.
        predictor: whose classes have names.
        data: what the images are called, for the messages.

    Raises:
        ValueError: the model's classes have no names, lack one of these, or have it twice.
    """
    known = predictor.class_names
    if predictor.gives_numbers:
        raise ValueError(f"The model gives numbers, and {data} tells classes; --task regression reads numbers.")
    if known is None:
        raise ValueError(
            "The model's classes have no names, by which those of the images could be found; give them, one a line, "
            "with --labels FILE."
        )
    indices: dict[str, list[int]] = {}
    for index, name in enumerate(known):
        indices.setdefault(_composed(name), []).append(index)
    dataset = find_dataset(len(known))
    classes = read_classes(dataset) if dataset else ()
    if tuple(each.name for each in classes) == tuple(known):
        indices = {each.wnid: [index] for index, each in enumerate(classes)} | indices
    found = {name: indices.get(_composed(name), []) for name in names}
    if missing := [name for name, places in found.items() if not places]:
        more = f" and {len(missing) - 1:,} others" if len(missing) > 1 else ""
        raise ValueError(
            f"{data} has images of {missing[0]!r}{more}, which the model does not know; "
            f"{did_you_mean(missing[0], known, count=3)}"
        )
    if twice := [name for name, places in found.items() if len(places) > 1]:
        raise ValueError(f"The model has {twice[0]!r} more than once; give its classes different names with --labels.")
    return {name: places[0] for name, places in found.items()}


def _composed(name: str) -> str:
    """Letters with marks may be written in two ways, and macOS has another one than the rest."""
    return unicodedata.normalize("NFC", name)


def ask(
    predictor: Predictor,
    images: LabeledImages,
    tell: Tell,
    batch_size: int = 32,
    progress: Progress = lambda images, count: images,
) -> Answers:
    """Asks a model about all images.

    Args:
        predictor: the model, which prepares images as its own evaluation does.
        images: whose classes the model knows.
        tell: is given a sentence on each image that cannot be read, which is left out.
        batch_size: images at a time, at most.
        progress: is shown meanwhile.

    Raises:
        ValueError: the model lacks a class, or its answers are no numbers; or no image can be read.
    """
    classes = match_classes(images.labels, predictor, images.name)
    found: list[tuple[np.ndarray, ...]] = []
    names: list[str] = []
    for batch in batches(progress(images.read(tell), images.count), batch_size):
        probabilities = predictor.probabilities([image.pixels for image in batch]).astype(np.float64)
        if not np.isfinite(probabilities).all():
            raise ValueError(f"The model does not answer with numbers, of {batch[0].name} for one (NaN or infinity).")
        names += [image.name for image in batch]
        found.append(_read_answers(probabilities, np.array([classes[image.label] for image in batch])))
    if not found:
        raise ValueError(f"No image of {images.name} can be read.")
    return Answers(tuple(names), *(np.concatenate(column) for column in zip(*found, strict=True)))


def batches(images: Iterable[LabeledImage], size: int) -> Iterator[list[LabeledImage]]:
    """So many images at a time, fewer of large ones."""
    batch: list[LabeledImage] = []
    for image in images:
        batch.append(image)
        if len(batch) == size or sum(each.pixels[..., 0].size for each in batch) > MAX_PIXELS // 2:
            yield batch
            batch = []
    if batch:
        yield batch


def _read_answers(shares: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """The columns of `Answers` behind the names, of probabilities (B, K) and the right classes (B,)."""
    rows = np.arange(len(labels))
    of_right = shares[rows, labels]
    others = shares.copy()
    others[rows, labels] = -1
    best = others.argmax(axis=1)
    # As in training, a class that is only as probable as another one is not the answer.
    predicted = np.where(of_right > others[rows, best], labels, best)
    confidence = shares[rows, predicted]
    shares[rows, predicted] = -1
    ahead = (others >= of_right[:, None]).sum(axis=1)
    return labels, predicted, confidence, confidence - shares.max(axis=1), ahead < _TOP, _losses(others, of_right)


def _losses(others: np.ndarray, of_right: np.ndarray) -> np.ndarray:
    """Cross-entropy (B,), of probabilities of the other classes (B, K), -1 for the right one, and of that (B,)."""
    others = np.maximum(others, 0)
    losses = -np.log(np.maximum(of_right, _LEAST))
    if np.allclose(others.sum(axis=1) + of_right, 1, atol=1e-3):
        return losses
    return losses - np.log(np.maximum(1 - others, _LEAST)).sum(axis=1)


def figures(answers: Answers, class_names: Sequence[str]) -> dict[str, Any]:
    """All figures, as JSON has them.

    Args:
        answers: of a model.
        class_names: of its classes.

    Returns:
        examples, top1, top5, loss; macro_f1, the mean over the classes with images; ece, the expected calibration
        error, and `calibration`, its bins; `classes`: name, images, precision, recall and f1 of each that has images or
        was predicted, in the model's order; `confusion`: for each of these a row, with the images that were taken for
        each of them.
    """
    numbers, positions = np.unique(np.concatenate([answers.labels, answers.predicted]), return_inverse=True)
    labels, predicted = np.split(positions, 2)
    confusion = np.zeros((len(numbers), len(numbers)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    scores = class_scores(confusion)
    bins = reliability(answers.confidence, answers.right)
    return {
        "examples": len(labels),
        "top1": float(answers.right.mean()),
        "top5": float(answers.in_top5.mean()),
        "loss": float(answers.losses.mean()),
        "macro_f1": float(np.mean([score.f1 for score in scores if score.images])),
        "ece": calibration_error(bins),
        "classes": [
            {"name": class_names[number], **score._asdict()} for number, score in zip(numbers, scores, strict=True)
        ],
        "confusion": confusion.tolist(),
        "calibration": [each._asdict() for each in bins],
    }
