"""From what a user types to the tensors of a checkpoint."""

import contextlib
import io
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import tensorflow as tf

from keras_nest import buckets, registry
from keras_nest.conversion.hugging_face import on_this_machine
from keras_nest.conversion.msgpack_file import msgpack_image_size, read_msgpack
from keras_nest.conversion.names import Tree, model_tree
from keras_nest.conversion.npz_file import npz_image_size, read_npz
from keras_nest.conversion.orbax_directory import MARKERS, orbax_image_size, read_orbax
from keras_nest.conversion.own import read_own
from keras_nest.conversion.pytorch import files as pytorch_files
from keras_nest.conversion.pytorch.config_file import ASSUMED_GELU, Told, read_config, timm_resizing, without_config
from keras_nest.conversion.pytorch.translate import to_flax
from keras_nest.copies import cached
from keras_nest.exported import refuse_export
from keras_nest.files import ChangedError, check_regular, is_address, unchanged
from keras_nest.models.keras_file import find_keras_file
from keras_nest.models.weights_file import SUFFIX
from keras_nest.places import as_place
from keras_nest.types import Progress, Size

# Fields in which weights of PyTorch may differ from those that were published under a name here.
_FREE_OF_NAME = ("num_classes", "image_size", "in_channels", "preprocessing", "dropout_rate", "stochastic_depth_drop")


def read_checkpoint(
    path: str | os.PathLike[str],
    progress: Progress | None = None,
    trust: bool = False,
    num_heads: int | None = None,
) -> Tree:
    """Reads the model's tensors from any published kind of checkpoint.

    Args:
        path: a published directory, a file in it or the name users type ("…/ckpt.39"); a Flax msgpack file; a
            '/'-keyed .npz; an Orbax directory; weights of timm or transformers (.safetensors, .pth, .bin, or a
            directory with such a file and its config.json); a .keras file of this package or a training's directory.
            Local, an address ("gs://…"), or a handle of the hub ("hf://OWNER/NAME").
        progress: told how many bytes were fetched, or read.
        trust: as `read_model` takes it.
        num_heads: attention heads of a PyTorch model, of NesT those of the first level; None takes them from its
            config.json.

    Returns:
        "params/PATH" and "batch_stats/PATH" -> array.

    Raises:
        FileNotFoundError: nothing there, or no checkpoint in the directory.
        ValueError: damaged, or not a checkpoint.
    """
    path = on_this_machine(path)
    if file := find_keras_file(path):
        return model_tree(read_own(file, trust))
    refuse_export(path)
    if path.endswith(SUFFIX):
        raise ValueError(
            f"{path} does not say of which model its weights are; give create_model the name and weights=…."
        )
    try:
        located = locate(path)
        if buckets.is_dir(located):
            return read_orbax(cached(located, progress))
        with contextlib.nullcontext() if is_address(located) else unchanged(located):
            if pytorch_files.is_pytorch(located):
                return _read_pytorch(located, progress, num_heads)
            with buckets.reading(path), _open(located, progress) as binary:
                return read_npz(binary) if _is_zip(binary) else read_msgpack(binary)
    except ChangedError:
        raise
    except ValueError as error:
        raise ValueError(f"The checkpoint {path} cannot be read: {error}.") from None


def read_image_size(path: str | os.PathLike[str]) -> Size | None:
    """Height and width of the images of a checkpoint's model; None where it does not tell, as published files do not.

    Args:
        path: a checkpoint that `read_checkpoint` reads, other than a .keras file.
    """
    located = locate(os.fspath(path))
    if pytorch_files.is_pytorch(located):
        found = told(located)
        return found.image_size if found else None
    if buckets.is_dir(located):
        return orbax_image_size(cached(located))
    with _open(located, None) as file:
        return npz_image_size(file) if _is_zip(file) else msgpack_image_size(file)


def told(path: str | os.PathLike[str]) -> Told | None:
    """What the config.json beside PyTorch weights says; None without one, and of other checkpoints.

    Args:
        path: a checkpoint that `read_checkpoint` reads, other than a .keras file.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: it says of a model that ours do not compute.
    """
    located = locate(os.fspath(path))
    if not pytorch_files.is_pytorch(located):
        return None
    folder = os.path.dirname(located)
    config, preprocessor = (
        _content(os.path.join(folder, name)) for name in (pytorch_files.CONFIG, pytorch_files.PREPROCESSOR)
    )
    try:
        return read_config(config, preprocessor) if config is not None else None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read: its config.json {error}.") from None


