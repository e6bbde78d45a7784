"""Every family of models does what models do."""

import pytest

from tests import families
from tests.harness import run_explain_test, run_features_test, run_model_test, run_saving_test

# Twice the largest error in bfloat16 of six models with other weights, as a share of the largest output, on a processor
# that has no products in bfloat16; one that has sums otherwise. It is the depth of a family that makes it, and a
# normalization over few channels.
ROUNDING = {
    "NesT": 0.02,
    "NesT, multi-query, BatchNorm": 0.012,
    "ViT": 0.04,
    "ViT, gap": 0.025,
    "ViT, unpooled": 0.035,
    "ViT, token_unpooled": 0.035,
    "ViT, features": 0.035,
    "hybrid": 0.08,
    "hybrid of timm, exact GELU": 0.07,
    "Mixer": 0.035,
    "ResNet": 0.006,
    "ViTFlaxNesT": 0.14,
    "Bert": 0.015,
    "TextTransformer": 0.03,
    "LiT": 0.04,
    "generator": 0.045,
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
