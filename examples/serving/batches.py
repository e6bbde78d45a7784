"""What the servers of this folder share: a SavedModel that answers the requests of many clients, bounded in all ways.

Requests wait in one queue, and one thread answers them, so that memory does not grow with the number of clients. It
joins what waits for the same signature into one batch; where the model has a signature NAME_each
(docs/guides/export.md), a bad image costs its own request alone.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import importlib
import pathlib
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

EACH, STATUS, MESSAGE = "_each", "status", "message"
OK = 0  # of google.rpc.Code, as the signatures tell it

Answers: TypeAlias = dict[str, np.ndarray]
"""Outputs of a signature by name."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a server takes at most.

    Attributes:
        waiting: requests at a time; further ones are refused at once.
        images: images, or texts, of a request and of a batch.
        megabytes: of a request.
        seconds: from a request to its answer.
    """

    waiting: int = 64
    images: int = 32
    megabytes: int = 16
    seconds: float = 30.0


class Overloaded(Exception):
    """Too many requests wait, or the server is about to stop."""


@dataclasses.dataclass
class _Request:
    signature: str
    inputs: dict[str, np.ndarray]
    deadline: float
    answer: concurrent.futures.Future

    def __len__(self) -> int:
        return max(map(len, self.inputs.values()))


class Model:
    """A SavedModel and the thread that asks it.

    Args:
        folder: a SavedModel, or the directory of its versions, of which the newest is taken.
        limits: what it takes at most.

    Raises:
        FileNotFoundError: there is no SavedModel.
    """

    def __init__(self, folder: str, limits: Limits) -> None:
        path, self.limits = _newest(pathlib.Path(folder)), limits
        with contextlib.suppress(ModuleNotFoundError):  # the operations of LiT's tokenizer
            importlib.import_module("tensorflow_text")
        self._module = tf.saved_model.load(str(path))
        self.signatures = dict(self._module.signatures)
        self.version = int(path.name) if path.name.isdecimal() else 1
        self._requests: collections.deque[_Request] = collections.deque()
        self._changed, self._count, self.is_open = threading.Condition(), 0, True
        self._thread = threading.Thread(target=self._work, name="model")
        self._thread.start()

    def submit(self, signature: str, inputs: Mapping[str, np.ndarray]) -> concurrent.futures.Future:
        """Lets a request wait for its answer: outputs by name, arrays.

        The future ends with a ValueError where the request is bad, and with a TimeoutError where it has waited too
        long.

        Raises:
            KeyError: there is no such signature.
            ValueError: the inputs are not those of the signature.
            Overloaded: it must not wait.
        """
        self.check(signature, {name: (value.dtype, value.shape) for name, value in inputs.items()})
        deadline = time.monotonic() + self.limits.seconds
        request = _Request(signature, dict(inputs), deadline, concurrent.futures.Future())
        with self._changed:
            if not self.is_open:
                raise Overloaded("The server is about to stop.")
            if self._count >= self.limits.waiting:
                raise Overloaded(f"{self._count} requests wait, which is as many as may.")
            self._count += 1
            self._requests.append(request)
            self._changed.notify()
        return request.answer

    def check(self, signature: str, found: Mapping[str, tuple[Any, tuple[int, ...]]]) -> None:
        """Refuses inputs that do not fit, by dtypes and shapes alone: before memory is taken for them.

        Raises:
            KeyError, ValueError: as `submit`.
        """
        specs = self.specs(signature)
        if found.keys() != specs.keys():
            raise ValueError(f"The inputs are {sorted(found)}; those of {signature} are {sorted(specs)}.")
        for name, (dtype, shape) in found.items():
            spec, dtype = specs[name], _dtype(dtype)
            if dtype != spec.dtype or not spec.shape.is_compatible_with(shape):
                wanted = f"{spec.dtype.name} {spec.shape}"
                raise ValueError(f"The input {name} is {dtype.name} {tuple(shape)}; it must be {wanted}.")
            if not 0 < shape[0] <= self.limits.images:
                raise ValueError(f"The input {name} has {shape[0]} rows; there must be 1 to {self.limits.images}.")

    def specs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """The inputs of a signature.

        Raises:
            KeyError: there is no such signature.
        """
        if signature not in self.signatures:
            raise KeyError(f"There is no signature {signature!r}; there are {', '.join(sorted(self.signatures))}.")
        return self.signatures[signature].structured_input_signature[1]

    def close(self) -> None:
        """Takes no more requests, and returns when those that wait are answered."""
        with self._changed:
            self.is_open = False
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while taken := self._next():
            # Nobody waits any more for those that were cancelled.
            batch = [request for request in taken if request.answer.set_running_or_notify_cancel()]
            late = [request for request in batch if request.deadline < time.monotonic()]
            for request in late:
                request.answer.set_exception(TimeoutError(f"It waited more than {self.limits.seconds:g} s."))
            if in_time := [request for request in batch if request not in late]:
                self._answer(in_time)
            with self._changed:
                self._count -= len(taken)

    def _next(self) -> list[_Request]:
        """The requests to answer now: what waits already for one signature; none when all is done."""
        with self._changed:
            self._changed.wait_for(lambda: self._requests or not self.is_open)
            batch = [self._requests.popleft()] if self._requests else []
            while self._requests and self._joins(batch, self._requests[0]):
                batch.append(self._requests.popleft())
            return batch

    def _joins(self, batch: list[_Request], request: _Request) -> bool:
        name = _plain(request.signature)
        is_same = name == _plain(batch[0].signature) and self._can_join(request)
        return is_same and sum(map(len, [*batch, request])) <= self.limits.images

    def _can_join(self, request: _Request) -> bool:
        return len(request.inputs) == 1 and f"{_plain(request.signature)}{EACH}" in self.signatures

    def _answer(self, batch: list[_Request]) -> None:
        try:
            if self._can_join(batch[0]):
                answers = self._ask_joined(batch)
            else:
                answers = [self._ask(batch[0].signature, batch[0].inputs)]
        except Exception as error:  # whatever it is, it is the answer, and the others go on
            answers = [_as_answer(error)] * len(batch)
        for request, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                request.answer.set_exception(answer)
            else:
                request.answer.set_result(answer)

    def _ask_joined(self, batch: list[_Request]) -> list[Answers | Exception]:
        (name,) = batch[0].inputs
        joined = np.concatenate([request.inputs[name] for request in batch])
        answers = self._ask(f"{_plain(batch[0].signature)}{EACH}", {name: joined})
        stops = np.cumsum([len(request) for request in batch])[:-1]
        parts = zip(*(np.split(value, stops) for value in answers.values()), strict=True)
        return [
            _of_request(request, dict(zip(answers, part, strict=True)))
            for request, part in zip(batch, parts, strict=True)
        ]

    def _ask(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Answers:
        answers = self.signatures[signature](**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in answers.items()}


def _of_request(request: _Request, answers: Answers) -> Answers | Exception:
    """What the request's own signature would have answered."""
    if request.signature.endswith(EACH):
        return answers
    bad, messages = np.flatnonzero(answers.pop(STATUS) != OK), answers.pop(MESSAGE)
    return ValueError(f"Image {bad[0]} of the batch: {messages[bad[0]].decode()}") if bad.size else answers


