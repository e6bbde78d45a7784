"""--verify notices a tensor that went astray. With timm and transformers themselves: `make test-torch`."""

import numpy as np
import pytest

from keras_nest import NesT, conversion
from keras_nest.conversion.verify import largest_difference
from keras_nest.models.base import logits_model
from tests import keras_models

SMALL = {"init_patch_embed_size": 2, "embedding_dim": 6, "num_layers_per_block": (1,)}


@pytest.mark.slow
def test_agreement_and_disagreement():
    model = NesT(5, 8, **SMALL)
    keras_models.randomize(model)
    tree = conversion.model_tree(model)
    difference, scale = largest_difference(model, tree)
    assert difference <= 1e-5
    assert scale > 0.1
    bias = model.get_layer("EncoderNDBlock_0").attention.bias
    bias.assign(bias + 0.1 * np.arange(6))  # of all channels alike, the normalization would take no notice
    assert largest_difference(model, tree)[0] > 1e-3
    assert largest_difference(model, tree, headless=True)[0] <= 1e-5  # compares the given tree with itself


def test_a_model_that_puts_out_probabilities_is_compared_before_them():
    model = NesT(5, 8, classifier_activation="softmax", **SMALL)
    keras_models.randomize(model)
    tree = conversion.model_tree(model)
    difference, scale = largest_difference(model, tree, seed=3)
    assert difference <= 1e-5
    images = np.random.default_rng(3).standard_normal((2, 8, 8, 3), np.float32)
    assert scale == pytest.approx(float(np.abs(logits_model(model)(images)).max()), rel=1e-4)
    assert largest_difference(model, tree, headless=True)[0] <= 1e-5
