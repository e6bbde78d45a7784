"""The head that fits features, and its place in the model."""

import numpy as np
import pytest

from keras_nest.finetune.probe import Features, Head, embed, fit_head, put, read_head, write_head
from keras_nest.finetune.start import open_start


def clusters(count, classes=4, seed=0, spread=1.0):
    """Features around a center for each class, of very different sizes along the axes."""
    centers = np.random.default_rng(7).normal(0, 3, (classes, 12))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count).astype(np.int32)
    values = centers[labels] + generator.normal(0, spread, (count, 12))
    return Features((values * np.logspace(-3, 3, 12) + 50).astype(np.float32), labels)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("is_balanced", [True, False])
def test_a_head_tells_classes_apart(classes, is_balanced):
    train, val, test = (clusters(count, classes, seed) for seed, count in enumerate((200, 60, 300)))
    head = fit_head(train, val, is_balanced)
    assert head.kernel.shape == (12, classes)
    assert head.score > 0.95
    answers = (test.values @ head.kernel + head.bias).argmax(axis=1)
    assert np.mean(answers == test.labels) > 0.95


def test_rare_classes_count_more_if_they_shall():
    """Two clouds that overlap, one with ten times the points."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], [1000, 100]).astype(np.int32)
    features = Features((generator.normal(size=(1100, 1)) + labels[:, None]).astype(np.float32), labels)
    recalls = []
    for is_balanced in (False, True):
        head = fit_head(features, features, is_balanced)
        answers = (features.values @ head.kernel + head.bias).argmax(axis=1)
        recalls.append(np.mean(answers[labels == 1] == 1))
    assert recalls[0] < 0.3 < 0.6 < recalls[1]


def test_features_that_are_not_finite_are_refused():
    train = clusters(20)
    train.values[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"^Features of images are infinite or not a number; the weights of the model"):
        fit_head(train, train, False)


@pytest.mark.slow
def test_the_head_answers_in_the_model_as_beside_it(trained):
    import tensorflow as tf

    model = open_start("nest_tiny_s16_32", str(trained), 3).model
    images = np.random.default_rng(0).normal(size=(5, 32, 32, 3)).astype(np.float32)
    filled = np.concatenate([images, np.zeros((1, 32, 32, 3), np.float32)])
    labels, weights = np.array([0, 1, 2, 0, 1, 0], np.int32), np.array([1, 1, 1, 1, 1, 0], np.float32)
    features = embed(model, tf.data.Dataset.from_tensor_slices((filled, labels, weights)).batch(3), "test")
    assert features.values.shape == (5, model.endpoints["pre_logits"].shape[-1])
    np.testing.assert_array_equal(features.labels, labels[:5])
    head = Head(np.random.default_rng(1).normal(size=(48, 3)).astype(np.float32), np.ones(3, np.float32), 0.5)
    put(head, model)
    np.testing.assert_allclose(model(images), features.values @ head.kernel + head.bias, rtol=1e-4, atol=1e-4)


def test_heads_are_kept(tmp_path):
    path = tmp_path / "probe.npz"
    assert read_head(path) is None
    head = Head(np.ones((4, 2), np.float32), np.zeros(2, np.float32), 0.25)
    write_head(head, path)
    again = read_head(path)
    np.testing.assert_array_equal(again.kernel, head.kernel)
    assert again.score == 0.25
    path.write_bytes(path.read_bytes()[:50])
    assert read_head(path) is None
