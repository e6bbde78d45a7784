"""Embeddings of classes that are given as texts."""

import numpy as np
import pytest

from keras_nest.data import prompts
from keras_nest.data.prompts import embed_classes

TEXTS = np.random.default_rng(0).standard_normal((11, 4)).astype(np.float32)
CLASS_OF = [0, 0, 0, 1, 2, 2, 2, 2, 2, 3, 3]


def embed(numbers):
    return TEXTS[numbers.start : numbers.stop]


def test_is_the_average_of_each_class_at_length_one():
    found = embed_classes(embed, CLASS_OF)
    means = np.stack([TEXTS[np.equal(CLASS_OF, k)].mean(axis=0, dtype=np.float64) for k in range(4)])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), rtol=1e-6)


def test_no_more_than_a_batch_is_embedded_at_a_time(monkeypatch):
    whole, asked, shown = embed_classes(embed, CLASS_OF), [], []
    monkeypatch.setattr(prompts, "TEXTS", 4)

    def remembered(numbers):
        asked.append(numbers)
        return embed(numbers)

    found = embed_classes(remembered, CLASS_OF, lambda steps, what: shown.extend(steps) or steps)
    np.testing.assert_allclose(found, whole, rtol=1e-6)
    assert asked == [range(4), range(4, 8), range(8, 11)]
    assert shown == [0, 4, 8]


def test_no_texts():
    with pytest.raises(ValueError, match="There are no texts"):
        embed_classes(embed, [])