def _dtype(found: Any) -> tf.DType:
    try:
        return tf.as_dtype(found)
    except TypeError:
        raise ValueError(f"There is no dtype {found}.") from None


def _plain(signature: str) -> str:
    return signature.removesuffix(EACH)


def _as_answer(error: Exception) -> Exception:
    """What the graph refuses is the fault of the request; the sentence stands amid what TensorFlow says around it."""
    if not isinstance(error, tf.errors.InvalidArgumentError):
        return error
    told = re.search(r"assertion failed: (.*)", error.message)
    return ValueError(told[1] if told else error.message.split("\n")[0])


def _newest(folder: pathlib.Path) -> pathlib.Path:
    versions = [path for path in folder.glob("*/saved_model.pb") if path.parent.name.isdecimal()]
    if (folder / "saved_model.pb").is_file():
        return folder.resolve()
    if not versions:
        raise FileNotFoundError(f"{folder} is no SavedModel, and has no versions of one.")
    return max(versions, key=lambda path: int(path.parent.name)).parent


def parse(description: str, port: int) -> argparse.Namespace:
    """The command line of a server, with `limits`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a SavedModel, or the directory of its versions")
    parser.add_argument("--name", default="model", help="of the model, in requests")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; others than this machine need 0.0.0.0")
    parser.add_argument("--port", type=int, default=port)
    for field in dataclasses.fields(Limits):
        parser.add_argument(f"--{field.name}", type=type(field.default), default=field.default, help="see Limits")
    options = parser.parse_args()
    options.limits = Limits(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Limits)})
    return options
