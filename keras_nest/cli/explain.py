"""`keras-nest explain`: where in an image a model's answer comes from."""

import argparse

import numpy as np

from keras_nest.cli.answers import Broken, StreamedTable, longest, picture_files
from keras_nest.console import print_json, printable
from keras_nest.explain.methods import choose_method
from keras_nest.explain.view import make_view
from keras_nest.figures import picture_file
from keras_nest.hints import did_you_mean
from keras_nest.opening import open_model
from keras_nest.predict.images import find_images, read_images
from keras_nest.predict.open import build_predictor
from keras_nest.predict.predictor import Predictor
from keras_nest.preprocessing import preprocessor

_SHOWN = 5
_BOX = len("[1000, 1000, 1000, 1000]")
_CLARITY = len("margin 100 %, 100 %, 100 %")


def main(args: argparse.Namespace) -> int:
    """Prints, and draws if asked to, where the answer for each image comes from.

    Returns:
        0, or 1 if an image could not be read.

    Raises:
        ValueError: the method is not for this model, or there is no such class.
        OSError: model or images are not there, or a picture exists.
        ModuleNotFoundError: pictures need matplotlib.
    """
    paths = find_images(args.images)
    pictures = picture_files(args, paths)
    loaded = open_model(args.model, args.weights, args.labels, args.trust)
    predictor = build_predictor(loaded)
    prepare = preprocessor(loaded.image_model)
    target = None if args.target is None else find_class(args.target, predictor)
    explain = choose_method(args.method, loaded.image_model, prepare)
    table = StreamedTable(
        {
            "image": longest(paths),
            "class": longest(predictor.class_names or ["class 1000"]),
            "value" if predictor.gives_numbers else "probability": 0,
            "where (y0, x0, y1, x1)": _BOX,
            "how clear": _CLARITY,
        }
    )
    broken, kind = Broken(), "value" if predictor.gives_numbers else "probability"
    if predictor.gives_numbers and pictures:
        raise ValueError("--save draws probabilities, and this model gives numbers; leave it out.")
    for path, image in read_images(paths, broken.tell):
        with broken.told(path):
            (shares,) = predictor.answers([image])
            index = int(np.argmax(shares)) if target is None else target
            finding = explain(prepare(image), make_view(image, prepare), index)
            answer = {"class": index, "label": predictor.name_of(index), kind: float(shares[index])}
            if args.json:
                print_json({"image": str(path), "method": args.method, **answer, **finding.facts})
            else:
                share = f"{shares[index]:.6g}" if predictor.gives_numbers else f"{shares[index]:.2%}"
                row = (path, answer["label"], share, finding.place, finding.clarity)
                table.print([[printable(cell) for cell in row]])
            if pictures:
                answers = _answers(predictor, shares, index)
                with picture_file(pictures[path], args.overwrite) as partial:
                    title = f"{printable(path.name)}: {predictor.name_of(index)}"
                    finding.draw(title, answers).savefig(partial)
    return broken.code


def find_class(target: str, predictor: Predictor) -> int:
    """Index of a class that is given by its name or index; a name comes first.

    Raises:
        ValueError: there is no such class.
    """
    names = predictor.class_names or ()
    if target in names:
        return names.index(target)
    if target.isdecimal():
        if int(target) < predictor.num_classes:
            return int(target)
        raise ValueError(f"There is no class {target}; the model's classes are 0 to {predictor.num_classes - 1}.")
    if not names:
        raise ValueError(
            f"There is no class {target!r}: the model has no class names; give an index, or --labels FILE."
        )
    raise ValueError(f"There is no class {target!r}; {did_you_mean(target, names, count=3)}")


def _answers(predictor: Predictor, shares: np.ndarray, index: int) -> list[tuple[str, float]]:
    """The explained class, and the most probable of the others."""
    others = [k for k in np.argsort(-shares, kind="stable").tolist() if k != index]
    return [(predictor.name_of(k), float(shares[k])) for k in (index, *others[: _SHOWN - 1])]
