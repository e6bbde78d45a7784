"""Keras paths and Flax paths."""

import pytest

from keras_nest.names import flax_path


@pytest.mark.parametrize(
    ("keras_path", "expected"),
    [
        ("EncoderNDBlock_0/LayerNorm_0/gamma", "params/EncoderNDBlock_0/LayerNorm_0/scale"),
        ("Dense_0/bias", "params/Dense_0/bias"),
        ("LayerNorm_0/beta", "params/LayerNorm_0/bias"),
        ("a/BatchNorm_0/moving_mean", "batch_stats/a/BatchNorm_0/mean"),
        ("a/BatchNorm_0/moving_variance", "batch_stats/a/BatchNorm_0/var"),
        ("word_embeddings/embeddings", "params/word_embeddings/embedding"),
        ("cls/cls", "params/cls"),
        ("a/cls/cls", "params/a/cls/cls"),
    ],
)
def test_flax_path(keras_path, expected):
    assert flax_path(keras_path) == expected
