"""TFLite files as callables, whichever interpreter is installed."""

import contextlib
import importlib
import itertools
import math
import os
import pathlib
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from keras_nest.pixels import as_images
from keras_nest.places import as_place
from keras_nest.untrusted.tflite_file import check_tflite
from keras_nest.value_range import infer_scales

# Bytes, which all of a batch of photographs take.
_MAX_TENSOR = 2**30
# Of a signature; where a file has several, they differ in the batch.
_INPUTS = (["images"], ["tokens"])
_SIGNATURE = "serving_default"
# Interpreters from before a fork: to delete one would wait for threads that this process does not have.
_LEFT_BEHIND: list[Any] = []
# By process: one that is held during a fork stays held.
_REDIRECTIONS: dict[int, threading.Lock] = {}


class TFLiteModel:
    """A file of `export.to_tflite`, ready to run.

    >>> TFLiteModel("nest_tiny/float32.tflite")(images)["probabilities"]

    Runs with LiteRT (`ai-edge-litert`) if it is installed, else with the interpreter inside TensorFlow, which is older
    and gives the same numbers.

    May be called from any number of threads: they take turns, since an interpreter has one place for its inputs, and
    each run uses all the processors that it may. Other processes get an interpreter of their own: the model can be
    pickled, and opens its file again after a fork.

    Attributes:
        interpreter: the interpreter, with its tensors allocated; not to be run while other threads call the model.
        input_name: "images", or "tokens" of a text tower.
        batch_size: images, or texts, that the file computes at a time; of several numbers that of `serving_default`.
        input_shape: (height, width, channels), or (tokens,).

    Args:
        path: the file, local or at an address (gs://…), of which it is read into the memory.
        threads: processors to use; None is all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no TFLite model, or not one whose signatures have the input `images` or
            `tokens`; or TensorFlow does not know such addresses.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        place = as_place(path)
        if not place.is_file():
            raise FileNotFoundError(f"{place} does not exist; it must be a TFLite file.")
        # Absolute, since another process may open it again from elsewhere.
        self._path = os.path.abspath(place) if isinstance(place, pathlib.Path) else str(place)
        self._threads = threads
        self._locks: dict[int, threading.Lock] = {}
        self._open()
        self.batch_size, *input_shape = (int(size) for size in self._input["shape"])
        self.input_shape = tuple(input_shape)

    def __reduce__(self) -> tuple[Callable[..., "TFLiteModel"], tuple[str, int | None]]:
        """Pickles as path and threads: an interpreter does not leave its process."""
        return type(self), (self._path, self._threads)

    def _open(self) -> None:
        """Makes the interpreter of this process."""
        with warnings.catch_warnings():
            # TensorFlow's own interpreter says that it will go.
            warnings.simplefilter("ignore")
            with _naming(self._path):
                check_tflite(as_place(self._path).read_bytes())
                self.interpreter = _runtime().Interpreter(
                    **self._content(), num_threads=self._threads or os.cpu_count()
                )
        with _naming(self._path):
            _check_tensors(self.interpreter)
            with _without_notes():
                self.interpreter.allocate_tensors()
            signatures = self.interpreter.get_signature_list()
            runners = {name: self.interpreter.get_signature_runner(name) for name in signatures}
        if (found := _by_batch(runners, signatures)) is None:
            raise ValueError(
                f"{self._path} must have one signature with the input 'images' or 'tokens', or one for each "
                "batch size, as export.to_tflite writes them."
            )
        self._runners, first = found
        ((self.input_name, self._input),) = first.get_input_details().items()
        self._process = os.getpid()

    def _content(self) -> dict[str, Any]:
        """The model, as the interpreter takes it."""
        place = as_place(self._path)
        return {"model_path": self._path} if isinstance(place, pathlib.Path) else {"model_content": place.read_bytes()}

    def __call__(self, inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the file as often as it takes.

        Args:
            inputs: images (B, H, W, C) of the file's size, with any B above 0: floats in [0, 1], or what else
                `keras_nest.pixels.as_images` makes such images of; or token ids, integers (B, tokens).

        Returns:
            The outputs by name, float32 (B, …); those of a full int8 file are taken back to float.

        Raises:
            ValueError: the inputs have another shape, or are no images or no token ids.
        """
        inputs = self._as_unit_images(inputs) if self.input_name == "images" else _as_tokens(inputs)
        if inputs.shape[1:] != self.input_shape or not len(inputs):
            wanted = ", ".join(map(str, self.input_shape))
            raise ValueError(f"{self.input_name.title()} have the shape {inputs.shape}; it must be (B, {wanted}).")
        parts = []
        while len(inputs):
            # Batches as large as can be filled; what is left over fills a part of the smallest.
            size = max((size for size in self._runners if size <= len(inputs)), default=min(self._runners))
            parts.append(self._run(inputs[:size], size))
            inputs = inputs[size:]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _as_unit_images(self, images: Any) -> np.ndarray:
        """float32 in [0, 1]; the graph of a file checks nothing."""
        pixels = as_images(images, self.input_shape[-1])
        if isinstance(pixels, list):
            raise ValueError("Images are a list; they must be one array (B, H, W, C), of the size of the file.")
        (scale,) = infer_scales([pixels])
        return pixels.numpy().astype(np.float32) / scale.numpy()

    def _run(self, inputs: np.ndarray, size: int) -> dict[str, np.ndarray]:
        batch = np.zeros((size, *self.input_shape), inputs.dtype)
        batch[: len(inputs)] = inputs
        # A lock of its own for each process: one that was held during a fork stays held.
        with self._locks.setdefault(os.getpid(), threading.Lock()):
            if self._process != os.getpid():
                _LEFT_BEHIND.append(self.interpreter)
                self._open()
            with _naming(self._path):
                outputs = self._runners[size](**{self.input_name: _quantize(batch, self._input)})
            details = self._runners[size].get_output_details()
        return {name: _dequantize(value, details[name])[: len(inputs)] for name, value in outputs.items()}


