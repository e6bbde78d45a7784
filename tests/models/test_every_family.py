"""Every family of models does what models do."""

import pytest

from tests import families
from tests.harness import run_explain_test, run_features_test, run_model_test, run_saving_test

# The largest error in bfloat16 of four models with other weights, as a share of the largest output: it is the depth of
# a family that makes it, and a normalization over few channels. Two are those of a processor without products in
# bfloat16, which sums otherwise: 0.0124 and 0.0103.
ROUNDING = {
    "NesT": 0.006,
    "NesT, multi-query, BatchNorm": 0.003,
    "ViT": 0.014,
    "ViT, gap": 0.003,
    "ViT, unpooled": 0.013,
    "ViT, token_unpooled": 0.011,
    "ViT, features": 0.009,
    "hybrid": 0.037,
    "hybrid of timm, exact GELU": 0.037,
    "Mixer": 0.006,
    "ResNet": 0.006,
    "ViTFlaxNesT": 0.013,
    "Bert": 0.008,
    "TextTransformer": 0.011,
    "LiT": 0.017,
    "generator": 0.011,
    "discriminator": 0,
}
# One of every architecture; their other forms go the same way.
CLASSIFIERS = ["NesT", "ViT", "hybrid", "Mixer", "ResNet", "ViTFlaxNesT"]
ARCHITECTURES = [*CLASSIFIERS, "LiT", "generator", "discriminator"]


@pytest.mark.parametrize("family", families.FAMILIES)
def test_configuration_clone_and_mixed_precision(family):
    run_model_test(families.made(family), ROUNDING[family])


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_changes_of_inner_layers_are_kept(family, tmp_path):
    run_saving_test(families.FAMILIES[family](), tmp_path)


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_features(family):
    run_features_test(families.made(family))


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_explanations(family):
    run_explain_test(families.made(family))
