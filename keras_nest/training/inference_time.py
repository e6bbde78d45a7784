"""How many images a second a model takes."""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest.factory import create_model
from keras_nest.profiling import count_macs, count_parameters
from keras_nest.training import run_directory
from keras_nest.training.config import resolve

RESULTS = "inference_time.json"


class InferenceTime:
    """Measures the speed of a model in inference, on one device.

    Source: reference `vit_jax/inference_time.py`; here each of the `steps` is measured, and the middle is their median.

    Args:
        config: fields of `keras_nest.training.config.INFERENCE_TIME`.
        workdir: directory for the results; from now on it belongs to this configuration.
        overwrite: replace the results of another one in it.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
        PermissionError: the directory cannot be written to.
    """

    def __init__(
        self, config: ConfigDict | Mapping[str, Any], workdir: str | pathlib.Path, overwrite: bool = False
    ) -> None:
        self.config, self.workdir = resolve(config), pathlib.Path(workdir)
        fields, stated = self.config, run_directory.as_json(self.config)
        run_directory.check(self.workdir, stated, overwrite)
        usual = {"num_classes": fields.num_classes, "image_size": fields.image_size, "dtype": fields.dtype_policy}
        self.model = create_model(fields.model_name, **{**usual, **fields.model.to_dict()})
        run_directory.claim(self.workdir, stated, overwrite)

    def execute(self) -> dict[str, Any]:
        """Measures and writes; returns images_per_second of the slowest, the middle and the fastest step, and sizes."""
        seconds = self._seconds()
        speeds = self.config.batch / np.asarray(seconds)
        results = {
            "model": self.config.model_name,
            "parameters": count_parameters(self.model),
            "multiply-adds": count_macs(self.model),
            "batch": self.config.batch,
            "images_per_second_min": round(float(np.min(speeds)), 2),
            "images_per_second_median": round(float(np.median(speeds)), 2),
            "images_per_second_max": round(float(np.max(speeds)), 2),
        }
        run_directory.write_json(self.workdir / RESULTS, results)
        return results

    def _seconds(self) -> list[float]:
        """Duration of each measured step."""
        compiled = {"jit_compile": True} if self.config.jit_compile is True else {}
        forward = tf.function(lambda images: self.model(images, training=False), autograph=False, **compiled)
        size = self.config.image_size
        images = keras.random.normal((self.config.batch, size, size, 3), seed=0)
        seconds = []
        for step in range(self.config.initial_steps + self.config.steps):
            start = time.perf_counter()
            forward(images).numpy()
            if step >= self.config.initial_steps:
                seconds.append(time.perf_counter() - start)
        return seconds
