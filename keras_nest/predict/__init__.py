"""Class probabilities of image files, from any kind of model file: what `keras-nest predict` does.

>>> predictor = open_predictor("runs/demo")
>>> probabilities = predictor.probabilities([read_image("seven.png")])
"""

from keras_nest.predict.images import find_images, read_image
from keras_nest.predict.open import open_predictor, predictor
from keras_nest.predict.predictor import Predictor

__all__ = ["Predictor", "find_images", "open_predictor", "predictor", "read_image"]
