"""The 50,000 AugReg checkpoints: their index, the recommended ones, and what a file name tells.

Source: Steiner et al., "How to train your ViT?" (2021), and `checkpoint.py` and the AugReg notebook of
google-research/vision_transformer.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from keras_nest import registry
from keras_nest.copies import local_file
from keras_nest.optional import import_optional
from keras_nest.places import text_lines

if TYPE_CHECKING:
    import pandas

FOLDER = "gs://vit_models/augreg"
INDEX = f"{FOLDER}/index.csv"
# Directories of the published NesTs, whose files are called ckpt-NUMBER.flax.
NEST_DIRECTORIES = {
    "nest-b_imagenet": "nest_base_s196_224",
    "nest-s_imagenet": "nest_small_s196_224",
    "nest-t_imagenet": "nest_tiny_s196_224",
}

_NUMBERS = dict.fromkeys(("final_val", "adapt_final_val"), "float64")
_COLUMNS = {*_NUMBERS, "ds", "filename", "adapt_ds", "adapt_filename", "adapt_resolution"}
_SUFFIX = re.compile(r"\.(npz|keras|flax|msgpack|safetensors|pth|pt|bin)$")
# What follows the model in a published file name: nothing, a resolution, or how an AugReg model was trained.
_REST = re.compile(r"(-\d+|-i\d+k.*)?")


def augreg(index: str | os.PathLike[str] = INDEX) -> pandas.DataFrame:
    """Reads the index of the AugReg checkpoints.

    Args:
        index: index.csv, local or an address ("gs://…").

    Returns:
        One row a fine-tuned checkpoint (`adapt_filename`), with the pre-trained one it came from (`filename`); both
        without ".npz".

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
        ValueError: not an AugReg index.
        ModuleNotFoundError: pandas is missing.
    """
    pd = import_optional("pandas", "The AugReg index is read with pandas", "[augreg]")
    path = os.fspath(index)
    try:
        with local_file(path, "index") as file:
            for _ in text_lines(file.read_bytes(), path):
                pass  # refuses one that would take gigabytes in pandas
            table = pd.read_csv(file, dtype=_NUMBERS)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"The index {path} is no CSV file: {' '.join(str(error).split()).rstrip('.')}.") from None
    if missing := _COLUMNS - set(table.columns):
        raise ValueError(f"The index {path} lacks {', '.join(sorted(missing))}; it must have AugReg's columns.")
    return table


def augreg_best(index: pandas.DataFrame | str | os.PathLike[str], model: str) -> pandas.Series:
    """The recommended checkpoint of a model: of those pre-trained on ImageNet-21k the most accurate there.

    Unlike the reference, which sorts missing values last and then takes the last row, this ignores checkpoints without
    a score.

    Args:
        index: what `augreg` returns, or a path for it.
        model: AugReg's name ("R26_S_32") or the full one ("R26+ViT-S_32").

    Returns:
        The first row of the checkpoint with the highest `final_val`.

    Raises:
        ValueError: the index has no such checkpoint.
    """
    return augreg_ranking(index, model).iloc[0]


def augreg_ranking(index: pandas.DataFrame | str | os.PathLike[str], model: str) -> pandas.DataFrame:
    """All rows that `augreg_best` chooses from, best first.

    Args:
        index: what `augreg` returns, or a path for it.
        model: AugReg's name ("R26_S_32") or the full one ("R26+ViT-S_32").

    Raises:
        ValueError: the index has no such checkpoint.
    """
    table = augreg(index) if isinstance(index, (str, os.PathLike)) else index
    table = table[(table["ds"] == "i21k") & table["final_val"].notna()]
    # A column without a name in it is one of numbers.
    models = table["filename"].map(lambda filename: str(filename).partition("-")[0])
    name = _augreg_name(model)
    if name not in set(models):
        known = ", ".join(sorted(set(models))) or "none at all"
        raise ValueError(f"The index has no ImageNet-21k checkpoint of {model!r} with a score; it has {known}.")
    return table[models == name].sort_values("final_val", ascending=False, kind="stable")


def parse_model_name(filename: str) -> str | None:
    """The published model that the name of a checkpoint's file tells, or of NesT that of its directory.

    >>> parse_model_name("gs://vit_models/augreg/R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0.npz")
    'R+ViT-Ti_16'
    >>> parse_model_name("ViT-B_16-224.npz")
    'ViT-B_16'

    Args:
        filename: name or path, with or without suffix.

    Returns:
        A name of `keras_nest.list_models`, or None if the file name tells none.
    """
    for name in filename.rstrip("/").split("/")[-2:]:
        if name in NEST_DIRECTORIES:
            return NEST_DIRECTORIES[name]
    stem = _SUFFIX.sub("", os.path.basename(filename.rstrip("/")))
    names = {name: name for name in registry.list_models()} | registry.ALIASES
    found = [name for name in names if stem.startswith(name) and _REST.fullmatch(stem, len(name))]
    return names[found[0]] if found else None


def checkpoint_uri(filename: str) -> str:
    """The published address of an AugReg checkpoint.

    Args:
        filename: `filename` or `adapt_filename` of the index.
    """
    return f"{FOLDER}/{filename.removesuffix('.npz')}.npz"


def _augreg_name(model: str) -> str:
    return model.replace("ViT-", "").replace("+", "_")
