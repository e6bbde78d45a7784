"""The discriminator: what it takes and gives, and that the class counts as in the paper."""

import keras
import numpy as np
import pytest

from keras_nest.generative.discriminator import BatchDeviation, Discriminator, ProjectedScore

SMALL = {"image_size": 16, "num_classes": 3, "widths": (4, 6, 8), "stem_stride": 2}
RANDOM = np.random.default_rng(0)


def test_scores():
    model = Discriminator(**SMALL)
    assert model.input_shape == [(None, 16, 16, 3), (None,)]
    assert model.output_shape == (None,)
    images = RANDOM.standard_normal((5, 16, 16, 3)).astype(np.float32)
    assert model([images, np.array([0, 1, 2, 0, 1])]).shape == (5,)


def test_without_classes():
    model = Discriminator(image_size=(8, 16), in_channels=1, widths=(4, 6))
    assert model(np.zeros((2, 8, 16, 1), np.float32)).shape == (2,)


def test_projection():
    layer = ProjectedScore(3)
    features, classes = RANDOM.standard_normal((4, 5)).astype(np.float32), np.array([2, 0, 2, 1])
    scores = layer(features, classes)
    kernel, bias, embeddings = layer.kernel.numpy(), layer.bias.numpy(), layer.embeddings.numpy()
    expected = features @ kernel + bias + (features * embeddings[classes]).sum(-1)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_deviation_tells_equal_images_from_different_ones():
    images = RANDOM.standard_normal((4, 3, 3, 2)).astype(np.float32)
    y = BatchDeviation()(images)
    assert y.shape == (4, 3, 3, 3)
    np.testing.assert_array_equal(y[..., :2], images)
    np.testing.assert_allclose(y[..., 2], images.std(axis=0).mean(), rtol=1e-5)
    assert BatchDeviation()(images[[0, 0, 0, 0]])[..., 2].numpy().max() < 2e-4


def test_save_and_reload(tmp_path):
    model = Discriminator(**SMALL)
    model.save(tmp_path / "discriminator.keras")
    again = keras.saving.load_model(tmp_path / "discriminator.keras")
    inputs = [RANDOM.standard_normal((2, 16, 16, 3)).astype(np.float32), np.array([0, 1])]
    np.testing.assert_array_equal(again(inputs), model(inputs))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 20}, "image_size 20 x 20 does not fit: both sides must be multiples of 8"),
        ({"widths": (4,)}, r"widths is \(4,\); it must hold two or more"),
        ({"stem_stride": 0}, "stem_stride is 0"),
        ({"num_classes": -2}, "num_classes is -2"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Discriminator(**{**SMALL, **fields})