@contextlib.contextmanager
def _without_notes() -> Iterator[None]:
    """Keeps notes of the interpreter, such as that it applies XNNPACK, from the standard error of the process.

    Nothing switches them off. All else that is written there meanwhile follows when the block ends.
    """
    if sys.__stderr__ is None:
        yield
        return
    # One at a time, or the standard error of one would be what another put in its place.
    with _REDIRECTIONS.setdefault(os.getpid(), threading.Lock()), tempfile.TemporaryFile() as written:
        standard_error = os.dup(2)
        os.dup2(written.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)
            written.seek(0)
            os.write(2, b"".join(line for line in written if not line.startswith(b"INFO: ")))


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """What the interpreter says about a damaged file, in a sentence.

    Raises:
        ValueError: see above.
    """
    try:
        yield
    except (ValueError, RuntimeError, TypeError, KeyError, IndexError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(f"{path} cannot be read as a TFLite file: {reason}.") from None


def _by_batch(runners: Mapping[str, Any], signatures: Mapping[str, Any]) -> tuple[dict[int, Any], Any] | None:
    """Runners of signatures by the batch that they take, and the one that counts first; None if they differ in more."""
    first = _SIGNATURE if _SIGNATURE in signatures else next(iter(signatures), "")
    if not first or signatures[first]["inputs"] not in _INPUTS:
        return None
    if any(signature != signatures[first] for signature in signatures.values()):
        return None
    found, sizes = {}, set()
    for runner in runners.values():
        (entrance,) = runner.get_input_details().values()
        batch, *size = (int(side) for side in entrance["shape"])
        found[batch] = runner
        sizes.add((*size,))
    return (found, runners[first]) if len(found) == len(runners) and len(sizes) == 1 else None


def _check_tensors(interpreter: Any) -> None:
    """Refuses tensors that no memory holds, before any is taken for them."""
    tensors = (interpreter.get_tensor_details(graph) for graph in range(interpreter.num_subgraphs()))
    for detail in itertools.chain.from_iterable(tensors):
        size = math.prod(int(side) for side in detail["shape"]) * np.dtype(detail["dtype"]).itemsize
        if not 0 <= size <= _MAX_TENSOR:
            raise ValueError(f"the tensor {str(detail['name'])[:80]!r} takes {size:,} bytes; {_MAX_TENSOR:,} are read")


def _as_tokens(tokens: Any) -> np.ndarray:
    tokens = np.asarray(tokens)
    if not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"Tokens have dtype {tokens.dtype}; they must be whole numbers, the ids of a tokenizer.")
    return tokens


def run_file(path: pathlib.Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs a file with any inputs once.

    Args:
        path: a TFLite file with one signature.
        inputs: by name, with the batch of the file.

    Returns:
        The outputs by name.
    """
    with warnings.catch_warnings(), _without_notes():
        # TensorFlow's own interpreter says that it will go.
        warnings.simplefilter("ignore")
        interpreter = _runtime().Interpreter(model_path=str(path), num_threads=os.cpu_count())
        return interpreter.get_signature_runner()(**inputs)


def runtime_name() -> str:
    """Which interpreter `TFLiteModel` uses, with its version."""
    package = importlib.import_module(_runtime().__name__.partition(".")[0])
    return f"{package.__name__} {package.__version__}"


def _runtime() -> ModuleType:
    """The module with the class `Interpreter`."""
    try:
        return importlib.import_module("ai_edge_litert.interpreter")
    except ModuleNotFoundError:
        return importlib.import_module("tensorflow").lite


def _quantize(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """What a caller gives -> what the tensor holds."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return values.astype(detail["dtype"])
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / scale + zero_point), limits.min, limits.max).astype(detail["dtype"])


def _dequantize(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """What the tensor holds -> float32."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
