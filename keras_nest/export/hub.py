"""Models -> repositories of the Hugging Face hub."""

import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest.class_names import check_class_names
from keras_nest.conversion.hugging_face import Handle, parse_handle, upload
from keras_nest.export.card import hub_card, with_metadata
from keras_nest.export.exporter import known_class_names
from keras_nest.models import LiT
from keras_nest.models.base import ImageModel
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.user_model import UserModel, as_image_model
from keras_nest.places import Place, as_place
from keras_nest.run_files import CLASSES, MODEL, VOCABULARIES, VOCABULARY

_CARD = "README.md"


def to_hub(
    model: keras.Model,
    handle: str,
    *,
    class_names: Sequence[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
    vocab: str | os.PathLike[str] | None = None,
    card: str | None = None,
    terms: str = "other",
    private: bool = False,
    overwrite: bool = False,
) -> str:
    """Puts a model on the hub, from where `keras_nest.open_model(handle)` reads it: model.keras with its model card.

    Everything comes in one commit, classes.txt and the vocabulary too where there are such.

    >>> export.to_hub(model, "hf://me/mine")
    'https://huggingface.co/me/mine'

    Args:
        model: of images, of this package or a user's around one; or a LiT.
        handle: "hf://OWNER/NAME", or with "@REVISION" a branch that is there.
        class_names: in the order of the logits; None takes those of a published head.
        metrics: for the model card, as `keras_nest.export.card.model_card` takes them.
        vocab: vocabulary file of a LiT.
        card: the model card in Markdown; None writes one. It gets the hub's metadata if it has none.
        terms: the license of the weights for the metadata, under the hub's identifier of it, such as "apache-2.0".
        private: others shall not see it.
        overwrite: replace what the repository has under these names.

    Returns:
        Address of the repository, for a browser.

    Raises:
        ValueError: another kind of model, `handle` or `terms` is none, or there are not as many names as classes.
        FileExistsError: the repository has such a file and `overwrite` is false.
        PermissionError: there is no token, one may not write there, or the repository is there and not private.
        OSError: the hub cannot be reached, or refuses the files.
        ModuleNotFoundError: `huggingface_hub` is not installed.
    """
    where = Handle(parse_handle(handle).repository)
    described = model if isinstance(model, ConfiguredModel) else as_image_model(model)
    if not isinstance(described, (ImageModel, UserModel, LiT)):
        raise ValueError(f"A {type(model).__name__} is not published; give a model of images, or a LiT.")
    vocabulary = None if vocab is None else _vocabulary(model, as_place(vocab))
    names = known_class_names(model, class_names)
    if names and described.num_classes:
        check_class_names(names, described.num_classes)
    text = with_metadata(hub_card(described, str(where), names, metrics) if card is None else card, described, terms)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / _CARD).write_text(text, "utf-8")
        if class_names is not None:
            (folder / CLASSES).write_text("".join(f"{name}\n" for name in class_names), "utf-8")
        if vocabulary:
            (folder / f"{VOCABULARY}{vocabulary.suffix}").write_bytes(vocabulary.read_bytes())
        model.save(folder / MODEL)
        return upload(handle, folder, private, overwrite)


def _vocabulary(model: keras.Model, path: Place) -> Place:
    if not isinstance(model, LiT):
        raise ValueError(f"A vocabulary is for LiT models; {model.name!r} reads no texts, so leave it out.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no vocabulary {path}.")
    if f"{VOCABULARY}{path.suffix}" not in VOCABULARIES:
        raise ValueError(f"The vocabulary {path} must end in .txt or .model, which say what kind it is.")
    return path
