"""The average of the weights, by hand."""

import keras
import numpy as np

from keras_nest.training import Trainer, create_optimizer
from keras_nest.training.averages import copy_averages

IMAGES, LABELS = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32), np.arange(16) % 3


def model():
    layers = [keras.layers.Dense(4, name="frozen"), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    made = keras.Sequential([keras.Input((4,)), *layers])
    made.get_layer("frozen").trainable = False
    return made


class Recorder(keras.callbacks.Callback):
    """Remembers the weights after each step."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append([np.asarray(variable) for variable in self.model.model.weights])


def test_averages_of_what_is_trained_and_the_rest_as_it_is():
    trained, averaged, recorder = model(), model(), Recorder()
    trainer = Trainer(trained)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer.compile(create_optimizer(trained, "adamw", 0.1, ema_decay=0.75), loss)
    trainer.fit(IMAGES, LABELS, 4, verbose=0, callbacks=[recorder])
    copy_averages(trained, trainer.optimizer, averaged)
    assert len(recorder.weights) == 4
    expected = recorder.weights[0]
    for weights in recorder.weights[1:]:
        expected = [0.75 * average + 0.25 * weight for average, weight in zip(expected, weights, strict=True)]
    last = recorder.weights[-1]
    trainable = [variable.trainable for variable in trained.weights]
    assert trainable.count(True) == 4
    for place, variable in enumerate(averaged.weights):
        if trainable[place]:
            np.testing.assert_allclose(variable, expected[place], rtol=1e-5, atol=1e-7)
            assert not np.allclose(variable, last[place], rtol=1e-3)
        else:
            np.testing.assert_array_equal(variable, last[place])
