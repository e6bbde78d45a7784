"""The images that a report shows: some of those that were measured, the most wrong and the most unsure."""

import contextlib
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_nest.evaluation.images import LabeledImages
from keras_nest.evaluation.measure import Answers
from keras_nest.evaluation.other_tasks import AllAnswers
from keras_nest.opening import LoadedModel
from keras_nest.predict.predictor import Predictor
from keras_nest.report.pictures import thumbnail, where_it_looks
from keras_nest.targets import REGRESSION

_SAMPLES, _WRONG, _UNSURE = 8, 12, 8
_UNSURE_BELOW = 0.5  # that the first answer is ahead
_TOP = 3


class Card(NamedTuple):
    """An image and the answers to it.

    Attributes:
        file: name of its file, and of the folder that it lies in.
        path: the whole path.
        label: what it shows, in words.
        truth: names of the classes that it shows.
        is_right: whether the answer is that.
        answers: (class, probability) of the most probable classes, best first.
        picture: data address of what the model sees.
        heat: the same with what speaks for the first answer glowing; None where that cannot be told.
        told: the answer in words, where it is a number.
    """

    file: str
    path: str
    label: str
    truth: tuple[str, ...]
    is_right: bool
    answers: list[tuple[str, float]]
    picture: str
    heat: str | None
    told: str = ""


def make_cards(
    images: LabeledImages, answers: Answers, predictor: Predictor, loaded: LoadedModel | None
) -> dict[str, list[Card]]:
    """Cards of "samples", of the most "wrong" and of the most "unsure" images.

    Args:
        images: that were measured.
        answers: of the model.
        predictor: the model.
        loaded: the same as a Keras model, which alone can be looked into; None if it is none.

    Raises:
        ValueError: a file cannot be read any more.
        OSError: likewise.
    """
    groups = {"samples": _samples(answers), "wrong": _most_wrong(answers), "unsure": _most_unsure(answers)}
    shown = sorted({int(k) for group in groups.values() for k in group})
    pixels = images.find([answers.names[k] for k in shown])
    cards = dict(zip(shown, _cards(shown, pixels, answers, predictor, loaded), strict=True))
    return {name: [cards[int(k)] for k in group] for name, group in groups.items()}


def make_cards_of_all(images: LabeledImages, found: AllAnswers, loaded: LoadedModel | None) -> dict[str, list[Card]]:
    """Cards of "samples" and of the most "wrong" images that have several classes or a number; as `make_cards`."""
    order = np.argsort(-found.losses, kind="stable")[:_WRONG]
    groups = {"samples": np.random.default_rng(0).permutation(len(found.names))[:_SAMPLES], "wrong": order}
    shown = sorted({int(k) for group in groups.values() for k in group})
    pixels = images.find([found.names[k] for k in shown])
    pairs = _pictures(pixels, [int(found.answers[k].argmax()) for k in shown], loaded)
    cards = {k: _card_of_all(found, k, *pair) for k, pair in zip(shown, pairs, strict=True)}
    return {name: [cards[int(k)] for k in group] for name, group in groups.items()}


def _card_of_all(found: AllAnswers, k: int, picture: str, heat: str | None) -> Card:
    path = found.names[k]
    file = os.path.join(*pathlib.PurePath(path).parts[-2:])
    if found.task == REGRESSION:
        (number,), (answer,) = found.truth[k], found.answers[k]
        told = f"answer {answer:.4g}, {abs(answer - number):.3g} {'above' if answer > number else 'below'}"
        return Card(file, path, f"{found.class_names[0]} {number:.4g}", (), True, [], picture, heat, told)
    truth = tuple(name for name, has in zip(found.class_names, found.truth[k], strict=True) if has)
    best = np.argsort(-found.answers[k], kind="stable")[: max(_TOP, len(truth))]
    top = [(found.class_names[index], float(found.answers[k, index])) for index in best]
    is_right = bool((found.predicted[k] == (found.truth[k] > 0)).all())
    return Card(file, path, ", ".join(truth) or "none of the classes", truth, is_right, top, picture, heat)


def _pictures(
    pixels: Sequence[np.ndarray], classes: Sequence[int], loaded: LoadedModel | None
) -> Sequence[tuple[str, str | None]]:
    """What a model sees of images, and what speaks for a class of each, where it can be looked into."""
    if loaded is not None:
        # A model of a user's need not be one that can be looked into.
        with contextlib.suppress(ValueError):
            return where_it_looks(loaded, pixels, classes)
    return [(thumbnail(image), None) for image in pixels]


def _cards(
    shown: Sequence[int],
    pixels: Sequence[np.ndarray],
    answers: Answers,
    predictor: Predictor,
    loaded: LoadedModel | None,
) -> list[Card]:
    pairs = _pictures(pixels, [int(answers.predicted[k]) for k in shown], loaded)
    cards = []
    for k, image, (picture, heat) in zip(shown, pixels, pairs, strict=True):
        (shares,) = predictor.probabilities([image])
        best = np.argsort(-shares, kind="stable")[:_TOP]
        path = answers.names[k]
        top = [(predictor.name_of(int(index)), float(shares[index])) for index in best]
        label = predictor.name_of(int(answers.labels[k]))
        file = os.path.join(*pathlib.PurePath(path).parts[-2:])
        cards.append(Card(file, path, label, (label,), bool(answers.right[k]), top, picture, heat))
    return cards


def _samples(answers: Answers) -> np.ndarray:
    """Images of as many classes as possible, spread over all of them; none that was drawn by what came of it."""
    order = np.random.default_rng(0).permutation(len(answers.labels))
    # The first of each class come first, then the second.
    turns = np.zeros(len(order), int)
    seen: dict[int, int] = {}
    for place, k in enumerate(order):
        turns[place] = seen[int(answers.labels[k])] = seen.get(int(answers.labels[k]), -1) + 1
    return order[np.argsort(turns, kind="stable")][:_SAMPLES]


def _most_wrong(answers: Answers) -> np.ndarray:
    order = np.argsort(-answers.losses, kind="stable")
    return order[~answers.right[order]][:_WRONG]


def _most_unsure(answers: Answers) -> np.ndarray:
    order = np.argsort(answers.lead, kind="stable")
    return order[answers.lead[order] < _UNSURE_BELOW][:_UNSURE]
