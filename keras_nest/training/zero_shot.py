"""How good a LiT is at finding the texts of images, under any strategy."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_nest.data.prompts import TEXTS, embed_classes
from keras_nest.layers.base import Layer
from keras_nest.models.lit import LiT
from keras_nest.tokenizers import Tokenizer
from keras_nest.training.evaluation import Evaluator
from keras_nest.types import Shape


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
        self._strategy = tf.distribute.get_strategy()
        self._encode = tf.function(self._on_replicas(model), autograph=False)
        self._similarities = Similarities(len(lines), name="similarities", dtype="float32")
        images = keras.Input(model.image_model.input_shape[1:], name="images")
        zimg = model.encode_image(images)
        logits = self._similarities([zimg, model.get_layer("t")(zimg)])
        super().__init__(keras.Model(images, logits), "softmax", len(lines), jit_compile)

    def __call__(self, batches: tf.data.Dataset | tf.distribute.DistributedDataset) -> dict[str, float]:
        """Quality on test batches, as `Evaluator`; labels are indices into the captions."""
        self._similarities.embeddings.assign(embed_classes(self._embed, self._class_of))
        return super().__call__(batches)

    def _embed(self, numbers: range) -> np.ndarray:
        """Embeddings (n, C) of texts; batches are of one size, so that one program computes them all."""
        tokens = self._tokens[numbers.start : numbers.stop]
        filled = np.pad(tokens, ((0, TEXTS - len(tokens)), (0, 0)))
        return self._encode(filled).numpy()[: len(tokens)]

    def _on_replicas(self, model: LiT) -> Any:
        """Encodes texts where the weights are; every replica does the same."""

        def encode(tokens: tf.Tensor) -> tf.Tensor:
            found = self._strategy.run(lambda: model.encode_text(tokens, training=False))
            return self._strategy.experimental_local_results(found)[0]

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