def told_of_model(path: str | os.PathLike[str], full_name: str, given: Mapping[str, Any]) -> Told | None:
    """What is known of a PyTorch model before its tensors are; None of other checkpoints.

    Args:
        path: as `told` takes it.
        full_name: a name of `list_models`, which the user gave or the checkpoint told.
        given: fields that the user set.

    Raises:
        ValueError: as `told`, or its config.json says that it is another model.
    """
    if not pytorch_files.is_pytorch(locate(os.fspath(path))):
        return None
    found = told(path)
    if found is None:
        resize_method = timm_resizing(registry.resolve(full_name)[1])
        return Told(full_name, without_config(full_name), None, True, (ASSUMED_GELU,), resize_method)
    _, architecture, fields = registry.resolve(full_name)
    _, theirs, their_fields = registry.resolve(found.name)
    their_fields |= found.fields
    differing = [
        f"{field} is {their_fields[field]}"
        for field, value in fields.items()
        if field not in (*_FREE_OF_NAME, *given) and their_fields.get(field, value) != value
    ]
    if found.name != full_name and (architecture is not theirs or differing):
        what = f"whose {differing[0]}" if architecture is theirs else f"a {theirs.__name__}"
        raise ValueError(
            f"{os.fspath(path)} is no {full_name}: its config.json says that it is {found.name}, {what}; leave the "
            "name out."
        )
    return found


def _content(path: str) -> bytes | None:
    if not buckets.exists(path):
        return None
    with _open(path, None) as file:
        return file.read()


def _read_pytorch(located: str, progress: Progress | None, num_heads: int | None) -> Tree:
    tensors = pytorch_files.read_tensors(located, lambda path: _open(path, progress))
    if num_heads is None and (found := told(located)):
        num_heads = found.num_heads
    return to_flax(tensors, num_heads)


def locate(path: str) -> str:
    """The file or Orbax directory that a checkpoint's name means.

    Raises:
        FileNotFoundError: nothing found, or nothing complete; says what lies there instead.
    """
    path = on_this_machine(path)
    path = path.rstrip("/") or path
    if buckets.is_dir(path):
        if is_address(path) and not as_place(path).exists():
            raise FileNotFoundError(f"{path} was begun and never completed; write it again.")
        return _locate_in_directory(path)
    directory, name = os.path.split(path)
    prefix = re.match(r"(?P<stem>.*?)[.-](?P<number>\d+)(\.index|\.data-\d+-of-\d+)?$", name)
    if buckets.exists(path):
        if name == "checkpoint":
            return _locate_in_directory(directory)
        return _require(directory, f"{prefix['stem']}-{prefix['number']}.flax") if prefix else path
    if prefix and buckets.is_dir(directory or "."):
        return _require(directory, f"{prefix['stem']}-{prefix['number']}.flax")
    raise FileNotFoundError(
        f"There is no checkpoint {path}; give a .flax, .npz, .safetensors, .pth or .keras file, or the directory of "
        "one or of a training."
    )


def _locate_in_directory(directory: str) -> str:
    names = buckets.list_dir(directory or ".")
    if weights := pytorch_files.in_directory(names):
        return os.path.join(directory, weights)
    numbers = {int(m[1]): name for name in names if (m := re.fullmatch(r".*-(\d+)\.flax", name))}
    if numbers:
        return os.path.join(directory, _newest(directory, names) or numbers[max(numbers)])
    if any(marker in names for marker in MARKERS):
        # A step directory of Orbax' CheckpointManager holds its PyTree in an item.
        inner = [name for name in ("default", "params", "state") if name in names]
        return os.path.join(directory, inner[0]) if inner else directory
    raise FileNotFoundError(
        f"The directory {directory} holds no checkpoint: neither ckpt-NUMBER.flax nor an Orbax checkpoint nor "
        "model.safetensors nor model.keras of a finished training."
    )


def _newest(directory: str, names: list[str]) -> str | None:
    """The file that the text file `checkpoint` calls the newest, if both are there."""
    if "checkpoint" not in names:
        return None
    text = b"".join(buckets.read(os.path.join(directory, "checkpoint"))).decode(errors="replace")
    match = re.search(r'^model_checkpoint_path: "(.*)"', text, re.MULTILINE)
    name = f"{os.path.basename(match[1])}.flax" if match else None
    return name if name in names else None


def _require(directory: str, name: str) -> str:
    path = os.path.join(directory, name)
    if buckets.exists(path):
        return path
    there = sorted(entry for entry in buckets.list_dir(directory or ".") if entry.endswith(".flax"))
    found = f"it holds {', '.join(there)}" if there else "it holds no .flax file"
    raise FileNotFoundError(f"There is no {name} in {directory or 'the current directory'}; {found}.")


class _Reader(io.RawIOBase):
    """A binary file that reports how far it was read."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None) -> None:
        self._file, self._size, self._progress = file, size, progress
        self._read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence != os.SEEK_SET:  # TensorFlow's files seek from the start only
            offset += self._file.tell() if whence == os.SEEK_CUR else self._size
        self._file.seek(offset)
        return offset

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._read += len(data)
        if self._progress:
            self._progress(min(self._read, self._size), self._size)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def _is_zip(file: io.BufferedReader) -> bool:
    return file.peek(2)[:2] == b"PK"


def _open(path: str, progress: Progress | None) -> io.BufferedReader:
    path = cached(path, progress)
    if "://" not in path:
        check_regular(path)
    # TensorFlow's file layer copies more than Python's; it is used where it is needed.
    file = tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb")  # noqa: SIM115
    return io.BufferedReader(_Reader(file, buckets.size(path), progress), 1 << 24)
