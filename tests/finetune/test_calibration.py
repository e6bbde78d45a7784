"""A temperature for a head that is too sure of itself."""

import numpy as np
import pytest

from keras_nest.finetune.calibration import at_temperature, fit_temperature
from keras_nest.finetune.probe import Features, Head
from keras_nest.metrics import calibration_error, reliability


def softmax(logits):
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def error(logits, labels):
    shares = softmax(logits)
    return calibration_error(reliability(shares.max(axis=1), shares.argmax(axis=1) == labels))


def drawn(count, seed):
    """Features (N, 4) that are logits, with labels drawn from their probabilities."""
    generator = np.random.default_rng(seed)
    values = generator.normal(scale=1.5, size=(count, 4)).astype(np.float32)
    return Features(values, np.array([generator.choice(4, p=row) for row in softmax(values.astype(float))]))


@pytest.mark.parametrize("factor", [3.0, 0.4])
def test_it_is_found(factor):
    """Of logits that are so many times as large as they should be, on images that it was not fit to."""
    head = Head(factor * np.eye(4, dtype=np.float32), np.zeros(4, np.float32), 0.0)
    calibrated, temperature = at_temperature(head, drawn(3000, 0))
    assert temperature == pytest.approx(factor, rel=0.08)
    test = drawn(3000, 1)
    before, after = (test.values @ each.kernel + each.bias for each in (head, calibrated))
    assert error(after, test.labels) < 0.03 < 0.1 < error(before, test.labels)
    assert (before.argsort(axis=1) == after.argsort(axis=1)).all()


def test_where_nothing_follows():
    assert fit_temperature(np.eye(3), np.arange(3)) == 1.0
