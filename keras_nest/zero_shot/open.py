"""Opens a LiT with the vocabulary that belongs to it."""

import os

from keras_nest.data.prompts import unique_labels
from keras_nest.mirror import run_directory
from keras_nest.models.lit import LiT
from keras_nest.opening import find_model, find_vocabulary, open_model, read_json
from keras_nest.places import Place, as_place, read_lines
from keras_nest.run_files import CLASSES, CONFIG
from keras_nest.tokenizers import Tokenizer, get_tokenizer
from keras_nest.untrusted.json_text import fields_of


def open_lit(
    source: str,
    weights: str | None = None,
    vocabulary: str | os.PathLike[str] | None = None,
    trust: bool = False,
) -> tuple[LiT, Tokenizer]:
    """Opens a LiT and its tokenizer.

    Args:
        source: as `keras_nest.open_model` takes it.
        weights: a checkpoint for the name of a model, as `create_model` takes it.
        vocabulary: file as `get_tokenizer` takes it; None takes the one that `find_vocabulary` finds.
        trust: also read a .keras file that carries code.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the model is no LiT, or model, weights or vocabulary cannot be read.
        ModuleNotFoundError: tensorflow-text is not installed.
    """
    # Reading a large model takes long; a wrong path is told before.
    find_model(source, weights)
    path = _vocabulary(weights or source, vocabulary)
    model = open_model(source, weights, trust=trust).model
    if not isinstance(model, LiT):
        raise ValueError(f"{source} is a {type(model).__name__}, which knows no texts; give a LiT, such as LiT-B16B_2.")
    return model, _tokenizer(model, path)


def open_tokenizer(model: LiT, source: str, vocabulary: str | os.PathLike[str] | None = None) -> Tokenizer:
    """The tokenizer of a LiT that is open already.

    Args:
        model: the LiT.
        source: its checkpoint, .keras file or directory.
        vocabulary: as for `open_lit`; errors as there.
    """
    return _tokenizer(model, _vocabulary(source, vocabulary))


def _vocabulary(source: str, given: str | os.PathLike[str] | None) -> Place:
    path = find_vocabulary(source) if given is None else as_place(given)
    if path is None:
        raise FileNotFoundError(
            f"There is no vocabulary beside {source}; name it with --vocab FILE: .txt of a BERT tower, "
            ".model of a text transformer."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary {path}; it must be the file that belongs to the weights.")
    return path


def _tokenizer(model: LiT, vocabulary: Place) -> Tokenizer:
    return get_tokenizer(vocabulary, max_len=model.text_model.input_shape[1])


def trained_texts(source: str, dataset: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Labels and templates that a LiT was trained with on classes.

    Args:
        source: the working directory of its training.
        dataset: what the training must have been on, so that the labels are those of its classes; None allows any.

    Returns:
        Both, or None if there is no such training.
    """
    folder = run_directory(source)
    config = read_json(folder / CONFIG)
    if not (folder / CLASSES).is_file() or "templates" not in config:
        return None
    with fields_of(folder / CONFIG):
        if dataset not in (None, config["dataset"]):
            return None
        texts = tuple(config["class_texts"]) or unique_labels(read_lines(folder / CLASSES, "label"))
        return texts, tuple(config["templates"])
