"""What the page asks: a model of any kind, the classes of an image, and where they come from."""

import dataclasses
import os
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from keras_nest import page
from keras_nest.data.prompts import PLAIN
from keras_nest.explain.methods import METHODS, Method, choose_method
from keras_nest.explain.view import make_view
from keras_nest.models.lit import LiT
from keras_nest.opening import LoadedModel, open_model
from keras_nest.places import read_lines
from keras_nest.predict.exports import open_saved_model, open_tflite
from keras_nest.predict.open import build_predictor, find_export, is_tflite, name_classes
from keras_nest.predict.predictor import Predictor
from keras_nest.preprocessing import EvalPreprocessing, preprocessor
from keras_nest.zero_shot.classifier import ZeroShotClassifier
from keras_nest.zero_shot.open import open_tokenizer, trained_texts

Labels: TypeAlias = tuple[str, ...]
"""Texts of the classes that a LiT is asked for; empty for other models."""

_NO_LAYERS = f"{page.NOT_SHOWN}: an exported file has no layers; the .keras file that it was made of has."


@dataclasses.dataclass(frozen=True)
class AppModel:
    """A model that may be asked from any number of threads; one question is answered at a time.

    Attributes:
        name: of the model.
        facts: what else there is to say about it, in a few words each.
        labels: texts to begin with, for a model that takes any; None for one whose classes are fixed.
        methods: explanations that the model has, by their names in `METHODS`.
        why_not: why there are none, in a sentence; else "".
        choose: `Labels` -> the predictor.
        prepare: makes the input that is explained; None where nothing is.
    """

    name: str
    facts: tuple[str, ...]
    choose: Callable[[Labels], Predictor]
    labels: Labels | None = None
    methods: Mapping[str, Method] = dataclasses.field(default_factory=dict)
    why_not: str = ""
    prepare: EvalPreprocessing | None = None
    _lock: Any = dataclasses.field(default_factory=threading.Lock, repr=False)

    def predict(self, image: np.ndarray, labels: Labels = ()) -> list[dict[str, Any]]:
        """All classes, the most probable first, as `keras-nest predict --json` has them.

        Args:
            image: uint8 (h, w, 3).
            labels: for a LiT.

        Raises:
            ValueError: the image or the labels are refused, or the model does not answer with numbers.
        """
        with self._lock:
            predictor = self.choose(labels)
            (shares,) = predictor.probabilities([image])
        if not np.isfinite(shares).all():
            raise ValueError("The model does not answer with numbers (NaN or infinity).")
        best = np.argsort(-shares, kind="stable").tolist()
        return [{"class": k, "label": predictor.name_of(k), "probability": float(shares[k])} for k in best]

    def close(self) -> None:
        """Waits for the question that is being answered, and answers none after it.

        A thread that computes while Python ends takes the process down with it.
        """
        self._lock.acquire()

    def explain(self, image: np.ndarray, method: str, index: int) -> dict[str, Any]:
        """Where in an image a class comes from, as `keras-nest explain --json` has it.

        Args:
            image: uint8 (h, w, 3).
            method: one of `methods`.
            index: of the class.

        Returns:
            The facts of a `Finding`; "place" and "clarity" in words; and "view", y0, x0, y1, x1: what of the image the
            model sees, in its pixels.

        Raises:
            ValueError: there is no such method or class, or the image is refused.
        """
        if self.prepare is None or method not in self.methods:
            raise ValueError(self.why_not or f"There is no explanation {method!r}.")
        view = make_view(image, self.prepare)
        with self._lock:
            found = self.methods[method](self.prepare(image), view, index)
        seen = view.to_file(np.array((0, 0, *view.size)))
        return {**found.facts, "place": found.place, "clarity": found.clarity, "view": seen}


def open_app_model(
    source: str,
    weights: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    vocabulary: str | None = None,
    trust: bool = False,
) -> AppModel:
    """Opens whatever classifies images.

    Args:
        source: as `keras_nest.predict.open_predictor` takes it, or a LiT.
        weights: a checkpoint for the name of a model.
        labels: file of class names, one a line; for a LiT of the texts to begin with.
        vocabulary: of a LiT, as `open_lit` takes it.
        trust: also read a .keras file that carries code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no model, or none that classifies images.
        ModuleNotFoundError: a LiT needs tensorflow-text, which is not installed.
    """
    if exported := find_export(source, weights):
        predictor = open_tflite(exported) if is_tflite(exported) else open_saved_model(exported)
        _check_classes(predictor, source)
        kind = "TFLite file" if is_tflite(exported) else "SavedModel"
        predictor = name_classes(predictor, labels) if labels else predictor
        facts = (kind, page.classes(predictor.num_classes))
        return AppModel(_file_name(source), facts, lambda _: predictor, why_not=_NO_LAYERS)
    loaded = open_model(source, weights, trust=trust)
    if isinstance(loaded.model, LiT):
        given = tuple(read_lines(labels, "label")) if labels else None
        return _of_texts(loaded, weights or source, vocabulary, given)
    return _of_classes(loaded, labels)


def _of_classes(loaded: LoadedModel, labels: str | os.PathLike[str] | None) -> AppModel:
    predictor = build_predictor(loaded)
    _check_classes(predictor, loaded.model.name)
    predictor = name_classes(predictor, labels) if labels else predictor
    prepare = preprocessor(loaded.image_model)
    methods, reasons = {}, []
    for name in METHODS:
        try:
            methods[name] = choose_method(name, loaded.image_model, prepare)
        except ValueError as error:
            reasons.append(str(error))
    # The last method is the one for every model.
    why_not = "" if methods else f"{page.NOT_SHOWN}: {reasons[-1]}"
    facts = page.facts(predictor.num_classes, prepare.image_size, loaded.metrics)
    return AppModel(loaded.model.name, facts, lambda _: predictor, None, methods, why_not, prepare)


def _check_classes(predictor: Predictor, name: str) -> None:
    if predictor.gives_numbers:
        raise ValueError(f"{name} gives numbers and no classes, which the page cannot show; `keras-nest predict` does.")


def _of_texts(loaded: LoadedModel, source: str, vocabulary: str | None, given: Labels | None) -> AppModel:
    trained = trained_texts(source)
    tokenizer = open_tokenizer(loaded.model, source, vocabulary)
    classifiers: dict[Labels, ZeroShotClassifier] = {}

    def choose(labels: Labels) -> Predictor:
        templates = trained[1] if trained and labels == trained[0] else PLAIN
        # The last one is kept: images come one after another, texts do not.
        if labels not in classifiers:
            last = next(iter(classifiers.values()), None)
            made = (
                last.with_labels(labels, templates)
                if last
                else ZeroShotClassifier(loaded.model, tokenizer, labels, templates)
            )
            classifiers.clear()
            classifiers[labels] = made
        return Predictor(classifiers[labels].probabilities, len(labels), labels)

    start = given or (trained[0] if trained else ())
    facts = ("classes are texts", page.pixels(preprocessor(loaded.model).image_size))
    return AppModel(loaded.model.name, facts, choose, start, why_not=page.NOT_OF_TEXTS)


def _file_name(source: str) -> str:
    return pathlib.Path(os.path.abspath(source)).name
