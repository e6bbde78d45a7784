"""A classifier whose classes are texts."""

import logging
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_nest.data.prompts import PLAIN, check_labels, check_templates
from keras_nest.models.lit import LiT
from keras_nest.tokenizers import Tokenizer
from keras_nest.zero_shot.embedder import TEXTS, Embedder, Images, Progress, silent

_LOGGER = logging.getLogger(__name__)


class ZeroShotClassifier:
    """Probabilities of classes that are given as texts: softmax(t * zimg · z), where z is the embedding of a class.

    Each template makes a text of each label. The embeddings of the texts of a class, of length one, are averaged, and
    the average is brought to length one. They are computed once, from the weights that the model has then.

    Sources: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), section
    3.1.4; LiT reference, `lit.ipynb`.

    Attributes:
        labels: one a class.
        embedder: what embeds images.
        embeddings: float32 (K, C), a row z for each label, of length one.

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
        self.labels = check_labels(labels)
        templates = check_templates(templates)
        self.embedder = Embedder(model, tokenizer)
        _tell_of_tokens(tokenizer, self.labels, min(templates, key=len))
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
    count = len(labels) * len(templates)
    means = np.zeros((len(labels), embedder.size))
    for start in progress(range(0, count, TEXTS), "embedding labels"):
        classes, numbers = np.divmod(np.arange(start, min(start + TEXTS, count)), len(templates))
        prompts = [templates[n].replace("{}", labels[k]) for k, n in zip(classes, numbers, strict=True)]
        np.add.at(means, classes, embedder.texts(prompts) / len(templates))
    return (means / (np.linalg.norm(means, axis=1, keepdims=True) + 1e-8)).astype(np.float32)
