"""Which weights are divided among devices; tests/training/test_on_jax.py trains with them."""

import types

import pytest

from keras_nest.training.model_parallel import divided_axis
from tests.families import FAMILIES

MLP = {"Dense_0/kernel": 1, "Dense_0/bias": 0, "Dense_1/kernel": 0}
HEADS = {"kernel": 1, "bias": 0}
# Of the first block: part of the block -> weight -> axis.
EXPECTED = {
    "NesT": (
        "EncoderNDBlock_0/",
        {
            "MlpBlock_0": MLP,
            "MultiHeadAttention_0/DenseGeneral_0": HEADS,
            "MultiHeadAttention_0/DenseGeneral_1": HEADS,
            "MultiHeadAttention_0": {"proj_kernel": 0},
        },
    ),
    "ViT": (
        "Transformer/encoderblock_0/",
        {
            "MlpBlock_0": MLP,
            **{f"MultiHeadDotProductAttention_0/{name}": HEADS for name in ("query", "key", "value")},
            "MultiHeadDotProductAttention_0/out": {"kernel": 0},
        },
    ),
    "Mixer": ("MixerBlock_0/", {"token_mixing": MLP, "channel_mixing": MLP}),
    "ViTFlaxNesT": ("Transformer_0/FeedForward_0/", {"Conv_0": {"kernel": 3}, "Conv_1": {"kernel": 2}}),
}


def divided(name, size):
    axes = {weight.path: divided_axis(weight, size) for weight in FAMILIES[name]().weights}
    return {path: axis for path, axis in axes.items() if axis is not None}


@pytest.mark.parametrize("name", EXPECTED)
def test_heads_and_hidden_units(name):
    block, parts = EXPECTED[name]
    expected = {f"{block}{part}/{weight}": axis for part, weights in parts.items() for weight, axis in weights.items()}
    first = block.split("_0/")[0]
    found = divided(name, 2)
    assert {path: axis for path, axis in found.items() if path.startswith(block)} == expected
    # Of the other blocks the same, and nothing else.
    assert len(found) % len(expected) == 0
    assert all(path.startswith(first) for path in found)


def test_what_cannot_be_divided_stays_whole():
    assert divided("NesT", 3) == {}
    # Hidden units alone: the first block has two heads.
    assert {path.split("/")[1] for path in divided("NesT", 4) if "Block_0/" in path} == {"MlpBlock_0"}


def test_a_network_of_convolutions_is_not_divided():
    assert divided("ResNet", 2) == {}
    assert all("Transformer" in path for path in divided("hybrid", 2))


def test_what_an_optimizer_keeps_lies_as_the_weight():
    shape = (8, 32)
    path = "momentum/Transformer_encoderblock_0_MlpBlock_0_Dense_0_kernel_momentum"
    assert divided_axis(types.SimpleNamespace(path=path, shape=shape), 2) == 1
