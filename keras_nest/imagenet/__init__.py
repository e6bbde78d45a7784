"""The classes of ImageNet, in the order of the heads that were published.

>>> keras_nest.decode_predictions(model.predict(images), top=1)
[[('n02123045', 'tabby', 0.71)]]
"""

from keras_nest.imagenet.classes import ImageNetClass, find_dataset, read_classes
from keras_nest.imagenet.predictions import decode_predictions

__all__ = ["ImageNetClass", "decode_predictions", "find_dataset", "read_classes"]
