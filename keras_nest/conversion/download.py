"""Published files -> a local directory."""

import os
import pathlib

from keras_nest.buckets import reading
from keras_nest.conversion.hugging_face import is_handle, on_this_machine, parse_handle
from keras_nest.copies import copy
from keras_nest.files import check_local
from keras_nest.types import Progress


def download(
    uri: str | os.PathLike[str],
    directory: str | os.PathLike[str],
    overwrite: bool = False,
    progress: Progress | None = None,
) -> pathlib.Path:
    """Copies a file, or a directory with all that lies in it, as `keras_nest.copies.copy` does.

    Args:
        uri: local, an address ("gs://…"), or a handle of the hub ("hf://OWNER/NAME").
        directory: where the copy shall lie, under its own name; made if missing.
        overwrite: replace another file of that name.
        progress: told how many bytes are there, of how many; first before anything is fetched.

    Returns:
        Path of the copy.

    Raises:
        ValueError: the directory is an address such as gs://….
        FileNotFoundError: there is no such file.
        FileExistsError: another file of that name lies there and `overwrite` is false.
        OSError: the source cannot be read or changed meanwhile, or the directory cannot be written to.
    """
    check_local(directory)
    source, uri = os.fspath(uri), on_this_machine(uri).rstrip("/")
    # What lies in the cache of the hub is called after a commit.
    is_repository = is_handle(source) and os.path.isdir(uri)
    name = parse_handle(source).repository if is_repository else uri
    target = pathlib.Path(directory) / os.path.basename(name)
    with reading(uri):
        copy(uri, target, overwrite, progress)
    return target
