"""From logits to probabilities."""

from collections.abc import Callable

import tensorflow as tf

ACTIVATIONS: dict[str, Callable[[tf.Tensor], tf.Tensor]] = {"softmax": tf.nn.softmax, "sigmoid": tf.math.sigmoid}
