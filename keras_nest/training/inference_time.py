"""How many images a second a model takes."""

import dataclasses
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest.factory import create_model
from keras_nest.models.base import ImageModel
from keras_nest.profiling import count_macs, count_parameters
from keras_nest.training import workdir as directories
from keras_nest.training.config import Config, as_dict, check_required, check_values, complete
from keras_nest.training.tasks import Task
from keras_nest.training_fields import INFERENCE_TIME, check_kinds, defaults

RESULTS = "inference_time.json"


@dataclasses.dataclass(frozen=True)
class InferenceTime:
    """Measures the speed of a model in inference, on one device.

    Source: reference `vit_jax/inference_time.py`; here each of the `steps` is measured, and the middle is their median.

    Attributes:
        config: complete; fields of `keras_nest.training_fields.INFERENCE_TIME`.
        config_json: content of config.json.
        workdir: directory for the results.
        model: with new weights.
        strategy: that of one device.
    """

    config: ConfigDict
    config_json: dict[str, Any]
    workdir: pathlib.Path
    model: ImageModel
    strategy: tf.distribute.Strategy = dataclasses.field(default_factory=tf.distribute.get_strategy)

    @property
    def description(self) -> str:
        """What will be measured, in one sentence."""
        fields = self.config
        return f"Measuring {fields.model_name} on batches of {fields.batch} images of {fields.image_size} pixels."

    def results(self) -> None:
        """None: what was measured once is measured again."""

    def report(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The content of inference_time.json, as it is."""
        return metrics

    def execute(self) -> dict[str, Any]:
        """Measures and writes; returns images_per_second of the slowest, the middle and the fastest step, and sizes."""
        speeds = self.config.batch / np.asarray(self.measure_seconds())
        results = {
            "model": self.config.model_name,
            "parameters": count_parameters(self.model),
            "multiply-adds": count_macs(self.model),
            "batch": self.config.batch,
            "images_per_second_min": round(float(np.min(speeds)), 2),
            "images_per_second_median": round(float(np.median(speeds)), 2),
            "images_per_second_max": round(float(np.max(speeds)), 2),
        }
        directories.write_json(self.workdir / RESULTS, results)
        return results

    def measure_seconds(self) -> list[float]:
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


def prepare(config: ConfigDict, workdir: str | pathlib.Path, overwrite: bool = False, *where: Any) -> InferenceTime:
    """Creates the model and looks whether the directory can be written to.

    Args:
        config: as `resolve` gives it.
        workdir: directory for the results; nothing is written yet.
        overwrite: replace the results of another run in it.
        *where: strategy and TPU of the other tasks, without effect.

    Raises:
        ValueError: a field has no meaning.
        FileExistsError: the directory holds the results of another run.
    """
    directory, config_json = pathlib.Path(workdir), directories.as_json(config)
    directories.check(directory, config_json, overwrite)
    usual = {"num_classes": config.num_classes, "image_size": config.image_size, "dtype": config.dtype_policy}
    model = create_model(config.model_name, **{**usual, **config.model.to_dict()})
    return InferenceTime(config, config_json, directory, model)


def resolve(config: Config) -> ConfigDict:
    """The complete configuration: what is given, and defaults for the rest; a locked copy.

    Raises:
        ValueError: an unknown field, a missing one, or a value that the field cannot have.
    """
    resolved = complete(as_dict(config), defaults(INFERENCE_TIME))
    check_kinds(resolved, INFERENCE_TIME)
    check_required(resolved, ("model_name",))
    check_values(resolved)
    return ConfigDict(resolved).lock()


TASK = Task(resolve, prepare, files=(RESULTS,))
