"""Evaluation under any strategy: classifiers on labeled images, and LiTs as zero-shot classifiers."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_nest.backends import on_tensorflow
from keras_nest.data.prompts import TEXTS, embed_classes
from keras_nest.data.sources.base import DatasetInfo
from keras_nest.layers.base import Layer
from keras_nest.metrics import ConfusionMatrix
from keras_nest.models.base import logits_model
from keras_nest.models.lit import LiT
from keras_nest.models.losses import LOSSES
from keras_nest.tokenizers import Tokenizer
from keras_nest.training.measures import other_metric, step_metric
from keras_nest.training.trainer import Trainer
from keras_nest.types import Shape

# More classes than that nobody can read in a picture.
CLASSES_SHOWN = 100
_LOSS = "plain_loss"


class Evaluator:
    """Evaluates one model again and again, on every replica of the strategy it was made under.

    Attributes:
        measured: what the last evaluation returned; empty before the first.

    Args:
        model: normalized images -> logits, or one of this package whose output is their probabilities.
        loss: one of `LOSSES`.
        info: of the test images; of one class each of up to `CLASSES_SHOWN` the confusion matrix is kept.
        jit_compile: as for `compile`.
    """

    def __init__(self, model: keras.Model, loss: str, info: DatasetInfo, jit_compile: Any = "auto") -> None:
        self._trainer = Trainer(logits_model(model))
        known = info.target.is_single_label and info.num_classes <= CLASSES_SHOWN
        first = ConfusionMatrix(info.num_classes) if known else step_metric(info)
        self._confusion = first if known else None
        self.measured: dict[str, float] = {}
        plain = keras.metrics.MeanMetricWrapper(LOSSES[loss], name=_LOSS)
        metrics = [first, other_metric(info), plain]
        self._trainer.compile(None, LOSSES[loss], weighted_metrics=metrics, jit_compile=jit_compile)

    def __call__(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> dict[str, float]:
        """Quality on test batches.

        Args:
            batches: normalized images (B, H, W, C), labels as the data set has them, and weights (B,), which are 0 for
                what only fills up.

        Returns:
            What `keras_nest.training.measures` names (of classes accuracy and top5, shares in [0, 1]), the mean loss,
            and the `seconds` it took.
        """
        start = time.perf_counter()
        measured = self._trainer.evaluate(batches, verbose=0, return_dict=True)
        # That of Keras has the model's regularization in it.
        measured["loss"] = measured.pop(_LOSS)
        self.measured = {name: float(value) for name, value in measured.items()}
        self.measured["seconds"] = time.perf_counter() - start
        return self.measured

    @property
    def confusion(self) -> np.ndarray | None:
        """Counts of the last evaluation, int64 (K, K): a row for each true class, a column for each predicted one."""
        return (
            None if self._confusion is None else np.rint(ops.convert_to_numpy(self._confusion.counts)).astype(np.int64)
        )


class ZeroShotEvaluator(Evaluator):
    """Evaluates a LiT as a classifier whose classes are texts, with the weights that both towers then have.

    Accuracy is the share of images whose own class has the most similar text: that of its class, or where images come
    with captions of their own, that of the image itself, among all test images. The embeddings of several texts of a
    class are averaged.

    Args:
        model: a LiT.
        tokenizer: of its text tower.
        captions: texts of each class, or of each test image, one a line.
        jit_compile: as for `compile`.
    """

    def __init__(self, model: LiT, tokenizer: Tokenizer, captions: Sequence[str], jit_compile: Any = "auto") -> None:
        lines = [caption.split("\n") for caption in captions]
        self._tokens = tokenizer([text for texts in lines for text in texts]).numpy()
        self._class_of = np.repeat(np.arange(len(lines)), [len(texts) for texts in lines])
        self._encode = _on_replicas(model) if on_tensorflow() else functools.partial(model.encode_text, training=False)
        self._similarities = Similarities(len(lines), name="similarities", dtype="float32")
        images = keras.Input(model.image_model.input_shape[1:], name="images")
        zimg = model.encode_image(images)
        logits = self._similarities([zimg, model.get_layer("t")(zimg)])
        info = DatasetInfo("captions", tuple(captions), (None, None, 3), 0, len(lines))
        super().__init__(keras.Model(images, logits), "softmax", info, jit_compile)

    def __call__(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> dict[str, float]:
        """Quality on test batches, as `Evaluator`; labels are indices into the captions."""
        self._similarities.embeddings.assign(embed_classes(self._embed, self._class_of))
        return super().__call__(batches)

    def _embed(self, numbers: range) -> np.ndarray:
        """Embeddings (n, C) of texts; batches are of one size, so that one program computes them all."""
        tokens = self._tokens[numbers.start : numbers.stop]
        filled = np.pad(tokens, ((0, TEXTS - len(tokens)), (0, 0)))
        return ops.convert_to_numpy(self._encode(filled))[: len(tokens)]


def _on_replicas(model: LiT) -> Callable[[np.ndarray], tf.Tensor]:
    """Encodes texts where the weights are; every replica does the same."""
    strategy = tf.distribute.get_strategy()

    @tf.function(autograph=False)
    def encode(tokens: tf.Tensor) -> tf.Tensor:
        found = strategy.run(lambda: model.encode_text(tokens, training=False))
        return strategy.experimental_local_results(found)[0]

    return encode


@keras.saving.register_keras_serializable(package="keras_nest")
class Similarities(Layer):
    """Logits of classes that are embedded: zimg (B, C) and t (1,) -> t * zimg · z, (B, K).

    Attributes:
        embeddings: float32 (K, C), rows z; zero until they are set.

    Args:
        num_classes: K.
        **kwargs: the usual layer arguments.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = num_classes

    def build(self, input_shape: list[Shape]) -> None:
        shape = (self.num_classes, input_shape[0][-1])
        self.embeddings = self.add_weight(name="embeddings", shape=shape, initializer="zeros", trainable=False)

    def call(self, inputs: list[Any]) -> Any:
        zimg, temperature = inputs
        return temperature * ops.matmul(zimg, ops.transpose(self.embeddings))

    def compute_output_shape(self, input_shape: list[Shape]) -> Shape:
        return input_shape[0][0], self.num_classes

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


def final_metrics(measured: Mapping[str, float], examples: int) -> dict[str, Any]:
    """What an `Evaluator` measured on a number of images, as metrics.json has it."""
    names = {"accuracy": "top1"} if "top5" in measured else {}
    figures = {names.get(name, name): value for name, value in measured.items() if name != "seconds"}
    return {**figures, "examples": examples, "eval_images_per_second": examples / measured["seconds"]}
