"""`keras-nest publish`: a model to the Hugging Face hub."""

import argparse

from keras_nest.cli.export import dataset_of
from keras_nest.console import print_facts
from keras_nest.conversion.hugging_face import check_token, parse_handle
from keras_nest.export.hub import to_hub
from keras_nest.models.base import published_class_names
from keras_nest.opening import open_model
from keras_nest.places import Place, as_place


def main(args: argparse.Namespace) -> int:
    """Uploads a model with its card, and prints where it lies.

    Raises:
        ValueError: bad arguments, or a model that is not published.
        OSError: missing input, no token, no network, or files that are there already.
        ModuleNotFoundError: `huggingface_hub` is not installed.
    """
    check_token(parse_handle(args.handle))
    card = _read(as_place(args.card)) if args.card else None
    loaded = open_model(args.model, args.weights, args.labels, args.trust)
    names = loaded.class_names
    address = to_hub(
        loaded.model,
        args.handle,
        class_names=None if names == published_class_names(loaded.model) else names,
        metrics={"dataset": dataset_of(loaded, args.model), **loaded.metrics} if loaded.metrics else None,
        vocab=args.vocab or loaded.vocabulary,
        card=card,
        terms=args.license,
        private=args.private,
        overwrite=args.overwrite,
    )
    facts = {"address": address, "model": args.model, "class names": len(names) if names else "none"}
    print_facts(f"Published {loaded.model.name}", {**facts, "opens with": f"keras_nest.open_model({args.handle!r})"})
    return 0


def _read(path: Place) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"There is no model card {path}.")
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8.") from None
