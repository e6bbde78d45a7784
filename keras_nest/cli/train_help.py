"""The help of `keras-nest train` and `train_keras.py`: options, then the fields of configurations in groups."""

import os
import textwrap
from collections.abc import Iterator, Mapping

from keras_nest.choices import BACKENDS, STRATEGIES
from keras_nest.cli.config_files import list_configs
from keras_nest.training_fields import HEADINGS, Field

_WIDTH = 110
_HELP = """\
Trains, fine-tunes or evaluates a model. The directory gets model.keras, history.csv, curves.png, confusion.png,
classes.txt, metrics.json, config.json, checkpoints/ and tensorboard/. The same command goes on with a training that was
broken off.

usage: {program} --config=NAME|FILE[:ARGUMENT] --workdir=DIR [--config.FIELD=VALUE …]
       [--strategy={{{strategies}}}] [--tpu=NAME]
       [--backend={{{backends}}}] [--model_parallel=NUMBER]
       [--overwrite] [--trust] [--help|--helpfull]

  --config          configuration: {configs}; or a file of yours
  --workdir         directory of the run
  --strategy        where to train; auto: a TPU if one is named, else all GPUs, else the CPU
  --tpu             name or address of a Cloud TPU, or local
  --backend         what Keras runs on; jax trains on TPUs, too; a run of one goes on with the other
  --model_parallel  with --backend=jax: devices among which the weights of each block are divided
  --overwrite       start anew and replace the results of an earlier run in that directory
  --trust           read .keras files that carry code, which runs then

Fields go as --config.FIELD=VALUE, those of groups as --config.GROUP.FIELD=VALUE; a configuration says which it sets,
in brackets is what holds otherwise.

{fields}"""


def help_text(program: str) -> str:
    """All of it.

    Args:
        program: what was called; a path is left out.
    """
    configs = textwrap.fill(", ".join(list_configs()), 92, subsequent_indent=" " * 20)
    fields = "\n\n".join(f"{heading}:\n" + "\n".join(_lines(fields)) for heading, fields in HEADINGS.items())
    return _HELP.format(
        program=os.path.basename(program),
        configs=configs,
        strategies=",".join(STRATEGIES),
        backends=",".join(BACKENDS),
        fields=fields,
    )


def _lines(fields: Mapping[str, Field]) -> Iterator[str]:
    """A line for each field: its name, what it is, and in brackets its default."""
    width = max(map(len, fields)) + 4
    for name, field in fields.items():
        # A text stands in its words.
        default = (
            "" if isinstance(field.default, (str, dict, tuple)) or field.default is None else f" ({field.default})"
        )
        yield textwrap.fill(
            field.about + default, _WIDTH, initial_indent=f"  {name}".ljust(width), subsequent_indent=" " * width
        )
