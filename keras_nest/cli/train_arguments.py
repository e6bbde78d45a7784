"""The arguments of `keras-nest train` and `train_keras.py`."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from absl import flags
from ml_collections import ConfigDict, config_flags

from keras_nest.choices import BACKENDS
from keras_nest.cli.config_files import find_config
from keras_nest.cli.config_loading import FIELDS, load_config
from keras_nest.cli.train_help import help_text
from keras_nest.training_fields import FIT

# What absl says of a value -> what it must be.
_WORDS = {
    "for int": "a whole number",
    "string to float": "a number",
    "boolean": "True or False",
    "as a ConfigDict": "a group of fields, which go as --config.{field}.NAME=VALUE",
    "tuple": "several values, such as (1, 2)",
}


class Arguments(NamedTuple):
    """What the command line asked for.

    Attributes:
        config: the configuration, overrides applied.
        workdir: directory of the run.
        overwrite: replace the results of an earlier run in it.
        strategy: name of the strategy.
        tpu: name of the TPU.
        trust: read .keras files that carry code.
        backend: that Keras shall run on; None is whichever it does.
        model_parallel: devices among which the weights of blocks are divided.
    """

    config: ConfigDict
    workdir: str
    overwrite: bool
    strategy: str
    tpu: str | None
    trust: bool = False
    backend: str | None = None
    model_parallel: int = 1


def parse(argv: Sequence[str]) -> Arguments:
    """Reads a command line.

    Args:
        argv: program name and arguments.

    Raises:
        ValueError: an argument is unknown, missing or of the wrong type, or the configuration cannot be loaded.
        FileNotFoundError: there is no such configuration.
        SystemExit: help was asked for, and given.
    """
    argv = list(argv)
    try:
        # The first pass only finds the file; the second knows its fields.
        found = _flags()
        found(argv, known_only=True)
        if found.help or found.helpfull:
            print(help_text(argv[0]))
            raise SystemExit(0)
        _check_given(found)
        config = load_config(find_config(found.config), _overrides(argv))
        words = _without_config(argv)
        parsed = _flags(words, config)
        left = parsed(words)[1:]
    except flags.Error as error:
        raise ValueError(_message(str(error))) from error
    if left:
        raise ValueError(f"The argument {left[0]!r} has no meaning; --help lists those that have.")
    given = parsed.workdir, parsed.overwrite, parsed.strategy, parsed.tpu, parsed.trust, parsed.backend
    return Arguments(parsed.config, *given, parsed.model_parallel)


def _overrides(argv: Sequence[str]) -> list[str]:
    """Fields that a command line sets: "model.image_size"."""
    found = (re.match(r"--?(?:no)?config\.([^=]*)", word) for word in argv)
    return [match[1] for match in found if match]


def _message(error: str) -> str:
    """What is wrong, in the words of this command."""
    if unfit := re.match(r"flag --config\.([^=]+)=(.*?): (.*)", error, re.DOTALL):
        field, value, reason = unfit.groups()
        kind = FIELDS[field].kind if field in FIELDS else "any"
        found = next((words for sign, words in _WORDS.items() if sign in reason), reason)
        words = found if kind in ("any", "group") else FIT[kind][1]
        return f"--config.{field} is {value!r}; it must be {words.format(field=field)}."
    unknown = re.match("Unknown command line flag '(.*?)'", error)
    if unknown and unknown[1] in FIELDS:
        return f"There is no option --{unknown[1]}; fields of the configuration go as --config.{unknown[1]}=VALUE."
    return error


def _flags(argv: list[str] | None = None, config: ConfigDict | None = None) -> flags.FlagValues:
    """Definition of the flags, the global ones left out; of a configuration those of its fields that `argv` sets."""
    values = flags.FlagValues()
    options: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_string("workdir", None, "directory of the run", **options)
    flags.DEFINE_string("strategy", "auto", "where to train", **options)
    flags.DEFINE_string("tpu", None, "name of a TPU", **options)
    flags.DEFINE_enum("backend", None, BACKENDS, "what Keras trains with", **options)
    flags.DEFINE_integer("model_parallel", 1, "devices among which weights are divided", lower_bound=1, **options)
    flags.DEFINE_boolean("overwrite", False, "replace the results of an earlier run", **options)
    flags.DEFINE_boolean("trust", False, "read .keras files that carry code", **options)
    flags.DEFINE_boolean("help", False, "this text", **options)
    flags.DEFINE_boolean("helpfull", False, "likewise; absl's name for help with everything", **options)
    if config is None:
        flags.DEFINE_string("config", None, "configuration file", **options)
    else:
        # Fields that the file does not list are checked when the configuration is resolved.
        options |= {"sys_argv": argv, "lock_config": False, "accept_new_attributes": True}
        config_flags.DEFINE_config_dict("config", config, "configuration", **options)
    return values


def _check_given(found: flags.FlagValues) -> None:
    for name, example in (("config", "digits_nest"), ("workdir", "runs/digits")):
        if not found[name].value:
            raise ValueError(f"--{name} is missing; give one, such as --{name}={example}.")


def _without_config(argv: Sequence[str]) -> list[str]:
    """The command line without the name of the configuration, which is loaded."""
    words = list(argv)
    for place, word in reversed(list(enumerate(argv))):
        if re.match("--?config=", word):
            del words[place]
        elif re.fullmatch("--?config", word):
            del words[place : place + 2]
    return words
