"""A Keras model around another one, whose files and weights are those of the other."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_nest.data.mixing import check_labels
from keras_nest.keras_private import BuiltInFirstStep
from keras_nest.models.base import ConfiguredModel
from keras_nest.models.losses import cross_entropy, sigmoid_cross_entropy
from keras_nest.training import weight_files
from keras_nest.training.averages import Averages, without_swapping


class ModelAround(BuiltInFirstStep):
    """A model that trains another one: what is evaluated, saved and loaded is the inner model.

    Attributes:
        model: the inner model.
        averages: of its weights, as the optimizer keeps them.
        prepare: what a train step does first; without it, the data are what the inner model takes.

    Args:
        model: see above.
        name: of this model.
    """

    prepare: Any = None
    train_function: Callable[..., Any] | None
    test_function: Callable[..., Any] | None

    def __init__(self, model: keras.Model, name: str) -> None:
        super().__init__(name=name)
        self.model, self.averages = model, Averages()
        self.built = True

    def call(self, images: Any, training: bool | None = None) -> Any:
        return self.model(images, training=training)

    def get_build_config(self) -> dict[str, Any] | None:
        """That of the inner model."""
        return self.model.get_build_config()

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Nothing: the inner model is built."""

    @property
    def state(self) -> dict[str, list[keras.Variable]]:
        """Weights, statistics and random states, and all that the optimizer remembers."""
        return {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """As for every Keras model; see `Trainer` for averages of the weights.

        Raises:
            ValueError: labels in an array are none of the model's classes, or `steps_per_execution` does not divide the
                batches of several replicas.
        """
        self._check_classes(y)
        x = self._checked_for_training(x)
        if self.averages:
            # What it does is done here; twice would undo it.
            callbacks = without_swapping(callbacks)
        with self.averages.training():
            return super().fit(x, y, batch_size, epochs, verbose, callbacks, **options)

    def evaluate(self, x: Any = None, y: Any = None, *arguments: Any, **options: Any) -> Any:
        """As for every Keras model.

        Raises:
            ValueError: as `fit`.
        """
        self._check_classes(y)
        x = self._checked(x)
        with self.averages.in_place():
            return super().evaluate(x, y, *arguments, **options)

    def predict(self, x: Any, *arguments: Any, **options: Any) -> Any:
        """As for every Keras model."""
        x = self._checked(x)
        with self.averages.in_place():
            return super().predict(x, *arguments, **options)

    def train_on_batch(self, x: Any, y: Any = None, *arguments: Any, **options: Any) -> Any:
        """As for every Keras model; an average of the weights is kept, and not put into the model.

        Raises:
            ValueError: as `fit`.
        """
        self._check_classes(y)
        return super().train_on_batch(self._checked_for_training(x), y, *arguments, **options)

    def test_on_batch(self, x: Any, y: Any = None, *arguments: Any, **options: Any) -> Any:
        """As for every Keras model.

        Raises:
            ValueError: as `fit`.
        """
        self._check_classes(y)
        x = self._checked(x)
        with self.averages.in_place():
            return super().test_on_batch(x, y, *arguments, **options)

    def predict_on_batch(self, x: Any) -> Any:
        """As for every Keras model, but that several replicas, which all get the batch, give one answer."""
        x, count = self._checked(x), len(keras.tree.flatten(x)[0])
        with self.averages.in_place():
            outputs = super().predict_on_batch(x)
        return keras.tree.map_structure(lambda values: values[:count], outputs)

    def _checked_for_training(self, x: Any) -> Any:
        return x if self.prepare else self._checked(x)

    def _checked(self, x: Any) -> Any:
        """Data whose images the inner model looks at, if it is of this package."""
        return self.model.checked(x) if isinstance(self.model, ConfiguredModel) else x

    def save(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Saves the inner model."""
        with self.averages.in_place():
            self.model.save(filepath, *arguments, **options)

    def save_weights(self, filepath: Any, overwrite: bool = True, **options: Any) -> None:
        """Saves the weights of the inner model, which it can load, and the state of the optimizer.

        Raises:
            ValueError: the file is none of the kind ….weights.h5.
        """
        with self.averages.in_place():
            swapped = self.averages.are_in_place
            weight_files.save_weights(
                self.model, self._get_optimizer(), swapped, filepath, overwrite=overwrite, **options
            )

    def load_weights(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Loads weights of the inner model, and the state of the optimizer if it is there."""
        with_state, swapped = weight_files.load_weights(
            self.model, self._get_optimizer(), filepath, *arguments, **options
        )
        if swapped:
            self.averages.swap()
        elif not with_state:
            self.averages.begin_anew()

    def get_weights(self) -> list[np.ndarray]:
        """Weights and statistics of the inner model."""
        with self.averages.in_place():
            return super().get_weights()

    def set_weights(self, weights: Any) -> None:
        """Inverse of `get_weights`; an average begins anew from them."""
        super().set_weights(weights)
        self.averages.begin_anew()

    def export(self, filepath: Any, *arguments: Any, **options: Any) -> None:
        """Exports the inner model."""
        with self.averages.in_place():
            self.model.export(filepath, *arguments, **options)

    def _check_classes(self, labels: Any) -> None:
        """Refuses labels in an array that are none of the classes: losses make NaN of them, or nothing."""
        outputs = getattr(self.model, "output_shape", None)
        is_array = hasattr(labels, "shape") and len(labels.shape) == 1
        if not (is_array and isinstance(outputs, tuple) and self.compiled and _takes_classes(self.loss)):
            return
        values = np.asarray(labels)
        if np.any(values != np.floor(values)):
            raise ValueError(
                f"The loss takes classes, and among the labels is {values[values != np.floor(values)][0]}."
            )
        check_labels(values, outputs[-1])

    def _get_optimizer(self) -> keras.optimizers.Optimizer | None:
        return self.optimizer if self.compiled else None


def _takes_classes(loss: Any) -> bool:
    """Whether integer labels mean classes to a loss."""
    if isinstance(loss, keras.losses.SparseCategoricalCrossentropy):
        return loss.ignore_class is None
    return loss in ("sparse_categorical_crossentropy", cross_entropy, sigmoid_cross_entropy)
