"""Layers of the models, in `keras.ops` only: they run on every Keras backend."""

from keras_nest.layers.attention import MultiHeadAttention, MultiQueryAttention
from keras_nest.layers.block_aggregation import ConvPool
from keras_nest.layers.dense_general import DenseGeneral
from keras_nest.layers.embeddings import PatchEmbedding, PositionEmbedding
from keras_nest.layers.encoder import EncoderNDBlock, MlpBlock
from keras_nest.layers.image_blocks import BlockImages, UnblockImages
from keras_nest.layers.normalization import ChannelNorm
from keras_nest.layers.random import Dropout, ReplicaSeedGenerator
from keras_nest.layers.stochastic_depth import StochasticDepth

__all__ = [
    "BlockImages",
    "ChannelNorm",
    "ConvPool",
    "DenseGeneral",
    "Dropout",
    "EncoderNDBlock",
    "MlpBlock",
    "MultiHeadAttention",
    "MultiQueryAttention",
    "PatchEmbedding",
    "PositionEmbedding",
    "ReplicaSeedGenerator",
    "StochasticDepth",
    "UnblockImages",
]
