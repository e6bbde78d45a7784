"""Why a model says what it says: where in the image its answer comes from.

>>> explained = gradcat(model, keras_nest.preprocessor(model)(image))
>>> explained.levels[-1].box

All is there with Keras on JAX, too, but for `tf.function`, under which TensorFlow's backend alone explains.
"""

from keras_nest.explain.activation import class_activation_map
from keras_nest.explain.attention import LevelAttention, attention_maps, attention_rollout
from keras_nest.explain.tree import GradCAT, Node, gradcat

__all__ = [
    "GradCAT",
    "LevelAttention",
    "Node",
    "attention_maps",
    "attention_rollout",
    "class_activation_map",
    "gradcat",
]
