"""Texts and images, asked by many threads at once."""

import numpy as np
import pytest

from keras_nest.zero_shot import Embedder, ZeroShotClassifier
from tests.threads import assert_same_from_threads

TEXTS = ["red", "tree", "house", "red tree", "tree house", "red red house"]


def test_classifiers(colors, tokenizer):
    def make():
        classifier = ZeroShotClassifier(colors, tokenizer, TEXTS[:3])
        return lambda image: classifier.probabilities([image])

    images = [np.random.default_rng(n).integers(0, 256, (5 + n, 9, 3), np.uint8) for n in range(3)]
    assert_same_from_threads(make, images, repeats=1)


@pytest.mark.slow
def test_embedders_and_tokenizers(random_lit, tokenizer):
    def make():
        embedder = Embedder(random_lit, tokenizer)
        return lambda text: embedder.texts([text])

    assert_same_from_threads(make, TEXTS, repeats=1)
    assert_same_from_threads(lambda: lambda text: np.asarray(tokenizer([text])), TEXTS, repeats=1)
