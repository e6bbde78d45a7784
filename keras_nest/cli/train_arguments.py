"""The arguments of `keras-nest train` and `train_keras.py`."""

import pathlib
import re
import textwrap
import traceback
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from keras_nest.choices import STRATEGIES
from keras_nest.cli.config_files import find_config, list_configs

_HELP = """\
Trains, fine-tunes or evaluates a model. The directory gets model.keras, history.csv, curves.png, confusion.png,
classes.txt, metrics.json, config.json, checkpoints/ and tensorboard/. The same command goes on with a training that was
broken off.

usage: {program} --config=NAME|FILE[:ARGUMENT] --workdir=DIR [--strategy=NAME] [--tpu=NAME] [--overwrite] [--trust]
       [--config.FIELD=VALUE …]

  --config     configuration: {configs}; or a file of yours
  --workdir    directory of the run
  --strategy   {strategies}; auto: a TPU if one is named, else all GPUs, else the CPU
  --tpu        name or address of a Cloud TPU, or local
  --overwrite  start anew and replace the results of an earlier run in that directory
  --trust      read .keras files that carry code, which runs then

{fields}

Those of the model go as --config.model.FIELD=VALUE."""


class Arguments(NamedTuple):
    """What the command line asked for.

    Attributes:
        config: the configuration, overrides applied.
        workdir: directory of the run.
        overwrite: replace the results of an earlier run in it.
        strategy: name of the strategy.
        tpu: name of the TPU.
        trust: read .keras files that carry code.
    """

    config: ConfigDict
    workdir: str
    overwrite: bool
    strategy: str
    tpu: str | None
    trust: bool = False


def parse(argv: Sequence[str], fields: Mapping[str, Mapping[str, Any]]) -> Arguments:
    """Reads a command line.

    Args:
        argv: program name and arguments.
        fields: heading -> fields of configurations, for `--help`.

    Raises:
        ValueError: an argument is unknown, missing or of the wrong type.
        FileNotFoundError: there is no such configuration.
        SystemExit: help was asked for, and given.
    """
    argv = list(argv)
    try:
        # The first pass only finds the file, so that its absence can be told plainly; the second loads it.
        found = _flags()
        found(argv, known_only=True)
        if found.help or found.helpfull:
            print(_help(pathlib.Path(argv[0]).name, fields))
            raise SystemExit(0)
        _check_given(found)
        path = find_config(found.config)
        argv = _with_config(argv, path)
        parsed, left = _load(argv, path)
    except flags.Error as error:
        raise ValueError(_message(str(error))) from error
    if left:
        raise ValueError(f"The argument {left[0]!r} has no meaning; --help lists those that have.")
    return Arguments(parsed.config, parsed.workdir, parsed.overwrite, parsed.strategy, parsed.tpu, parsed.trust)


def _load(argv: list[str], path: str) -> tuple[flags.FlagValues, list[str]]:
    """The flags, the configuration among them, and what is none.

    Raises:
        flags.Error: an argument is unknown or of the wrong type.
        ValueError: the configuration, which may raise anything, cannot be loaded, or an argument does not fit it.
    """
    parsed = _flags(argv)
    try:
        return parsed, parsed(argv)[1:]
    except flags.Error:
        raise
    except Exception as error:
        file = path.partition(":")[0]
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        reason = f"{type(error).__name__}: {' '.join(str(error).split()).rstrip('.')}"
        if lines:
            raise ValueError(f"Line {lines[-1]} of the configuration {file} fails with {reason}.") from error
        raise ValueError(f"The configuration {path} cannot be loaded as it is asked for: {reason}.") from error


def _message(error: str) -> str:
    """What is wrong, without the traceback that ml_collections adds where a configuration says so itself."""
    refused = re.search(r"Error whilst parsing config file:.*^ValueError: (.*)", error, re.DOTALL | re.MULTILINE)
    if call := re.search(r"^TypeError: (get_config\(\) .*)", error, re.MULTILINE):
        return f"{call[1]}; the argument of a configuration follows a colon, --config=NAME:ARGUMENT."
    return refused[1].strip() if refused else error


def _help(program: str, fields: Mapping[str, Mapping[str, Any]]) -> str:
    listed = (textwrap.fill(f"{heading}: {', '.join(names)}.", 110) for heading, names in fields.items())
    configs = textwrap.fill(", ".join(list_configs()), 97, subsequent_indent=" " * 15)
    return _HELP.format(program=program, configs=configs, strategies=", ".join(STRATEGIES), fields="\n\n".join(listed))


def _flags(argv: list[str] | None = None) -> flags.FlagValues:
    """Definition of the flags, apart from the global ones; with `argv` the configuration is loaded from its file."""
    values = flags.FlagValues()
    options: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string("workdir", None, "directory of the run", **options)
    flags.DEFINE_string("strategy", "auto", "where to train", **options)
    flags.DEFINE_string("tpu", None, "name of a TPU", **options)
    flags.DEFINE_boolean("overwrite", False, "replace the results of an earlier run", **options)
    flags.DEFINE_boolean("trust", False, "read .keras files that carry code", **options)
    flags.DEFINE_boolean("help", False, "this text", **options)
    flags.DEFINE_boolean("helpfull", False, "likewise; absl's name for help with everything", **options)
    if argv is None:
        flags.DEFINE_string("config", None, "configuration file", **options)
    else:
        # Fields that the file does not list are checked when the configuration is resolved.
        options |= {"sys_argv": argv, "lock_config": False, "accept_new_attributes": True}
        config_flags.DEFINE_config_file("config", None, "configuration file", **options)
    return values


def _check_given(found: flags.FlagValues) -> None:
    for name, example in (("config", "digits_nest"), ("workdir", "runs/digits")):
        if not found[name].value:
            raise ValueError(f"--{name} is missing; give one, such as --{name}={example}.")


def _with_config(argv: Sequence[str], path: str) -> list[str]:
    """The command line with the path of the configuration file in the place of what was given."""
    words = list(argv)
    for place, word in enumerate(words):
        if re.match("--?config=", word):
            words[place] = f"--config={path}"
        elif re.fullmatch("--?config", word):
            words[place + 1] = path
    return words
