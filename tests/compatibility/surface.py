"""What users of a version can type: public names with their parameters, commands with their options, configurations.

    python -m tests.compatibility.surface > tests/compatibility/surface.json

Written when a version is published; `test_surface.py` says what has vanished since.
"""

import contextlib
import importlib
import importlib.util
import inspect
import io
import itertools
import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

from ml_collections import ConfigDict

import keras_nest
from keras_nest.cli import main

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = (
    "keras_nest",
    *(f"keras_nest.{name}" for name in ("data", "explain", "layers", "models", "predict", "training", "zero_shot")),
    "conversion",
    "export",
)
# What README and docs show beside these.
SHOWN = ("keras_nest.tflite.TFLiteModel",)
# Of configurations whose file asks for an argument, or makes several of it.
ARGUMENTS = {
    "augreg": ("R_Ti_16", "B_16"),
    "vit": ("b16,cifar10", "mixer_b16,imagenet2012"),
    "cifar_nest": ("tiny", "small", "base"),
    "imagenet_nest": ("tiny", "small", "base"),
}
COMMANDS = ("list", "info", "convert", "export", "download", "predict", "zero-shot", "explain", "data", "train")


def surface() -> dict[str, Any]:
    """All of it, as JSON has it.

    "names": full name -> parameters, see `parameters`; methods of classes too. "models": names that `create_model`
    takes. "options": command -> option -> choices. "fields": of training configurations. "configs": "FILE:ARGUMENT"
    -> field -> value.
    """
    found = {
        "names": dict(_names()),
        "models": [name for name in keras_nest.list_models() if not name.startswith("testing")],
        "options": {command: options(help_of(command)) for command in COMMANDS},
        "fields": sorted(fields(help_of("train", "--helpfull"))),
        "configs": dict(_configs()),
    }
    return json.loads(json.dumps(found))


def written(found: dict[str, Any]) -> str:
    """JSON with a line for each entry, so that a difference can be read."""
    sections = (
        f"{json.dumps(section)}: " + json.dumps(entries, separators=(",", ":"))
        if isinstance(entries, list)
        else f"{json.dumps(section)}: {{\n"
        + ",\n".join(
            f"{json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in entries.items()
        )
        + "\n}"
        for section, entries in found.items()
    )
    return "{\n" + ",\n".join(sections) + "\n}"


def _names() -> Iterator[tuple[str, Any]]:
    described: set[int] = set()
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            entries = _described(f"{package}.{name}", value)
            # The same class under another name has the same methods.
            yield from itertools.islice(entries, 1) if id(value) in described else entries
            described.add(id(value))
    for shown in SHOWN:
        package, _, name = shown.rpartition(".")
        yield from _described(shown, getattr(importlib.import_module(package), name))


def _described(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A name; of a class its public methods and properties, too, but for those of Keras and constants."""
    yield name, sorted(value) if isinstance(value, dict) else parameters(value)
    if inspect.isclass(value):
        inherited = {member for base in value.__mro__ if not _is_ours(base) for member in vars(base)}
        ours = {member for base in value.__mro__ if _is_ours(base) for member in vars(base)}
        for member in sorted(ours - inherited):
            if not (member.startswith("_") or member.isupper()):
                yield f"{name}.{member}", parameters(getattr(value, member))


def _is_ours(owner: type) -> bool:
    return owner.__module__.split(".")[0] in ("keras_nest", "conversion", "export")


def parameters(value: Any) -> dict[str, Any] | None:
    """What a call takes; None of what is not called.

    Returns:
        "positional": names in their order, "keyword": names, "defaults": those that are plain values, "required":
        names without any, "any": whether other keywords are taken.
    """
    if not callable(value):
        return None
    try:
        given = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return None
    taken = [p for p in given if p.name not in ("self", "cls")]
    positional = [p.name for p in taken if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keyword = [p.name for p in taken if p.kind is p.KEYWORD_ONLY]
    named = [p for p in taken if p.name in (*positional, *keyword)]
    return {
        "positional": positional,
        "keyword": keyword,
        "defaults": {p.name: p.default for p in named if _is_plain(p.default)},
        "required": [p.name for p in named if p.default is p.empty],
        "any": any(p.kind is p.VAR_KEYWORD for p in taken),
    }


def _is_plain(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def help_of(command: str, option: str = "--help") -> str:
    """What `keras-nest COMMAND --help` prints, where nothing is folded.

    Raises:
        SystemExit: there is no such command.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output), mock.patch.dict(os.environ, COLUMNS="10000"):
        try:
            main([command, option])
        except SystemExit as end:
            if end.code:
                raise
    return output.getvalue()


def options(text: str) -> dict[str, list[str]]:
    """Options in a help text, each with its choices; "required" are those that the usage has no brackets for."""
    found: dict[str, list[str]] = {name: [] for name in sorted(set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)))}
    for name, choices in re.findall(r"(--[a-z][\w-]*)[ =]\{([^}]*)\}", text):
        found[name] = choices.split(",")
    usage = text.partition("usage:")[2].partition("\n\n")[0]
    while "[" in usage and usage != (shorter := re.sub(r"\[[^][]*\]", "", usage)):
        usage = shorter
    return {**found, "required": re.findall(r"--[a-z][\w-]*", usage)}


def fields(text: str) -> set[str]:
    """Fields of training configurations, from the help of the training command."""
    return {
        word
        for paragraph in text.split("\n\n")
        if paragraph.startswith("Fields of ")
        for word in re.findall(r"^  (\w+)", paragraph, re.MULTILINE)
    }


def _configs() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted((ROOT / "configs").glob("*.py")):
        spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            continue
        for argument in ARGUMENTS.get(path.stem, (None,)):
            config = module.get_config() if argument is None else module.get_config(argument)
            yield path.stem if argument is None else f"{path.stem}:{argument}", _flat(config)


def _flat(config: ConfigDict, parent: str = "") -> dict[str, Any]:
    """Fields of groups as "group.field"; paths without their directory, which is another on each machine."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, (ConfigDict, dict)):
            found |= _flat(value, f"{parent}{name}.") or {f"{parent}{name}": {}}
        elif isinstance(value, str) and os.path.isabs(value):
            found[f"{parent}{name}"] = os.path.basename(value)
        else:
            found[f"{parent}{name}"] = value
    return found


if __name__ == "__main__":
    print(written(surface()))
