"""Images that Pillow has to read, converted once: copies in a folder, which are read in their place from then on.

A photograph of an iPhone takes ten times as long to read as its copy, and a training reads it every epoch.
"""

import contextlib
import hashlib
import pathlib
import shutil
import threading
from collections.abc import Callable

from keras_nest.data.image_files import decodable
from keras_nest.files import atomic_output, check_local

MOST_BYTES = 2**34
"""That all copies may take; nor do they take more than half of what is free on the disk."""


class Copies:
    """Files in a folder that are made once and read from then on, within limits.

    Each is there completely or not at all, and any number of processes may share the folder. What cannot be written is
    not kept.

    Args:
        folder: where; it is made when the first file is kept. Once it is removed, no more are kept.

    Raises:
        ValueError: the folder is an address such as gs://….
    """

    def __init__(self, folder: pathlib.Path) -> None:
        check_local(folder)
        self._folder = folder
        self._lock = threading.Lock()
        self._room: int | None = None

    def get(self, key: bytes, make: Callable[[], bytes], is_worth_it: Callable[[bytes], bool] = bool) -> bytes:
        """The content of a BMP file, from the folder or made now.

        Args:
            key: what tells it from all others.
            make: makes it.
            is_worth_it: whether a content is to be kept.
        """
        copy = self._folder / f"{hashlib.sha256(key).hexdigest()[:32]}.bmp"
        with contextlib.suppress(OSError):
            return copy.read_bytes()
        content = make()
        if is_worth_it(content):
            with contextlib.suppress(OSError):
                self._keep(copy, content)
        return content

    def _keep(self, copy: pathlib.Path, content: bytes) -> None:
        with self._lock:
            if self._room is None:
                self._room = self._measure_room()
            fits = len(content) <= self._room
            self._room -= len(content) if fits else 0
        if fits and self._folder.is_dir():
            with atomic_output(copy, overwrite=True) as partial:
                partial.write_bytes(content)

    def _measure_room(self) -> int:
        self._folder.mkdir(parents=True, exist_ok=True)
        taken = sum(copy.stat().st_size for copy in self._folder.glob("*.bmp"))
        return min(MOST_BYTES - taken, shutil.disk_usage(self._folder).free // 2)


class Converted:
    """`image_files.decodable` with a memory: gives the same, and keeps it in a folder.

    Copies are called by the content of what they were made of, so that none is ever out of date. What was hardly
    compressed is not kept: it is read as quickly as a copy.

    Args:
        folder: of `Copies`.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._copies = Copies(folder)

    def __call__(self, encoded: bytes) -> bytes:
        """Content of an image file as TensorFlow decodes it; arguments and errors are those of `decodable`."""
        return self._copies.get(encoded, lambda: decodable(encoded), lambda content: 2 * len(encoded) < len(content))
