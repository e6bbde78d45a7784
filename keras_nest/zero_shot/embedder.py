"""From images and texts as they are to embeddings."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_nest.models.lit import LiT
from keras_nest.pixels import as_levels
from keras_nest.predict.predictor import in_its_process
from keras_nest.preprocessing import preprocessor
from keras_nest.tokenizers import Tokenizer, as_texts, check_tokenizer

Images: TypeAlias = Sequence[np.ndarray] | np.ndarray | tf.Tensor
"""(h, w, 3) each, of any sizes, or one batch (B, h, w, 3), as `keras_nest.pixels.as_images` takes them."""

Progress: TypeAlias = Callable[[range, str], Iterable[int]]
"""Steps and what they do -> the same steps, while something is shown."""

TEXTS = 256
"""How many texts are embedded at a time."""


def silent(steps: range, what: str) -> Iterable[int]:
    """A `Progress` that shows nothing."""
    return steps


class Embedder:
    """A LiT with its preprocessing and its tokenizer.

    May be called from any number of threads, but not in a process that was forked from the one that made it.

    Attributes:
        preprocess: evaluation preprocessing of the model, `keras_nest.preprocessor`.
        size: channels C of an embedding.
        temperature: t, the factor of similarities.

    Args:
        model: with its weights.
        tokenizer: of its text tower.

    Raises:
        ValueError: the model is no LiT or carries no preprocessing, or the tokenizer is not of its text tower.
    """

    def __init__(self, model: LiT, tokenizer: Tokenizer) -> None:
        if not isinstance(model, LiT):
            raise ValueError(
                f"The model is a {type(model).__name__}, which does not compare images with texts; it must be a LiT, "
                "such as LiT-B16B_2."
            )
        check_tokenizer(tokenizer, model.text_model)
        self.preprocess = preprocessor(model)
        self.size = model.text_model.output_shape[-1]
        # The layer gives the same whatever it sees.
        self.temperature = float(model.get_layer("t")(tf.zeros([1]))[0])
        # Of any batch, so that each is traced once, whoever calls it first.
        images = tf.TensorSpec((None, *self.preprocess.image_size, len(self.preprocess.mean)), tf.float32)
        texts = tf.TensorSpec((None,), tf.string)
        self._encode_image = in_its_process(tf.function(model.encode_image, input_signature=[images]))
        self._encode_text = in_its_process(
            tf.function(lambda texts: model.encode_text(tokenizer(texts)), input_signature=[texts])
        )

    def images(self, images: Images) -> np.ndarray:
        """Embeds images: -> float32 (B, C), of length one.

        Raises:
            ValueError: none, one that is not in a list, or what is no image.
        """
        return self.prepared(self.preprocess(as_levels(images, len(self.preprocess.mean))))

    def prepared(self, images: Any) -> np.ndarray:
        """The same for images (B, H, W, 3) that went through `preprocess`."""
        return self._encode_image(images).numpy()

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts of any length, of which the first tokens count: -> float32 (B, C), of length one.

        Raises:
            ValueError: not texts.
        """
        return self._encode_text(as_texts(texts)).numpy()
