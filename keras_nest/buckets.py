"""Reading what lies at an address: objects of buckets that everybody may read, gs://BUCKET/OBJECT, come over https.

TensorFlow reads everything else. It could read those objects, too, but looks for credentials first, and waits for
minutes for a metadata server that machines outside of Google Cloud do not have.

Source: the XML API of Google Cloud Storage for objects, its JSON API for what lies in a directory.
"""

import contextlib
import functools
import http.client
import json
import logging
import os
import pathlib
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

from keras_nest.files import cache_folder

PREFIX = "gs://"
_ENDPOINT = "https://storage.googleapis.com"
# Seconds: until there is no network, between two pieces of an object, and for which an answer is remembered.
_PATIENCE, _TIMEOUT, _MEMORY = 5.0, 60.0, 10.0
_CHUNK = 16 << 20
# Beside the files of the cache, while they are fetched.
PARTIAL, LOCK = ".partial", ".lock"
_LOGGER = logging.getLogger("keras_nest")


class _Entry(NamedTuple):
    """What lies at an address: nothing, a file of `size` bytes, a directory, or something that is private.

    Attributes:
        kind: "file", "directory", "private" or "".
        size: of a file.
        offline: it is known from the cache alone, as there is no network.
    """

    kind: str
    size: int = 0
    offline: bool = False


def is_dir(path: str) -> bool:
    """Whether a path, local or an address, is a directory."""
    return _look(path).kind == "directory" if is_public(path) else _gfile().isdir(path)


def exists(path: str) -> bool:
    """Whether there is a file or directory.

    Raises:
        OSError: that cannot be said, without a network or a permission.
    """
    if is_public(path):
        return bool(_look(path).kind)
    with reading(path):
        return _gfile().exists(path)


def list_dir(path: str) -> list[str]:
    """Names of what lies in a directory.

    Raises:
        OSError: it cannot be read.
    """
    if not is_public(path):
        with reading(path):
            return _names_in(path)
    if _look(path).offline:
        return [name.name for name in place(path).iterdir() if name.suffix not in (PARTIAL, LOCK)]
    return [name.rstrip("/").rpartition("/")[2] for name in _list(path)]


def files_below(path: str) -> Iterator[str]:
    """Names of the files in a directory and below it, relative to it, as TensorFlow lists them at this moment.

    `tf.io.gfile.walk` passes over what cannot be listed, as if nothing were there.

    Args:
        path: local, or an address; where nothing is there are none.

    Raises:
        tensorflow.errors.OpError: a directory cannot be listed.
    """
    if not _gfile().exists(path):
        return
    for name in _names_in(path):
        inside = f"{path}/{name}"
        if _gfile().isdir(inside):
            yield from (f"{name}/{below}" for below in files_below(inside))
        else:
            yield name


def size(path: str) -> int:
    """Bytes of a file.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
    """
    if not is_public(path):
        with reading(path):
            return _gfile().stat(path).length
    found = _look(path)
    if found.kind != "file":
        raise FileNotFoundError(f"There is no {path}.")
    return found.size


def read(path: str, start: int = 0, end: int | None = None, chunk: int = _CHUNK) -> Iterator[bytes]:
    """The bytes of a file, in pieces.

    Args:
        path: local, or an address.
        start: the first byte.
        end: behind the last byte; None is the end of the file.
        chunk: bytes of a piece.

    Raises:
        OSError: it cannot be read.
    """
    left = float("inf") if end is None else end - start
    with reading(path), _opened(path, start) as source:
        while left and (piece := source.read(int(min(chunk, left)))):
            left -= len(piece)
            yield piece


def is_public(path: str) -> bool:
    """Whether a path is an address in a bucket that is read over https: everybody may read it, or nothing is there.

    Raises:
        ValueError: it names no object.
        OSError: there is no network, and the cache does not know it.
    """
    if not path.startswith(PREFIX):
        return False
    found = _look(path)
    if found.kind == "private":
        _tell_of_credentials(_split(path)[0])
    return found.kind != "private"


def is_offline(path: str) -> bool:
    """Whether the copy in the cache is all that is known of a public object, because there is no network."""
    return _look(path).offline


def forget() -> None:
    """Forgets what lies where, before that must be known as it is now."""
    _looked.cache_clear()


def place(path: str) -> pathlib.Path:
    """Where the cache keeps a copy of an object."""
    return cache_folder().joinpath("buckets", *_split(path))


