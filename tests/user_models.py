"""Models of users around models of this package, which compute the same as a classifier of this package."""

import keras
import numpy as np

from keras_nest.models.base import IMAGENET_PREPROCESSING
from tests import families

CLASSES = 3
FAMILIES = {
    "NesT": families.nest,
    "ViT": families.vit,
    "hybrid": families.FAMILIES["hybrid"],
    "Mixer": families.FAMILIES["Mixer"],
    "ResNet": families.FAMILIES["ResNet"],
    "ViTFlaxNesT": lambda: families.randomized(
        families.FAMILIES["ViTFlaxNesT"]().with_fields(preprocessing=IMAGENET_PREPROCESSING)
    ),
}


def functional(base, head):
    inputs = keras.Input(base.input_shape[1:])
    return keras.Model(inputs, head(base(inputs)))


def flat(base, head):
    return keras.Model(base.input, head(base.output))


def sequential(base, head):
    return keras.Sequential([keras.layers.Dropout(0.1), base, keras.layers.Dropout(0.1), head])


WRAPPERS = {"functional": functional, "flat": flat, "sequential": sequential}


class Case:
    """A classifier of this package, and users' models that compute the same of its backbone."""

    def __init__(self, family):
        self.classifier = FAMILIES[family]()
        self.base = self.classifier.with_fields(num_classes=0)
        values = {variable.path: variable for variable in self.classifier.variables}
        for variable in self.base.variables:
            variable.assign(values[variable.path])
        # In [0, 1], and as the models take them.
        self.unit = np.random.default_rng(0).random((2, *self.classifier.input_shape[1:]), np.float32)
        spec = self.classifier.config["preprocessing"] or {"mean": 0.0, "std": 1.0}
        self.images = (self.unit - np.float32(spec["mean"])) / np.float32(spec["std"])
        self.logits = self.classifier(self.images, training=False)

    def head(self, **options):
        layer = keras.layers.Dense(CLASSES, **options)
        layer.build((None, self.base.output_shape[-1]))
        layer.set_weights(self.classifier.get_layer(self.classifier.HEAD[-1]).get_weights())
        return layer

    def wrapped(self, wrapper, **options):
        model = WRAPPERS[wrapper](self.base, self.head(**options))
        model(self.images, training=False)
        return model


def same(one, other, tolerance=1e-6):
    for ours, theirs in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * max(1, np.abs(theirs).max()))
