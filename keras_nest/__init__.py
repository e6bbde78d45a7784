"""NesT, ViT, MLP-Mixer and LiT for Keras 3: published JAX checkpoints, ordinary Keras models.

>>> import keras_nest
>>> model = keras_nest.create_model("nest_base", weights="gs://gresearch/nest-checkpoints/nest-b_imagenet")
>>> preprocess = keras_nest.preprocessor(model)
>>> logits = model(preprocess(images))
"""

from keras_nest import data, explain
from keras_nest.aliases import add_alias
from keras_nest.factory import create_model
from keras_nest.generative.generator import NesTGenerator
from keras_nest.hub import HubLayer
from keras_nest.imagenet import decode_predictions
from keras_nest.layers.lora import merge_lora
from keras_nest.models import (
    Bert,
    LiT,
    MlpMixer,
    NesT,
    ResNet,
    TextTransformer,
    VisionTransformer,
    ViTFlaxNesT,
)
from keras_nest.opening import LoadedModel, open_model
from keras_nest.predict import predictor
from keras_nest.preprocessing import EvalPreprocessing, preprocessor
from keras_nest.registry import list_models
from keras_nest.tokenizers import get_tokenizer
from keras_nest.version import __version__
from keras_nest.zero_shot import ZeroShotClassifier

# Their names until 0.1.
add_alias("keras_nest.training.gan", "keras_nest.generative")
add_alias("keras_nest.training.main", "keras_nest.cli.train")

__all__ = [
    "Bert",
    "EvalPreprocessing",
    "HubLayer",
    "LiT",
    "LoadedModel",
    "MlpMixer",
    "NesT",
    "NesTGenerator",
    "ResNet",
    "TextTransformer",
    "ViTFlaxNesT",
    "VisionTransformer",
    "ZeroShotClassifier",
    "__version__",
    "create_model",
    "data",
    "decode_predictions",
    "explain",
    "get_tokenizer",
    "list_models",
    "merge_lora",
    "open_model",
    "predictor",
    "preprocessor",
]
