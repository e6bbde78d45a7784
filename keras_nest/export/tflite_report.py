"""What a TFLite file is worth: its size, how far it is from the Keras model, how fast it runs, and on what."""

import importlib
import pathlib
import statistics
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest import keras_private
from keras_nest.export.inference import Inference
from keras_nest.export.tflite_metadata import SCORES, describe_output
from keras_nest.tflite import TFLiteModel, runtime_name

THREADS = (1, 2)
# Calls of each that count, and calls before them.
_ROUNDS, _WARM_UP = 7, 1
# Inputs that the Keras model computes at a time.
_BATCH = 32
# Texts to compare on.
SAMPLE_TEXTS = (
    "",
    "a dog",
    "a photo of a cat",
    "a photo of the digit seven",
    "a black and white drawing of two bicycles that lean on a wall",
    "Zwei Hunde laufen am Strand.",
    "a very long text that goes on and on, until there are more words in it than the tower can read at once",
)


class Reporter:
    """Measures the files of one model.

    Args:
        call: what the Keras model computes.
        inputs: images float32 (N, H, W, C) in [0, 1], or token ids int32 (N, tokens), to compare on.
    """

    def __init__(self, call: Inference, inputs: np.ndarray) -> None:
        self.inputs = inputs
        parts = [call(tf.constant(inputs[start : start + _BATCH])) for start in range(0, len(inputs), _BATCH)]
        self.expected = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def describe(self, path: pathlib.Path) -> dict[str, Any]:
        """Facts about a file, ready for JSON.

        Args:
            path: a TFLite file with the model's outputs.

        Returns:
            `file`, `bytes`, `batch_size`; `outputs`, what each of them means; `images` or `tokens` compared on,
            `max_abs_diff` and `largest` output of the Keras model, `top1_agreement` (None if it gives no scores of
            classes); `ms_1_thread`, `ms_2_threads` for a batch; `ops` of the file, `xnnpack_ops` of them that XNNPACK
            computes, in `xnnpack_partitions` pieces; the `runtime`.
        """
        models = {threads: TFLiteModel(path, threads) for threads in THREADS}
        last = models[THREADS[-1]]
        return {
            "file": path.name,
            "bytes": path.stat().st_size,
            "batch_size": last.batch_size,
            "outputs": {name: describe_output(name) for name in self.expected},
            last.input_name: len(self.inputs),
            **self._compare(last(self.inputs)),
            **_milliseconds(models, self.inputs),
            **dict(zip(("ops", "xnnpack_ops", "xnnpack_partitions"), delegation(last.interpreter), strict=True)),
            "runtime": runtime_name(),
        }

    def _compare(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        differences = [np.abs(outputs[name] - value).max() for name, value in self.expected.items()]
        scores = next((name for name in SCORES if name in self.expected), None)
        same = scores and float(np.mean(outputs[scores].argmax(-1) == self.expected[scores].argmax(-1)))
        return {
            "max_abs_diff": float(max(differences)),
            "largest": float(max(np.abs(value).max() for value in self.expected.values())),
            "top1_agreement": same,
        }


def _milliseconds(models: Mapping[int, TFLiteModel], inputs: np.ndarray) -> dict[str, float]:
    """Median time of a batch with each number of threads; they take turns, so that both meet the same load."""
    seconds: dict[int, list[float]] = {threads: [] for threads in models}
    for _ in range(_WARM_UP + _ROUNDS):
        for threads, model in models.items():
            start = time.perf_counter()
            model(inputs[: model.batch_size])
            seconds[threads].append(time.perf_counter() - start)
    medians = {threads: statistics.median(times[_WARM_UP:]) for threads, times in seconds.items()}
    return {f"ms_{n}_thread{'s' * (n > 1)}": round(1e3 * median, 3) for n, median in medians.items()}


def delegation(interpreter: Any) -> tuple[int | None, int | None, int | None]:
    """How much of a file XNNPACK computes, the only delegate that interpreters apply by themselves.

    The interpreter's list of operations keeps those that a delegate replaced. They are the ones met on the way back
    from what a delegate writes to what it reads.

    Args:
        interpreter: with allocated tensors.

    Returns:
        Operations of the file, those that the delegate computes, and its partitions. One partition with all
        operations is the fastest: no tensor then leaves the delegate. None where the interpreter does not say.
    """
    nodes = keras_private.tflite_operations(interpreter)
    if nodes is None:
        return None, None, None
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    operations = [node for node in nodes if node["op_name"] != "DELEGATE"]
    producer = {tensor: index for index, node in enumerate(operations) for tensor in node["outputs"]}
    taken: set[int] = set()
    for delegate in delegates:
        read, tensors = set(delegate["inputs"]), list(delegate["outputs"])
        while tensors:
            tensor = tensors.pop()
            index = producer.get(tensor)
            if index is not None and index not in taken and tensor not in read:
                taken.add(index)
                tensors += list(operations[index]["inputs"])
    return len(operations), len(taken), len(delegates)


def sample_images(shape: tuple[int, int, int]) -> np.ndarray:
    """Real images to compare on, if the caller has none: parts of scikit-learn's two photographs.

    Without scikit-learn they are noise, which tells less.

    Args:
        shape: height, width and channels.

    Returns:
        float32 (10, H, W, C) in [0, 1].
    """
    height, width, channels = shape
    try:
        photographs = importlib.import_module("sklearn.datasets").load_sample_images().images
    except ModuleNotFoundError:
        return np.random.default_rng(0).random((10, *shape), np.float32)
    parts = [part for photograph in photographs for part in (photograph, *_quarters(photograph))]
    images = np.stack([tf.image.resize(part / np.float32(255), (height, width), antialias=True) for part in parts])
    if channels != 3:
        images = np.repeat(images.mean(-1, keepdims=True), channels, axis=-1)
    return np.clip(images, 0, 1)


def _quarters(image: np.ndarray) -> list[np.ndarray]:
    return [quarter for half in np.array_split(image, 2) for quarter in np.array_split(half, 2, axis=1)]
