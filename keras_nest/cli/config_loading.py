"""Reads a configuration file as a user's: whatever is wrong with it becomes one sentence."""

import contextlib
import importlib.util
import inspect
import os
import pathlib
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from keras_nest.copies import local_file
from keras_nest.files import is_address
from keras_nest.hints import did_you_mean
from keras_nest.places import as_place
from keras_nest.training_fields import HEADINGS, Field

FIELDS: dict[str, Field] = {name: field for fields in HEADINGS.values() for name, field in fields.items()}
"""The fields of all configurations, of any kind."""

_FRACTIONS = ("number", "limit", "share")


def load_config(path: str, overrides: Sequence[str] = ()) -> ConfigDict:
    """The configuration of a file, ready for the fields that a command line changes.

    Args:
        path: FILE or FILE:ARGUMENT, which `get_config` of the file is called with; FILE may be an address.
        overrides: fields that will be set, such as "model.image_size". Groups among them that the file leaves out are
            there afterwards, with their defaults.

    Raises:
        ValueError: the file cannot be read or is no configuration, or there are no such groups.
        FileNotFoundError: nothing lies at the address.
        OSError: it cannot be read.
    """
    file, colon, argument = path.partition(":")
    if is_address(path) and not os.path.isfile(file):
        rest, colon, argument = argument.partition(":")
        with local_file(as_place(f"{file}:{rest}"), "configuration") as copy:
            return _load(str(copy), (argument,) if colon else (), overrides)
    return _load(file, (argument,) if colon else (), overrides)


def _load(file: str, arguments: tuple[str, ...], overrides: Sequence[str]) -> ConfigDict:
    name = pathlib.Path(file).stem
    with _told(file):
        module = _module(file)
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise ValueError(f"{file} is no configuration; it has no function get_config, which returns a ConfigDict.")
    _check_argument(get_config, arguments, name, module)
    with _told(file):
        config = get_config(*arguments)
        if isinstance(config, Mapping):
            config = ConfigDict(config)
    if not isinstance(config, ConfigDict):
        raise ValueError(f"get_config of {file} returns {config!r}; it must return a ConfigDict.")
    for override in overrides:
        _make_room(config, override)
    return config


def _module(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"config of {pathlib.Path(file).stem}", file)
    if spec is None or spec.loader is None:
        raise ImportError("its name does not end in .py")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses and pickles of the file look for it.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _told(file: str) -> Iterator[None]:
    """Any error of a configuration as one sentence; a ValueError that the file raises itself is one."""
    try:
        yield
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        reason = " ".join(str(error).split()).rstrip(".")
        if type(error) is ValueError and _is_raised(error):
            raise ValueError(f"{reason}.") from error
        reason = f"{type(error).__name__}: {reason}"
        if frames:
            raise ValueError(f"Line {frames[-1].lineno} of the configuration {file} fails with {reason}.") from error
        raise ValueError(f"The configuration {file} cannot be loaded: {reason}.") from error


def _is_raised(error: Exception) -> bool:
    """Whether an error comes from a `raise` of its own, such as those in configurations, and not from an operation."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (last.line or "").startswith("raise ")


def _check_argument(get_config: Any, arguments: tuple[str, ...], name: str, module: ModuleType) -> None:
    """Refuses an argument that a configuration does not take, or the lack of one that it needs."""
    signature = inspect.signature(get_config)
    try:
        signature.bind(*arguments)
    except TypeError:
        if arguments:
            raise ValueError(
                f"The configuration {name} takes no argument; leave {':' + arguments[0]!r} out of --config."
            ) from None
        needed = ", ".join(signature.parameters)
        about = (module.__doc__ or "").strip().partition("\n")[0]
        sentence = f"The configuration {name} needs an argument behind a colon, --config={name}:{needed.upper()}."
        raise ValueError(f"{sentence} {about}".rstrip()) from None


def _make_room(config: ConfigDict, override: str) -> None:
    """Adds the groups in which a field lies, and makes its value one that a command line can change."""
    if "[" in override:
        return
    *groups, field = override.split(".")
    if not all((*groups, field)):
        raise ValueError(f"--config.{override} names no field; fields go as --config.FIELD=VALUE.")
    inner, outer = config, ""
    for group in groups:
        if inner.get(group) is None:
            inner[group] = ConfigDict(_default_group(group) if inner is config else {})
        inner, outer = inner[group], f"{outer}{group}."
        if not isinstance(inner, ConfigDict):
            raise ValueError(f"There is no field {override}; {outer.rstrip('.')} is no group of fields.")
    value = inner.get(field)
    if isinstance(value, list):
        # Anew, or it would be made a list again.
        del inner[field]
        inner[field] = tuple(value)
    elif type(value) is int and not groups and field in FIELDS and FIELDS[field].kind in _FRACTIONS:
        # A reference to the field keeps its type.
        with contextlib.suppress(TypeError), inner.ignore_type():
            inner[field] = float(value)


def _default_group(name: str) -> Mapping[str, Any]:
    groups = [name for name, field in FIELDS.items() if field.kind == "group"]
    if name not in groups:
        raise ValueError(f"The configuration has no group of fields {name!r}; {did_you_mean(name, groups)}")
    return FIELDS[name].default
