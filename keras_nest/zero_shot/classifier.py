"""Zero-shot classification: a LiT compares images with classes that are given as texts."""

import copy
import logging
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from keras_nest.data.prompts import PLAIN, TEXTS, Progress, check_labels, check_templates, embed_classes, silent
from keras_nest.graphs import compiled
from keras_nest.models.lit import LiT
from keras_nest.pixels import as_levels
from keras_nest.preprocessing import preprocessor
from keras_nest.processes import in_its_process
from keras_nest.tokenizers import Tokenizer, as_texts, check_tokenizer

_LOGGER = logging.getLogger(__name__)

Images: TypeAlias = Sequence[np.ndarray] | np.ndarray | tf.Tensor
"""(h, w, 3) each, of any sizes, or one batch (B, h, w, 3), as `keras_nest.pixels.as_images` takes them."""


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
        self.temperature = float(model.get_layer("t")(np.zeros(1, np.float32))[0])
        images = tf.TensorSpec((None, *self.preprocess.image_size, len(self.preprocess.mean)), tf.float32)
        texts = tf.TensorSpec((None,), tf.string)
        self._encode_image = in_its_process(compiled(model.encode_image, [images]))
        self._encode_text = in_its_process(compiled(lambda texts: model.encode_text(tokenizer(texts)), [texts]))

    def images(self, images: Images) -> np.ndarray:
        """Embeds images: -> float32 (B, C), L2-normalized.

        Raises:
            ValueError: none, one that is not in a list, or what is no image.
        """
        return self.prepared(self.preprocess(as_levels(images, len(self.preprocess.mean))))

    def prepared(self, images: Any) -> np.ndarray:
        """The same for images (B, H, W, 3) that went through `preprocess`."""
        return self._encode_image(images).numpy()

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeds texts of any length, of which the first tokens count: -> float32 (B, C), L2-normalized.

        Raises:
            ValueError: not texts.
        """
        return self._encode_text(as_texts(texts)).numpy()


class ZeroShotClassifier:
    """Probabilities of classes that are given as texts: softmax(t * zimg · z), where z is the embedding of a class.

    Each template makes a text of each label, and `embed_classes` averages the embeddings of the texts of a class. They
    are computed once, from the weights that the model has then.

    Source: LiT reference, `lit.ipynb`.

    Attributes:
        labels: one a class.
        embedder: what embeds images.
        embeddings: float32 (K, C), a row z for each label, L2-normalized.

    Args:
        model: a LiT with its weights.
        tokenizer: of its text tower.
        labels: one text a class, of any length; what is beyond the tokens of the tower does not count, and is logged,
            as are labels whose tokens are the same.
        templates: sentences in which `{}` stands for the label; by default the label is the whole text.
        progress: is shown while the labels are embedded.

    Raises:
        ValueError: no labels or one twice, no templates or one without `{}`, the model is no LiT, or the tokenizer is
            not of its text tower.
    """

    def __init__(
        self,
        model: LiT,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        templates: Sequence[str] = PLAIN,
        progress: Progress = silent,
    ) -> None:
        # What is wrong with the texts is said before a large model is compiled.
        check_labels(labels)
        check_templates(templates)
        self.embedder, self._tokenizer = Embedder(model, tokenizer), tokenizer
        self._take(labels, templates, progress)

    def with_labels(
        self, labels: Sequence[str], templates: Sequence[str] = PLAIN, progress: Progress = silent
    ) -> "ZeroShotClassifier":
        """One of other classes that shares the embedder; arguments and errors as for the constructor."""
        other = copy.copy(self)
        other._take(labels, templates, progress)
        return other

    def _take(self, labels: Sequence[str], templates: Sequence[str], progress: Progress) -> None:
        self.labels, templates = check_labels(labels), check_templates(templates)
        _tell_of_tokens(self._tokenizer, self.labels, min(templates, key=len))
        self.embeddings = _embed(self.embedder, self.labels, templates, progress)

    def probabilities(self, images: Images) -> np.ndarray:
        """Probabilities of the labels.

        Args:
            images: each (h, w, 3) of any size, or one batch (B, h, w, 3); uint8, or floats in [0, 1] or 0..255, which
                are rounded to 256 levels.

        Returns:
            float32 (B, K).

        Raises:
            ValueError: there are none, or they are no images.
        """
        # Not Keras' function, which warns of a single label.
        return tf.nn.softmax(self.compare(self.embedder.images(images))).numpy()

    def compare(self, zimg: np.ndarray) -> np.ndarray:
        """Logits t * zimg · z of embedded images: (B, C) -> float32 (B, K)."""
        return self.embedder.temperature * zimg @ self.embeddings.T


def _tell_of_tokens(tokenizer: Tokenizer, labels: tuple[str, ...], template: str) -> None:
    """Warns of labels that the model cannot tell apart, or does not see whole, even in the shortest template."""
    first: dict[bytes, str] = {}
    for start in range(0, len(labels), TEXTS):
        part = labels[start : start + TEXTS]
        prompts = [template.replace("{}", label) for label in part]
        ids, lengths = tokenizer(prompts).numpy(), tokenizer.lengths(prompts).numpy()
        for label, row, length in zip(part, ids, lengths, strict=True):
            if length > tokenizer.max_len:
                _LOGGER.warning(
                    "The label %.60r makes %d tokens, of which the first %d count.", label, length, tokenizer.max_len
                )
            other = first.setdefault(row.tobytes(), label)
            if other is not label:
                _LOGGER.warning(
                    "The labels %.60r and %.60r are the same tokens, so their probabilities are equal.", other, label
                )


def _embed(embedder: Embedder, labels: tuple[str, ...], templates: tuple[str, ...], progress: Progress) -> np.ndarray:
    """Embeddings (K, C) of classes; no more than a batch of prompts is in memory."""
    count = len(templates)

    def embed(numbers: range) -> np.ndarray:
        return embedder.texts([templates[n % count].replace("{}", labels[n // count]) for n in numbers])

    return embed_classes(embed, np.repeat(np.arange(len(labels)), count), progress)
