"""Every public layer passes Keras' own test of layers."""

import pytest

from keras_nest import layers
from tests.harness import run_layer_test

MAP, BLOCKS, TOKENS, TEXT = (2, 4, 6, 3), (2, 4, 6, 8), (2, 6, 8), (2, 6)
HEADS, GRID = {"num_heads": 2}, {"grid": (2, 2)}
BERT = {"vocab_size": 9, "hidden_size": 8, "max_length": 6}
IDS = {"input_dtype": "int32"}
# Class -> arguments, shape of the input, shape of the (first) output, other options of the test.
CASES = {
    "AddPositionEmbs": ({"grid": (2, 3)}, TOKENS, TOKENS),
    "BertEmbedder": ({**BERT, "num_segments": 2}, TEXT, TOKENS, IDS),
    "BertEncoder": ({**BERT, **HEADS, "num_layers": 1, "mlp_dim": 4}, TEXT, None, IDS),
    "BertLayer": ({**HEADS, "mlp_dim": 4}, TOKENS, TOKENS),
    "BertSelfAttention": (HEADS, TOKENS, TOKENS),
    "BlockDeaggregation": ({"output_dim": 4, **GRID, "block": (2, 3)}, BLOCKS, (2, 16, 6, 4)),
    "BlockImages": (GRID, MAP, (2, 4, 6, 3)),
    "ChannelNorm": ({}, TOKENS, TOKENS),
    "ClassToken": ({}, TOKENS, (2, 7, 8)),
    "ConvPool": ({"output_dim": 5, **GRID}, (2, 8, 12, 3), (2, 4, 6, 5)),
    "DenseGeneral": ({"features": (2, 3)}, TOKENS, (2, 6, 6)),
    "Dropout": ({"rate": 0.5}, TOKENS, TOKENS),
    "Encoder": ({**HEADS, "num_layers": 1, "mlp_dim": 4}, TOKENS, None),
    "Encoder1DBlock": ({**HEADS, "mlp_dim": 4}, TOKENS, None),
    "EncoderNDBlock": (HEADS, BLOCKS, None),
    "L2Normalize": ({}, TOKENS[1:], TOKENS[1:]),
    "MapToTokens": ({}, MAP, (2, 24, 3)),
    "MlpBlock": ({"hidden_dim": 4}, TOKENS, TOKENS),
    "MultiHeadAttention": (HEADS, BLOCKS, BLOCKS),
    "MultiHeadDotProductAttention": (HEADS, TOKENS, TOKENS),
    "MultiQueryAttention": (HEADS, BLOCKS, BLOCKS),
    "PatchEmbedding": ({"embedding_dim": 5, "patch_size": 2}, MAP, (2, 2, 3, 5)),
    "PoolTokens": ({"classifier": "gap"}, TOKENS, (2, 8)),
    "PositionEmbedding": ({**GRID, "block": (2, 3)}, BLOCKS, BLOCKS),
    "ResNetStage": ({"num_units": 2, "features": 32, "stride": 2}, (2, 4, 6, 32), (2, 2, 3, 128)),
    "ResidualUnit": ({"features": 32}, (2, 4, 6, 32), (2, 4, 6, 128)),
    "StdConv": ({"filters": 5, "kernel_size": 3, "strides": 2}, MAP, (2, 2, 3, 5)),
    "StochasticDepth": ({"rate": 0.5}, TOKENS, TOKENS),
    "Temperature": ({"initial": 2.0}, TOKENS[1:], (1,)),
    "TextPositions": ({}, TOKENS, TOKENS),
    "TokenEmbedding": ({"input_dim": 9, "output_dim": 8}, TEXT, TOKENS, IDS),
    "TokensToImages": ({"out_channels": 3, **GRID, "block": (2, 3), "patch_size": 2}, BLOCKS, (2, 8, 12, 3)),
    "TokensToMap": ({"grid": (2, 2)}, TOKENS, (2, 2, 2, 8)),
    "UnblockImages": ({**GRID, "block": (2, 3)}, BLOCKS, (2, 4, 6, 8)),
}


def test_no_public_layer_is_left_out():
    assert set(CASES) == set(layers.__all__) - {"ReplicaSeedGenerator"}  # which is no layer


# Those that are inside no other of them, as training compiles, which is slow.
OUTERMOST = [
    *("AddPositionEmbs", "BertEncoder", "BlockDeaggregation", "BlockImages", "ClassToken", "ConvPool", "Encoder"),
    *("EncoderNDBlock", "L2Normalize", "MapToTokens", "MultiQueryAttention", "PatchEmbedding", "PoolTokens"),
    *("PositionEmbedding", "ResNetStage", "Temperature", "TextPositions", "TokensToImages"),
]


# Keras tells of what its own test gives to `fit`, and of layers without weights.
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed", "ignore:The model does not have any trainable weights")
@pytest.mark.parametrize(
    ("name", "train"),
    [*((name, False) for name in CASES), *(pytest.param(name, True, marks=pytest.mark.slow) for name in OUTERMOST)],
)
def test_keras_own_test(name, train):
    init_kwargs, shape, output_shape, *options = CASES[name]
    options = {"expected_output_shape": output_shape, "run_training_check": train, **(options[0] if options else {})}
    run_layer_test(getattr(layers, name), init_kwargs, input_shape=shape, **options)
