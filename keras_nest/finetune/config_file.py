"""The training of a fine-tuning as a configuration file, for `keras-nest train` and `train_keras.py`."""

import pprint
from collections.abc import Mapping
from typing import Any

_FILE = '''"""What `keras-nest finetune` decided for {folder}, as a configuration.

python train_keras.py --config={path} --workdir=DIR
{note}"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """`keras-nest train --help` explains the fields."""
    return ConfigDict(
{fields}
    )
'''
_HEAD_FIRST = """
The command fits the head to features first, which are computed once; this begins with a head of zeros.
"""


def config_file(config: Mapping[str, Any], folder: str, path: str, fits_head: bool) -> str:
    """Content of the file.

    Args:
        config: fields of the configuration.
        folder: of the images.
        path: of the file.
        fits_head: whether the head is fit to features first.
    """
    fields = pprint.pformat(dict(config), width=110, sort_dicts=False)
    lines = "\n".join(f"        {line}" for line in fields.splitlines())
    told = {name: repr(text)[1:-1].replace('"', "'") for name, text in (("folder", folder), ("path", path))}
    return _FILE.format(**told, note=_HEAD_FIRST if fits_head else "", fields=lines)
