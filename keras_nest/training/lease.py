"""One training at a time at an address, where there are no locks: the owner shows again and again that it is there.

No clock of another machine is read: who finds an owner watches whether it goes on, and only then takes its place.
"""

import contextlib
import os
import pathlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator

import tensorflow as tf

from keras_nest.mirror import Mirror, mirror_of
from keras_nest.outputs import whole
from keras_nest.places import telling

FILE = ".lock"
BEAT = 10.0
"""Seconds from one sign of the owner to the next."""
SILENCE = 3 * BEAT
"""Seconds without a sign after which an owner counts as gone."""
SETTLE = 1.0
"""Seconds after which the one of two who came at the same time sees that the other was later."""


class InUseError(OSError):
    """Another training is at work in the directory."""


@contextlib.contextmanager
def leased(directory: pathlib.Path) -> Iterator[None]:
    """Keeps other machines out of the address of a mirror while the block runs; of another directory does nothing.

    The directory is brought up to date at the start, and what changed in it goes to the address at the end.

    Args:
        directory: see `keras_nest.mirror.mirrored`.

    Raises:
        InUseError: another training is at work there.
        OSError: the address cannot be read or written to.
    """
    mirror = mirror_of(directory)
    if mirror is None:
        yield
        return
    lease = _Lease(mirror)
    lease.take()
    try:
        mirror.remove_partial()
        mirror.fetch()
        yield
    finally:
        try:
            lease.check()
            mirror.push()
        finally:
            lease.release()


class _Lease:
    """A file at the address that says whose it is, and how often that was said."""

    def __init__(self, mirror: Mirror) -> None:
        self._address = mirror.address
        self._file = f"{mirror.address}/{FILE}"
        self._signature = f"process {os.getpid()} on {socket.gethostname()}, {uuid.uuid4().hex[:8]}"
        self._over = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._go_on, daemon=True)

    def take(self) -> None:
        with telling(self._address, "written to"):
            if found := self._read():
                self._wait_for_silence(found)
            self._write(0)
            time.sleep(SETTLE)
            if not self._is_mine():
                raise self._in_use(self._read())
        self._thread.start()

    def check(self) -> None:
        """Refuses to write over what another one does, who found no sign of this one for a long time."""
        if self._is_lost:
            raise self._in_use(self._read())

    def release(self) -> None:
        self._over.set()
        self._thread.join()
        with contextlib.suppress(tf.errors.OpError):
            if self._is_mine():
                tf.io.gfile.remove(self._file)

    def _wait_for_silence(self, found: str) -> None:
        owner = found.partition("\n")[0]
        print(f"{self._address} belongs to {owner}; seeing for {SILENCE:g} s whether it is still at work.", flush=True)
        end = time.monotonic() + SILENCE
        while time.monotonic() < end:
            time.sleep(min(1.0, SILENCE / 10))
            now = self._read()
            if not now:
                return
            if now != found:
                raise self._in_use(now)
        print(
            f"The training that was at work in {self._address} ({owner}) did not end in order; taken over.", flush=True
        )

    def _in_use(self, found: str) -> InUseError:
        owner = found.partition("\n")[0] or "another process"
        return InUseError(
            f"{self._address} is in use: a training is at work there ({owner}); wait for its end, end it, or choose "
            "another --workdir."
        )

    def _go_on(self) -> None:
        beat = 0
        while not self._over.wait(BEAT):
            beat += 1
            # A bucket that does not answer once may answer the next time.
            with contextlib.suppress(tf.errors.OpError):
                if not self._is_mine():
                    self._is_lost = True
                    return
                self._write(beat)

    def _is_mine(self) -> bool:
        return self._read().startswith(self._signature)

    def _read(self) -> str:
        try:
            with tf.io.gfile.GFile(self._file, "r") as file:
                return file.read()
        except tf.errors.NotFoundError:
            return ""

    def _write(self, beat: int) -> None:
        with whole(self._file) as target, tf.io.gfile.GFile(target, "w") as file:
            file.write(f"{self._signature}\n{beat}\n")