@contextlib.contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns TensorFlow's errors about a source, and those of a connection, into one sentence.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read; an object of a bucket is then named by the address for a browser.
    """
    try:
        yield
    except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise _unreadable(path, f"the connection broke: {_words(error)}") from None
    except Exception as error:
        import tensorflow as tf  # which raised it

        if isinstance(error, tf.errors.NotFoundError):
            raise FileNotFoundError(f"There is no {path}.") from None
        if isinstance(error, tf.errors.OpError):
            raise _unreadable(path, error.message.partition("\n")[0].rpartition("error details: ")[2]) from None
        raise


def _words(error: Exception) -> str:
    """What an error of a connection says, or that which it is about."""
    reason = getattr(error, "reason", error)
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _unreadable(path: str, reason: str) -> OSError:
    by_hand = ""
    # Of a directory a browser shows nothing.
    if path.startswith(PREFIX) and os.path.splitext(path)[1]:
        by_hand = f"; by hand it can be had from {_ENDPOINT}/{urllib.parse.quote('/'.join(_split(path)))}"
    return OSError(f"{path} cannot be read ({reason}){by_hand}.")


def _gfile() -> Any:
    import tensorflow as tf

    return tf.io.gfile


def _names_in(path: str) -> list[str]:
    """What TensorFlow lists in a directory."""
    names = [name.rstrip("/") for name in _gfile().listdir(path)]
    # Where there is a file run2 beside it, ram:// lists "2" in the directory run.
    return [name for name in names if not path.startswith("ram://") or _gfile().exists(f"{path}/{name}")]


@contextlib.contextmanager
def _opened(path: str, start: int) -> Iterator[Any]:
    public = is_public(path)
    if not public or is_offline(path):
        with _gfile().GFile(str(place(path)) if public else path, "rb") as file:
            file.seek(start)
            yield file
        return
    with _ask(path, _url(path), headers={"Range": f"bytes={start}-"} if start else {}) as answer:
        if start and answer.status != http.client.PARTIAL_CONTENT:
            raise _unreadable(path, "the server does not give parts of it")
        yield answer


def _look(path: str) -> _Entry:
    _split(path)
    return _looked(path.rstrip("/"), _endpoint(), int(time.monotonic() / _MEMORY))


@functools.lru_cache(maxsize=1000)
def _looked(path: str, endpoint: str, moment: int) -> _Entry:
    if reason := _unreachable(endpoint, moment):
        return _in_cache(path, reason)
    try:
        if len(_split(path)) > 1:
            with contextlib.suppress(FileNotFoundError), _ask(path, _url(path), "HEAD") as answer:
                length = answer.headers.get("Content-Length")
                if length is None:
                    raise _unreadable(path, "the server does not tell its size")
                return _Entry("file", int(length))
        return _Entry("directory" if _list(path, maxResults="2") else "")
    except PermissionError:
        return _Entry("private")
    except FileNotFoundError:
        return _Entry("")


def _in_cache(path: str, reason: str) -> _Entry:
    """What was fetched earlier stands for what cannot be asked for."""
    there = place(path)
    if not there.exists():
        raise _unreadable(path, f"{urllib.parse.urlsplit(_endpoint()).netloc} cannot be reached: {reason}")
    if there.is_dir():
        return _Entry("directory", offline=True)
    _LOGGER.warning(f"{path} cannot be reached; what was fetched earlier is taken: {there}.")
    return _Entry("file", there.stat().st_size, offline=True)


@functools.lru_cache(maxsize=4)
def _unreachable(endpoint: str, moment: int) -> str:
    """Why a server does not answer, known after a few seconds whatever names, proxies and routers do; "" if it does."""
    reasons = [f"no answer within {_PATIENCE:.0f} seconds"]

    def ask() -> None:
        try:
            urllib.request.urlopen(endpoint, timeout=_PATIENCE).close()
            reasons.append("")
        except urllib.error.HTTPError as error:
            error.close()
            reasons.append("")
        except (OSError, ValueError, http.client.HTTPException) as error:
            reasons.append(_words(error))

    # A daemon, since looking up a name cannot be given a limit.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    return reasons[-1]


def _list(path: str, **query: str) -> list[str]:
    """Full names of what lies in a directory; with `maxResults`, of which one may be the directory, some of them."""
    bucket, *names = _split(path)
    prefix = "".join(f"{name}/" for name in names)
    query = {"prefix": prefix, "delimiter": "/", "fields": "items/name,prefixes,nextPageToken", **query}
    found: list[str] = []
    while True:
        url = f"{_endpoint()}/storage/v1/b/{urllib.parse.quote(bucket, '')}/o?{urllib.parse.urlencode(query)}"
        with _ask(path, url) as answer, reading(path):
            page = json.load(answer)
        found += [*page.get("prefixes", ()), *(item["name"] for item in page.get("items", ()))]
        if "nextPageToken" not in page or "maxResults" in query:
            # A directory that was made by hand is an object of its own.
            return [name for name in found if name != prefix]
        query["pageToken"] = page["nextPageToken"]


def _ask(path: str, url: str, method: str = "GET", headers: dict[str, str] | None = None) -> Any:
    """An answer of the server.

    Raises:
        FileNotFoundError: there is nothing.
        PermissionError: not everybody may read it.
        OSError: another error.
    """
    request = urllib.request.Request(url, headers=headers or {}, method=method)
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.NOT_FOUND:
            raise FileNotFoundError(f"There is no {path}.") from None
        if error.code in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            raise PermissionError(f"{path} is private.") from None
        raise _unreadable(path, f"{error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _unreadable(path, _words(error)) from None


def _endpoint() -> str:
    """Google's server, or the one that the variable of Google's own libraries names, for tests."""
    host = os.environ.get("STORAGE_EMULATOR_HOST", _ENDPOINT).rstrip("/")
    return host if "://" in host else f"http://{host}"


def _url(path: str) -> str:
    return f"{_endpoint()}/{urllib.parse.quote('/'.join(_split(path)))}"


def _split(path: str) -> list[str]:
    """Bucket, directories and name.

    Raises:
        ValueError: there is no such object.
    """
    parts = path.removeprefix(PREFIX).rstrip("/").split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise ValueError(f"{path} is no address of an object; write gs://BUCKET/OBJECT.")
    return parts


@functools.cache
def _tell_of_credentials(bucket: str) -> None:
    _LOGGER.warning(
        f"Not everybody may read {PREFIX}{bucket}; TensorFlow reads it with your credentials, and outside of Google "
        "Cloud it may look for them for minutes."
    )
