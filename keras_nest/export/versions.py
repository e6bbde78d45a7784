"""Versioned directories, as TF-Serving watches them."""

import contextlib
import os
import pathlib
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest.export.card import model_card
from keras_nest.export.exporter import known_class_names
from keras_nest.export.module import image_shape
from keras_nest.export.saved_model import read_signatures, to_saved_model
from keras_nest.export.warm_up import can_write_requests
from keras_nest.exported import numbered_versions
from keras_nest.models.base import PublishedModel
from keras_nest.models.user_model import as_image_model
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place


def publish(
    model: keras.Model,
    directory: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    class_names: Sequence[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
    head: str = "classifier",
    activation: str | None = None,
    vocab: str | os.PathLike[str] | None = None,
    warm_up: bool | None = None,
    archive: bool = False,
    optimize: str | None = None,
    precision: str | None = None,
) -> Place:
    """Writes the next version of a model: DIRECTORY/1, then DIRECTORY/2 beside it, and so on.

    A version is what `to_saved_model` writes, with a model card, README.md. TF-Serving serves a DIRECTORY and takes
    new versions from it by itself.

    Args:
        model: of this package, or a user's around one.
        directory: where the versions lie, on this machine or at an address (gs://…).
        overwrite: replace the newest version instead; a TF-Serving that runs does not notice.
        class_names: as `to_saved_model` takes them.
        metrics: for the model card, as `model_card` takes them.
        head: as `to_saved_model` takes it.
        activation: as `to_saved_model` takes it.
        vocab: as `to_saved_model` takes it.
        warm_up: as `to_saved_model` takes it; None adds the requests if tensorflow-serving-api is installed.
        archive: write DIRECTORY/N.tar.gz too, after the version, which `hub.load` takes from a web server; without it,
            an archive of the version that is replaced is removed.
        optimize: as `to_saved_model` takes it.
        precision: as `to_saved_model` takes it.

    Returns:
        The directory of the version, as `to_saved_model` gives it.

    Raises:
        ValueError: as `to_saved_model`.
        NotADirectoryError: there is a file of that name.
        FileExistsError: `overwrite` is false, and there is an archive without its version, or another process was
            faster.
        OSError: the directory cannot be written to.
        ModuleNotFoundError: as `to_saved_model`.
    """
    path = version_directory(directory, overwrite)
    if isinstance(model, keras.Model) and not isinstance(model, PublishedModel):
        image_shape(model)  # says first that there are several inputs
        model = as_image_model(model)
    packed = path.with_name(f"{path.name}.tar.gz")
    warm_up = can_write_requests() if warm_up is None else warm_up
    names = known_class_names(model, class_names)
    options: dict[str, Any] = {"class_names": names, "head": head, "activation": activation}
    archived = output_at(packed, overwrite) if archive else contextlib.nullcontext()
    with archived as partial_archive, output_at(path, overwrite) as partial:
        how: dict[str, Any] = {"vocab": vocab, "warm_up": warm_up, "optimize": optimize, "precision": precision}
        to_saved_model(model, partial, **how, **options)
        card = model_card(model, read_signatures(partial), metrics=metrics, **options)
        (partial / "README.md").write_text(card, "utf-8")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} was written by another process meanwhile; export again.")
        if partial_archive:
            _pack(partial, partial_archive)
    if overwrite and not archive:
        packed.unlink(missing_ok=True)  # it holds what was replaced
    return path


def version_directory(directory: str | os.PathLike[str], overwrite: bool) -> Place:
    """Where the next version goes, or with `overwrite` the newest one lies.

    Raises:
        ValueError: it is an address that TensorFlow does not know.
        NotADirectoryError: there is a file of that name.
        OSError: the address cannot be read.
    """
    directory = as_place(directory)
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"{directory} is a file; the output must be a directory.")
    newest = max((int(version.name) for version in numbered_versions(directory)), default=0)
    return directory / str(max(newest, 1) if overwrite else newest + 1)


def _pack(saved_model: pathlib.Path, archive: pathlib.Path) -> None:
    """Writes a SavedModel as TF-Hub expects it: saved_model.pb at the root, nobody's files."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w:gz") as file:
        file.add(saved_model, ".", filter=anonymous)
