"""NesT, ViT, MLP-Mixer and LiT for Keras 3: published JAX checkpoints, ordinary Keras models.

>>> import keras_nest
>>> model = keras_nest.create_model("nest_base", weights="gs://gresearch/nest-checkpoints/nest-b_imagenet")
>>> preprocess = keras_nest.preprocessor(model)
>>> logits = model(preprocess(images))
"""

from keras_nest import data, explain
from keras_nest.hub import HubLayer
from keras_nest.models import (
    Bert,
    LiT,
    MlpMixer,
    NesT,
    NesTGenerator,
    ResNet,
    TextTransformer,
    VisionTransformer,
    ViTFlaxNesT,
)
from keras_nest.preprocessing import EvalPreprocessing, preprocessor
from keras_nest.registry import create_model, list_models
from keras_nest.tokenizers import get_tokenizer
from keras_nest.zero_shot import ZeroShotClassifier

__version__ = "0.1.0"

__all__ = [
    "Bert",
    "EvalPreprocessing",
    "HubLayer",
    "LiT",
    "MlpMixer",
    "NesT",
    "NesTGenerator",
    "ResNet",
    "TextTransformer",
    "ViTFlaxNesT",
    "VisionTransformer",
    "ZeroShotClassifier",
    "create_model",
    "data",
    "explain",
    "get_tokenizer",
    "list_models",
    "preprocessor",
]
