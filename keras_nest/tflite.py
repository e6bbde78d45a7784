"""TFLite files as callables, whichever interpreter is installed."""

import importlib
import os
import pathlib
import warnings
from types import ModuleType
from typing import Any

import numpy as np


class TFLiteModel:
    """A file of `export.to_tflite`, ready to run.

    >>> TFLiteModel("nest_tiny/float32.tflite")(images)["logits"]

    Runs with LiteRT (`ai-edge-litert`) if it is installed, else with the interpreter inside TensorFlow, which is older
    and gives the same numbers.

    Attributes:
        interpreter: the interpreter, with its tensors allocated.
        batch_size: images that the file computes at a time.
        image_shape: (height, width, channels).

    Args:
        path: the file.
        threads: processors to use; None is all.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no TFLite model, or not one with a single signature and the input `images`.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        if not pathlib.Path(path).is_file():
            raise FileNotFoundError(f"{path} does not exist; it must be a TFLite file.")
        with warnings.catch_warnings():
            # TensorFlow's own interpreter says that it will go.
            warnings.simplefilter("ignore")
            try:
                self.interpreter = _runtime().Interpreter(str(path), num_threads=threads or os.cpu_count())
            except ValueError as error:
                raise ValueError(f"{path} cannot be read as a TFLite file: {error}.") from None
        self.interpreter.allocate_tensors()
        if [signature["inputs"] for signature in self.interpreter.get_signature_list().values()] != [["images"]]:
            raise ValueError(f"{path} must have one signature with the input 'images', as export.to_tflite writes it.")
        self._signature = self.interpreter.get_signature_runner()
        (self._input,) = self._signature.get_input_details().values()
        self.batch_size, *image_shape = (int(size) for size in self._input["shape"])
        self.image_shape = tuple(image_shape)

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the file as often as it takes.

        Args:
            images: float32 (B, H, W, C) in [0, 1], with any B above 0.

        Returns:
            The outputs by name, float32 (B, …); those of a full int8 file are taken back to float.

        Raises:
            ValueError: the images have another shape.
        """
        if images.shape[1:] != self.image_shape or not len(images):
            height, width, channels = self.image_shape
            raise ValueError(f"Images have the shape {images.shape}; it must be (B, {height}, {width}, {channels}).")
        parts = [self._run(images[start : start + self.batch_size]) for start in range(0, len(images), self.batch_size)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        batch = np.zeros((self.batch_size, *self.image_shape), np.float32)
        batch[: len(images)] = images
        outputs = self._signature(images=_quantise(batch, self._input))
        details = self._signature.get_output_details()
        return {name: _dequantise(value, details[name])[: len(images)] for name, value in outputs.items()}


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


def _quantise(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """float32 -> what the tensor holds."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(values / scale + zero_point), limits.min, limits.max).astype(detail["dtype"])


def _dequantise(values: np.ndarray, detail: dict[str, Any]) -> np.ndarray:
    """What the tensor holds -> float32."""
    if detail["dtype"] == np.float32:
        return values
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
