"""The images that a report shows: some of those that were measured, the most wrong and the most unsure."""

import contextlib
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_nest.evaluation.images import LabeledImages
from keras_nest.evaluation.measure import Answers
from keras_nest.opening import LoadedModel
from keras_nest.predict.predictor import Predictor
from keras_nest.report.pictures import thumbnail, where_it_looks

_SAMPLES, _WRONG, _UNSURE = 8, 12, 8
_UNSURE_BELOW = 0.5  # that the first answer is ahead
_TOP = 3


class Card(NamedTuple):
    """An image and the answers to it.

    Attributes:
        file: name of its file, and of the folder that it lies in.
        path: the whole path.
        label: what it shows.
        is_right: whether the first answer is that.
        answers: (class, probability) of the most probable classes, best first.
        picture: data address of what the model sees.
        heat: the same with what speaks for the first answer glowing; None where that cannot be told.
    """

    file: str
    path: str
    label: str
    is_right: bool
    answers: list[tuple[str, float]]
    picture: str
    heat: str | None


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


def _cards(
    shown: Sequence[int],
    pixels: Sequence[np.ndarray],
    answers: Answers,
    predictor: Predictor,
    loaded: LoadedModel | None,
) -> list[Card]:
    predicted = [int(answers.predicted[k]) for k in shown]
    pairs: Sequence[tuple[str, str | None]] = [(thumbnail(image), None) for image in pixels]
    if loaded is not None:
        # A model of a user's need not be one that can be looked into.
        with contextlib.suppress(ValueError):
            pairs = where_it_looks(loaded, pixels, predicted)
    cards = []
    for k, image, (picture, heat) in zip(shown, pixels, pairs, strict=True):
        (shares,) = predictor.probabilities([image])
        best = np.argsort(-shares, kind="stable")[:_TOP]
        path = answers.names[k]
        top = [(predictor.name_of(int(index)), float(shares[index])) for index in best]
        label = predictor.name_of(int(answers.labels[k]))
        cards.append(
            Card(
                os.path.join(*pathlib.PurePath(path).parts[-2:]),
                path,
                label,
                bool(answers.right[k]),
                top,
                picture,
                heat,
            )
        )
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
