"""`keras-nest zero-shot`: which of some texts fits an image, and how good a model is at telling."""

import argparse
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from keras_nest.class_names import check_class_names
from keras_nest.cli.answers import check_counts, print_predictions
from keras_nest.console import console, print_facts, print_json
from keras_nest.data.prompts import PHOTO, PLAIN, Progress, check_labels, read_templates, unique_labels
from keras_nest.data.sources.folder import check_images
from keras_nest.data.sources.pairs import read_pairs
from keras_nest.places import read_lines
from keras_nest.predict.predictor import Predictor
from keras_nest.zero_shot.classifier import Embedder, ZeroShotClassifier
from keras_nest.zero_shot.evaluation import Evaluation, evaluate, open_test_images
from keras_nest.zero_shot.open import open_lit, trained_texts
from keras_nest.zero_shot.retrieval import embed_pairs, retrieval_recalls

# More classes than that nobody reads; then those that do worst are shown.
_CLASSES_SHOWN = 20


def main(args: argparse.Namespace) -> int:
    """Classifies images, or measures accuracy or retrieval.

    Returns:
        Exit code: 1 if an image to classify could not be read, else 0.

    Raises:
        ValueError: the model is no LiT, labels, templates or vocabulary do not fit, or options do not go together.
        OSError: a file is not there, or a picture exists.
        ModuleNotFoundError: a package that the tokenizer, the data set or the picture needs is not installed.
    """
    _check_options(args)
    if args.dataset:
        _print_accuracy(args)
    elif args.captions:
        _print_recalls(args)
    else:
        labels, templates = _texts(args)
        return print_predictions(args, lambda: _predictor(_classifier(args, labels, templates)))
    return 0


def _check_options(args: argparse.Namespace) -> None:
    """Refuses options that would have no effect, so that nobody waits for one."""
    check_counts(args)
    given = [name for name in ("images", "dataset", "captions") if getattr(args, name)]
    if len(given) != 1:
        raise ValueError("Give one of these: images, in front of all options; --dataset D; or --captions C.")
    useless = {
        "images": ("split", "data_dir"),
        "dataset": ("save",),
        "captions": ("labels", "labels_file", "templates", "split", "data_dir", "save"),
    }[given[0]]
    for option in useless:
        if getattr(args, option):
            kind = given[0] if given[0] == "images" else f"--{given[0]}"
            raise ValueError(f"--{option.replace('_', '-')} has no meaning for {kind}; leave it out.")


def _texts(
    args: argparse.Namespace, names: Sequence[str] = (), dataset: str | None = None
) -> tuple[tuple[str, ...], Sequence[str]]:
    """Labels and templates: those given, else those that the model was trained with, else the names of the classes.

    Args:
        args: the options.
        names: of the classes of a data set; there must be as many labels.
        dataset: its name.
    """
    given = read_lines(args.labels_file, "label") if args.labels_file else args.labels
    templates: Sequence[str] = PLAIN  # what a user writes may be sentences already
    if given is None:
        given, templates = trained_texts(args.weights or args.model, dataset) or (
            unique_labels(names) if names else (),
            PHOTO,
        )
    if blank := [str(number) for number, text in enumerate(given, 1) if not text.strip()]:
        where = f" of {args.labels_file}" if args.labels_file else ""
        raise ValueError(f"Label number {', '.join(blank)}{where} is empty; each class must have a text.")
    labels = check_class_names(given, len(names)) if names else given
    _check_order(labels, names)
    return check_labels(labels), read_templates(args.templates) if args.templates else templates


def _check_order(labels: Sequence[str], names: Sequence[str]) -> None:
    """Refuses the names of the classes themselves in another order than the data set's, which decides."""
    ours, theirs = ([text.replace("_", " ").lower() for text in texts] for texts in (labels, names))
    if ours != theirs and sorted(ours) == sorted(theirs):
        place = next(k for k, (our, their) in enumerate(zip(ours, theirs, strict=True)) if our != their)
        raise ValueError(
            f"The labels are the names of the classes in another order: number {place + 1} is {labels[place]!r}, and "
            f"the class {names[place]!r}; give them in the order of the classes."
        )


def _progress(args: argparse.Namespace) -> Progress:
    shown = console.is_terminal and not args.json
    return functools.partial(track, console=console, transient=True, disable=not shown)


def _classifier(args: argparse.Namespace, labels: Sequence[str], templates: Sequence[str]) -> ZeroShotClassifier:
    lit = open_lit(args.model, args.weights, args.vocab, args.trust)
    return ZeroShotClassifier(*lit, labels, templates, _progress(args))


def _predictor(classifier: ZeroShotClassifier) -> Predictor:
    return Predictor(classifier.probabilities, len(classifier.labels), classifier.labels)


def _print_accuracy(args: argparse.Namespace) -> None:
    source = open_test_images(args.dataset, args.split, args.data_dir)
    if source.info.has_captions:
        raise ValueError(f"{args.dataset} has captions instead of classes; --captions measures how they are found.")
    labels, templates = _texts(args, source.info.class_names, args.dataset)
    progress = _progress(args)
    result = evaluate(_classifier(args, labels, templates), source.test, args.batch, progress)
    facts: dict[str, Any] = {"images": int(result.images.sum()), "classes": len(labels), "templates": len(templates)}
    if args.json:
        per_class = {label: _number(share) for label, share in zip(labels, result.per_class, strict=True)}
        print_json({**facts, "top1": result.top1, "top5": result.top5, "per_class": per_class})
        return
    facts["templates"] = "; ".join(templates[:3]) + ("; …" if len(templates) > 3 else "")
    facts |= {"top-1 accuracy": f"{result.top1:.2%}", "top-5 accuracy": f"{result.top5:.2%}"}
    print_facts(f"{args.model} on {args.dataset}, zero-shot", facts)
    console.print(_class_table(labels, result))


def _class_table(labels: Sequence[str], result: Evaluation) -> Table:
    order = np.arange(len(labels))
    title = None
    if len(labels) > _CLASSES_SHOWN:
        order = np.argsort(result.per_class, kind="stable")[:_CLASSES_SHOWN]
        title = f"the {_CLASSES_SHOWN} classes with the lowest accuracy"
    table = Table("class", "images", "accuracy", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for k in map(int, order):
        share = result.per_class[k]
        table.add_row(escape(labels[k]), f"{result.images[k]:,}", "" if np.isnan(share) else f"{share:.2%}")
    return table


def _number(share: float) -> float | None:
    """JSON knows no NaN."""
    return None if np.isnan(share) else float(share)


def _print_recalls(args: argparse.Namespace) -> None:
    pairs = read_pairs(args.captions)
    # All that are broken are named now, rather than the first of them after hours.
    check_images([str(image) for image in dict.fromkeys(pairs.images)], args.captions)
    embedder = Embedder(*open_lit(args.model, args.weights, args.vocab, args.trust))
    zimg, ztxt, image_of_text = embed_pairs(embedder, pairs, args.batch, _progress(args))
    recalls = retrieval_recalls(zimg, ztxt, image_of_text)
    facts: dict[str, Any] = {"images": len(zimg), "captions": len(ztxt)}
    if args.json:
        print_json({**facts, **recalls._asdict()})
        return
    print_facts(f"{args.model} on {args.captions}", facts)
    table = Table("retrieval", *(f"recall@{k}" for k in recalls.image_to_text))
    for column in table.columns[1:]:
        column.justify = "right"
    for direction, shares in zip(("image → text", "text → image"), recalls, strict=True):
        table.add_row(direction, *(f"{share:.2%}" for share in shares.values()))
    console.print(table)
