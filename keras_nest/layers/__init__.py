"""Layers of the models, in `keras.ops` only: they run on every Keras backend."""

from keras_nest.layers.attention import MultiHeadAttention, MultiQueryAttention
from keras_nest.layers.bert import BertEmbedder, BertEncoder, BertLayer, BertSelfAttention
from keras_nest.layers.block_aggregation import ConvPool
from keras_nest.layers.block_deaggregation import BlockDeaggregation, TokensToImages
from keras_nest.layers.dense_general import DenseGeneral
from keras_nest.layers.embeddings import PatchEmbedding, PositionEmbedding
from keras_nest.layers.encoder import EncoderNDBlock, MlpBlock
from keras_nest.layers.encoder_1d import Encoder, Encoder1DBlock, MultiHeadDotProductAttention
from keras_nest.layers.image_blocks import BlockImages, UnblockImages
from keras_nest.layers.normalization import ChannelNorm
from keras_nest.layers.random import Dropout, ReplicaSeedGenerator
from keras_nest.layers.resnet import ResidualUnit, ResNetStage, StdConv
from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.layers.text import TextPositions, TokenEmbedding
from keras_nest.layers.tokens import AddPositionEmbs, ClassToken, MapToTokens, PoolTokens, TokensToMap
from keras_nest.layers.two_tower import L2Normalize, Temperature

__all__ = [
    "AddPositionEmbs",
    "BertEmbedder",
    "BertEncoder",
    "BertLayer",
    "BertSelfAttention",
    "BlockDeaggregation",
    "BlockImages",
    "ChannelNorm",
    "ClassToken",
    "ConvPool",
    "DenseGeneral",
    "Dropout",
    "Encoder",
    "Encoder1DBlock",
    "EncoderNDBlock",
    "L2Normalize",
    "MapToTokens",
    "MlpBlock",
    "MultiHeadAttention",
    "MultiHeadDotProductAttention",
    "MultiQueryAttention",
    "PatchEmbedding",
    "PoolTokens",
    "PositionEmbedding",
    "ReplicaSeedGenerator",
    "ResNetStage",
    "ResidualUnit",
    "StdConv",
    "StochasticDepth",
    "Temperature",
    "TextPositions",
    "TokenEmbedding",
    "TokensToImages",
    "TokensToMap",
    "UnblockImages",
]
