"""The page over HTTP, for this machine alone: static files, and questions that are answered in JSON.

Each question carries its image, so nothing is kept, and several people at once are nothing special.
"""

import base64
import http.server
import importlib.resources
import io
import json
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_nest import page
from keras_nest.app.model import AppModel
from keras_nest.predict.images import decode_image, read_image

HOST = "127.0.0.1"
_KINDS = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_LARGEST = 200 * 2**20  # bytes of an image file
_SHOWN, _SMALL = 1024, 160  # pixels of the longer side: in the page, and of an example
_FEW, _CLASSES = 10, 5  # so many classes are all shown; of more, the first
# The page loads nothing from elsewhere, and no other page may show it, or read what it says.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Server(http.server.ThreadingHTTPServer):
    """Answers questions about a model on the loopback address.

    Attributes:
        model: what is asked; must be there before the first question.
        examples: files of images to begin with.

    Args:
        port: where; 0 takes any that is free.

    Raises:
        OSError: the port is in use, or cannot be had.
    """

    daemon_threads = True
    # Elsewhere it would share the port of another program.
    allow_reuse_address = os.name == "posix"
    model: AppModel

    def __init__(self, port: int) -> None:
        self.examples: list[tuple[pathlib.Path, bytes]] = []
        try:
            super().__init__((HOST, port), _Handler)
        except OverflowError:
            raise ValueError(f"--port is {port}; it must be 0 to 65535.") from None
        except OSError as error:
            raise OSError(f"Port {port} cannot be had ({error.strerror}); choose another: --port N.") from None

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{HOST}:{self.server_port}"

    def show(self, examples: Sequence[pathlib.Path]) -> None:
        """Takes images to begin with; what cannot be read is left out."""
        for path in examples:
            try:
                self.examples.append((path, _encoded(read_image(path), _SMALL)[1]))
            except (ValueError, OSError):
                continue

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    timeout = 60  # seconds in which a client must go on

    def do_GET(self) -> None:
        """Static files, facts on the model, and examples."""
        path, _, query = self.path.partition("?")
        if not self._is_from_here():
            return
        if path == "/":
            self._send(page.read(page.HTML).encode(), "text/html; charset=utf-8")
        elif (name := path.removeprefix("/")) in page.FILES:
            self._send(page.read(name).encode(), _KINDS[os.path.splitext(name)[1]])
        elif path == "/backend.js":
            content = importlib.resources.files("keras_nest.app").joinpath("backend.js").read_bytes()
            self._send(content, _KINDS[".js"])
        elif path == "/model":
            self._answer(lambda: _facts(self.server))
        elif (number := _number(path.removeprefix("/examples/"))) is not None and number < len(self.server.examples):
            file, small = self.server.examples[number]
            whole = query == "whole"
            self._send(file.read_bytes() if whole else small, "application/octet-stream" if whole else "image/jpeg")
        else:
            self._send(b"", "text/plain", 404)

    def do_POST(self) -> None:
        """A question about the image that comes with it."""
        path, _, query = self.path.partition("?")
        questions = {"/predict": _predict, "/explain": _explain}
        if not self._is_from_here():
            return
        if path not in questions:
            self._send(b"", "text/plain", 404)
            return
        asked = urllib.parse.parse_qs(query, keep_blank_values=True)
        length = _number(self.headers.get("Content-Length") or "")
        if length is None:
            self._answer(lambda: _refuse("The request does not say how many bytes it has."))
            return
        if length > _LARGEST:
            self._answer(lambda: _refuse(f"The file has {length:,} bytes; it may have {_LARGEST:,}."))
            return
        content = self.rfile.read(length)
        self._answer(lambda: questions[path](self.server.model, content, asked))

    def _is_from_here(self) -> bool:
        """Refuses other pages of the same browser, which may reach this machine under a name of theirs."""
        hosts = {f"{name}:{self.server.server_port}" for name in (HOST, "localhost")}
        origin = self.headers.get("Origin")
        is_ours = self.headers.get("Host") in hosts and (origin is None or origin.removeprefix("http://") in hosts)
        if not is_ours:
            self._send(b"", "text/plain", 403)
        return is_ours

    def _answer(self, question: Callable[[], dict[str, Any]]) -> None:
        """JSON; what is wrong with an image or the texts is a sentence in it."""
        try:
            answer = json.dumps(question(), allow_nan=False)
        except (ValueError, OSError, tf.errors.OpError) as error:
            # TensorFlow's messages go on with where in the graph it was.
            message = error.message if isinstance(error, tf.errors.OpError) else str(error)
            answer = json.dumps({"error": message.partition("\n")[0]})
        except MemoryError:
            answer = json.dumps({"error": "There is not enough memory for this."})
        self._send(answer.encode(), "application/json")

    def _send(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing of every request."""


def _facts(server: Server) -> dict[str, Any]:
    model = server.model
    names = [model.choose(()).name_of(k) for k in range(model.choose(()).num_classes)] if model.labels is None else []
    examples = [path.name for path, _ in server.examples]
    facts = {"name": model.name, "facts": model.facts, "labels": model.labels, "classes": names}
    return {**facts, "methods": list(model.methods), "whyNot": model.why_not, "examples": examples, "largest": _LARGEST}


def _predict(model: AppModel, content: bytes, asked: dict[str, list[str]]) -> dict[str, Any]:
    labels = tuple(text for line in asked.get("labels", ()) if (text := line.strip()))
    if model.labels is not None and not labels:
        raise ValueError("There are no labels; write one a line, such as: a dog.")
    image = decode_image(content, asked.get("name", ["The image"])[0])
    predictions = model.predict(image, labels)
    predictions = predictions if len(predictions) <= _FEW else predictions[:_CLASSES]
    kind, picture = _encoded(image, _SHOWN)
    shown = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    height, width = image.shape[:2]
    return {"predictions": predictions, "picture": shown, "height": height, "width": width}


def _explain(model: AppModel, content: bytes, asked: dict[str, list[str]]) -> dict[str, Any]:
    method, given = (asked.get(name, [""])[0] for name in ("method", "class"))
    if (index := _number(given)) is None:
        raise ValueError(f"There is no class {given!r}.")
    return model.explain(decode_image(content, asked.get("name", ["The image"])[0]), method, index)


def _number(text: str) -> int | None:
    """A whole number from 0 on; of thousands of digits Python makes none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else None


def _refuse(message: str) -> dict[str, Any]:
    raise ValueError(message)


def _encoded(image: np.ndarray, side: int) -> tuple[str, bytes]:
    """Kind and content of a file that every browser shows, no larger than that; small images keep every pixel."""
    small, content = Image.fromarray(image), io.BytesIO()
    is_photograph = max(small.size) > 256 or side == _SMALL
    small.thumbnail((side, side))
    kind = "jpeg" if is_photograph else "png"
    small.save(content, kind, **({"quality": 90} if is_photograph else {}))
    return kind, content.getvalue()
