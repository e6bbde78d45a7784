"""Several digits on one canvas: images with more than one class, each in a known place."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_nest import NesT, preprocessor
from keras_nest.data import Split
from keras_nest.data.sources import digits
from keras_nest.models.losses import sigmoid_cross_entropy
from keras_nest.training import Trainer, WarmupDecay, create_optimizer

CELL = 16  # pixels a side
DIGITS = 4  # of different classes, on a canvas
BATCH, RATE = 64, 2e-3
NOWHERE = -1
# Mean and deviation of the digits; empty cells make the canvas darker.
_PREPROCESSING = {"mean": [0.31] * 3, "std": [0.35] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}


class Composites(NamedTuple):
    """uint8 images (N, H, W, 3), and the cell of each class in them, int32 (N, 10), or `NOWHERE`."""

    images: np.ndarray
    cells: np.ndarray


@dataclasses.dataclass(frozen=True)
class Canvas:
    """A square of cells, and a NesT whose leaves are these cells.

    Attributes:
        side: cells a side, a power of two.
        depths: encoder layers of each level.
    """

    side: int
    depths: tuple[int, ...]

    def model(self) -> NesT:
        """A NesT with one block of the first level for each cell."""
        return NesT(
            num_classes=10,
            image_size=self.side * CELL,
            init_patch_embed_size=4,
            embedding_dim=48,
            num_heads=2,
            scale_hidden_dims=2,
            num_layers_per_block=self.depths,
            stochastic_depth_drop=0.5,
            preprocessing=_PREPROCESSING,
        )

    def compose(self, split: Split, count: int, random: np.random.Generator, training: bool = False) -> Composites:
        """Puts digits of different classes into different cells, all drawn by chance.

        Args:
            split: digits, 16 pixels a side.
            count: number of composites.
            random: decides everything.
            training: 1 to 4 digits, moved by a pixel; else 4 digits in the middle of their cells.
        """
        by_class = [split.images[split.labels == label] for label in range(10)]
        images = np.zeros((count, self.side, CELL, self.side, CELL, 3), np.uint8)
        cells = np.full((count, 10), NOWHERE, np.int32)
        for image, where in zip(images, cells, strict=True):
            number = random.integers(1, DIGITS + 1) if training else DIGITS
            where[random.permutation(10)[:number]] = random.permutation(self.side**2)[:number]
            for label in np.flatnonzero(where != NOWHERE):
                digit = random.choice(by_class[label])
                shift = random.integers(-1, 2, 2) if training else (0, 0)
                row, column = divmod(where[label], self.side)
                image[row, :, column] = np.roll(digit, shift, axis=(0, 1))
        return Composites(images.reshape(count, self.side * CELL, self.side * CELL, 3), cells)

    def batches(self, split: Split, seed: int) -> tf.data.Dataset:
        """Endless training batches: normalized images, and 1 for each class that they show."""
        random, size = np.random.default_rng(seed), self.side * CELL

        def generate() -> Iterator[Any]:
            while True:
                images, cells = self.compose(split, BATCH, random, training=True)
                yield images, (cells != NOWHERE).astype(np.float32)

        shapes = tf.TensorSpec((BATCH, size, size, 3), tf.uint8), tf.TensorSpec((BATCH, 10))
        prepare = preprocessor(self.model())
        batches = tf.data.Dataset.from_generator(generate, output_signature=shapes)
        return batches.map(lambda images, labels: (prepare(images), labels)).prefetch(2)

    def train(self, split: Split, steps: int, seed: int = 0) -> NesT:
        """Trains a model to name the digits that it sees.

        Args:
            split: training digits, 16 pixels a side.
            steps: updates.
            seed: of composites and initial weights.
        """
        keras.utils.set_random_seed(seed)
        model = self.model()
        schedule = WarmupDecay(RATE, steps_per_epoch=steps, num_epochs=1, warmup_epochs=0.1)
        optimizer = create_optimizer(model, "adamw", schedule, weight_decay=0.05, optim_wd_ignore=("pos_embedding",))
        trainer = Trainer(model, clip_norm=1.0)
        trainer.compile(optimizer, sigmoid_cross_entropy)
        trainer.fit(self.batches(split, seed), steps_per_epoch=steps, shuffle=False, verbose=0)
        return model


def load() -> tuple[Split, Split]:
    """Training and test digits in the size of a cell."""
    train, test, _ = digits.load(CELL)
    return train, test
