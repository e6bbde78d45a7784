"""Finds configuration files: a user's own by their path, those of this package by name from any directory."""

import os
import pathlib

from keras_nest import configs
from keras_nest.files import is_address
from keras_nest.hints import did_you_mean

_DIRECTORY = pathlib.Path(configs.__path__[0])


def list_configs() -> list[str]:
    """Names of the configurations that come with this package, sorted."""
    return sorted(path.stem for path in _DIRECTORY.glob("*.py") if "\ndef get_config(" in path.read_text("utf-8"))


def find_config(given: str) -> str:
    """Path of a configuration file, with its argument.

    Args:
        given: FILE or FILE:ARGUMENT. FILE is a path, an address (gs://…), or "digits_nest", "digits_nest.py" or
            "configs/digits_nest.py" for one that comes with this package; a file that is there goes first.

    Returns:
        PATH or PATH:ARGUMENT, as ml_collections reads it.

    Raises:
        FileNotFoundError: there is none; says which have a similar name.
    """
    file, colon, argument = given.partition(":")
    if os.path.isfile(file) or is_address(given):
        return given
    folder, name = os.path.split(file)
    name, known = name.removesuffix(".py"), list_configs()
    if folder in ("", ".", "configs") and name in known:
        return f"{_DIRECTORY / name}.py{colon}{argument}"
    raise FileNotFoundError(
        f"There is no configuration {file!r}, neither a file nor one that comes with keras_nest; "
        f"{did_you_mean(name, known, count=3)}"
    )
