"""How good the samples of a generator of digits are, judged by a classifier trained on the real ones.

A small NesT is trained on the 1,437 training images. It says how many samples it takes for the class that was asked
for, and its embedding gives Frechet distances, each between sets of 360 images unless told otherwise: a smaller one is
better, and that between real images, in parts with equal shares of each class, is what a perfect generator would have.
Whether the generator copies is told by the distance to the nearest training image, for samples and for test images,
which nobody can have copied.

Writes a table to results/gan_quality.csv, samples to docs/digits_gan.png and their nearest training images to
docs/digits_gan_neighbours.png.
"""

import argparse
import dataclasses
import os
import pathlib
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from benchmarks import timing
from keras_nest import NesTGenerator, create_model, open_model
from keras_nest.data import Source, Split, create_recipe, train_batches
from keras_nest.data.sources import IndexedExamples, digits
from keras_nest.figures import new_figure, picture_file
from keras_nest.files import local_path
from keras_nest.metrics import accuracy
from keras_nest.models.losses import cross_entropy
from keras_nest.training import Trainer, WarmupDecay, create_optimizer

_CLASSIFIER: dict[str, Any] = {
    "num_classes": 10,
    "init_patch_embed_size": 2,
    "embedding_dim": 24,
    "num_heads": 2,
    "num_layers_per_block": (1, 1, 2),
    "scale_hidden_dims": 2,
    "attn_type": "local_multi_head",
    "stochastic_depth_drop": 0.1,
}
# Pixels in [-1, 1], as generators make them.
_PREPROCESSING = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}
STEPS, BATCH, RATE = 600, 32, 2e-3
_SHOWN, _NEIGHBORS = 10, 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the measurement from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generator", help="working directory of a training, or a .keras file")
    parser.add_argument("--samples", type=int, default=2000, help="images to judge (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the samples (default: %(default)s)")
    parser.add_argument("--truncation", type=float, default=1.0, help="of the noise (default: %(default)s)")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--pictures", type=local_path, default=pathlib.Path("docs"), help="directory of the pictures")
    parser.add_argument("--quick", action="store_true", help="a classifier of few steps, which shows that it works")
    options = parser.parse_args(arguments)
    generator = read_generator(options.generator)
    size = generator.config["image_size"]
    train, test, _ = digits.load(size)
    classifier = train_classifier(train, test, size, 20 if options.quick else STEPS)
    labels = np.arange(options.samples) % generator.num_classes
    samples = generator.sample(options.samples, options.seed, labels, options.truncation)
    rows = measure(classifier, samples, labels, train, test)
    timing.report("Samples of the generator of digits", rows, options.results / "gan_quality.csv")
    draw_samples(options.pictures / "digits_gan.png", samples[: _SHOWN * generator.num_classes], generator.num_classes)
    draw_neighbors(options.pictures / "digits_gan_neighbours.png", samples[: generator.num_classes], train)
    print(f"Pictures written to {options.pictures}.")


def read_generator(path: str) -> NesTGenerator:
    """The generator of a training, or of a .keras file; it must make digits."""
    generator = open_model(path).model
    if not isinstance(generator, NesTGenerator):
        raise ValueError(f"{path} is a {type(generator).__name__}; it must be a generator.")
    if generator.num_classes != len(digits.CLASS_NAMES):
        raise ValueError(f"{path} is a generator of {generator.num_classes} classes; it must be one of the 10 digits.")
    return generator


def train_classifier(train: Split, test: Split, size: tuple[int, int], steps: int) -> keras.Model:
    """A NesT trained on real digits in [-1, 1]: images (N, H, W, 3) -> embedding (N, C) and logits (N, 10)."""
    keras.utils.set_random_seed(0)
    _, _, info = digits.load(size)
    source = Source(info, IndexedExamples(*train), IndexedExamples(*test))
    recipe = dataclasses.replace(create_recipe("shift", info, size), preprocessing=_PREPROCESSING)
    model = create_model("nest_tiny_s16_32", image_size=size, preprocessing=_PREPROCESSING, **_CLASSIFIER)
    trainer = Trainer(model, clip_norm=1.0)
    schedule = WarmupDecay(RATE, steps_per_epoch=steps, num_epochs=1, warmup_epochs=0.1)
    optimizer = create_optimizer(model, "adamw", schedule, weight_decay=0.05, optim_wd_ignore=("pos_embedding",))
    trainer.compile(optimizer, cross_entropy, weighted_metrics=[accuracy])
    trainer.fit(train_batches(source, recipe, size, BATCH, seed=0), steps_per_epoch=steps, shuffle=False, verbose=0)
    return keras.Model(model.input, [model.endpoints["pre_logits"], model.endpoints["logits"]])


def measure(
    classifier: keras.Model, samples: np.ndarray, labels: np.ndarray, train: Split, test: Split
) -> list[dict[str, Any]]:
    """Rows of the table, each a quantity and its value.

    Args:
        classifier: images in [-1, 1] -> embedding and logits.
        samples: float32 (N, H, W, 3) in [-1, 1].
        labels: integers (N,), the classes that were asked for.
        train: real images.
        test: others.
    """
    real, unseen = as_floats(train.images), as_floats(test.images)
    made, logits = classifier.predict(samples, verbose=0)
    known, _ = classifier.predict(real, verbose=0)
    tested, test_logits = classifier.predict(unseen, verbose=0)
    right = logits.argmax(-1) == labels
    by_class = [100 * right[labels == label].mean() for label in np.unique(labels)]
    count = len(tested)
    both, both_labels = np.concatenate([known, tested]), np.concatenate([train.labels, test.labels])
    halves = _part(both, both_labels, 2, 0), _part(both, both_labels, 2, 1)
    quarter = _part(known, train.labels, len(known) // count + 1, 0)
    values = {
        "classifier: test accuracy %": 100 * (test_logits.argmax(-1) == test.labels).mean(),
        f"samples taken for their class, of {len(samples)}, %": 100 * right.mean(),
        "that of the worst class, %": min(by_class),
        "classes among the samples": len(np.unique(logits.argmax(-1))),
        "Frechet distance, samples - test images": frechet_distance(made[:count], tested),
        f"Frechet distance, {len(made)} samples - test images": frechet_distance(made, tested),
        "Frechet distance, training - test images": frechet_distance(quarter, tested),
        f"Frechet distance, two halves of {len(both)} real images": frechet_distance(*halves),
        "distance to nearest training image, samples": np.median(nearest(samples[:count], real)[1][:, 0]),
        "distance to nearest training image, test images": np.median(nearest(unseen, real)[1][:, 0]),
        "deviation within a class, samples": _deviation(samples, labels),
        "deviation within a class, training images": _deviation(real, train.labels),
    }
    return [{"quantity": name, "value": round(float(value), 4)} for name, value in values.items()]


def _part(vectors: np.ndarray, labels: np.ndarray, parts: int, index: int) -> np.ndarray:
    """One of several random parts of equal size and with the same share of each class."""
    order = np.random.default_rng(0).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    return vectors[by_class[index::parts]]


def as_floats(images: np.ndarray) -> np.ndarray:
    """uint8 images as float32 in [-1, 1]."""
    return images.astype(np.float32) / 127.5 - 1


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Frechet distance between the normal distributions that fit two sets of vectors, (N, C) and (M, C).

    |m - n|^2 + trace(S + T - 2 (S^1/2 T S^1/2)^1/2) with means m, n and covariances S, T. Source: Heusel et al., "GANs
    Trained by a Two Time-Scale Update Rule", NeurIPS 2017, equation 6.
    """
    first, second = first.astype(np.float64), second.astype(np.float64)
    covariances = np.cov(first.T), np.cov(second.T)
    values, vectors = np.linalg.eigh(covariances[0])
    root = vectors * np.sqrt(values.clip(0)) @ vectors.T
    overlap = np.sqrt(np.linalg.eigvalsh(root @ covariances[1] @ root).clip(0)).sum()
    offset = np.square(first.mean(0) - second.mean(0)).sum()
    return float(offset + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * overlap)


def nearest(images: np.ndarray, known: np.ndarray, count: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Nearest known images: their numbers and distances (root mean square over the pixels), (N, count) each."""
    flat, others = images.reshape(len(images), -1), known.reshape(len(known), -1)
    squares = np.square(flat).mean(1)[:, None] + np.square(others).mean(1) - 2 * flat @ others.T / flat.shape[1]
    numbers = squares.argsort(axis=1)[:, :count]
    return numbers, np.sqrt(np.take_along_axis(squares, numbers, 1).clip(0))


def _deviation(images: np.ndarray, labels: np.ndarray) -> float:
    """Standard deviation of a pixel within a class, averaged."""
    return float(np.mean([images[labels == label].std(axis=0).mean() for label in np.unique(labels)]))


def draw_samples(path: pathlib.Path, samples: np.ndarray, classes: int) -> None:
    """Draws samples, a column for each class."""
    rows = len(samples) // classes
    figure = new_figure(0.62 * classes, 0.62 * rows + 0.4)
    axes = figure.subplots(rows, classes, squeeze=False)
    for axis, image in zip(axes.flat, samples, strict=True):
        _show(axis, image)
    for axis, name in zip(axes[0], digits.CLASS_NAMES, strict=True):
        axis.set_title(name, fontsize=10)
    figure.suptitle("Samples of the class-conditional generator", fontsize=11)
    with picture_file(path, overwrite=True) as partial:
        figure.savefig(partial)


def draw_neighbors(path: pathlib.Path, samples: np.ndarray, train: Split) -> None:
    """Draws a sample of each class, and beside it the training images that are nearest in their pixels."""
    known = as_floats(train.images)
    numbers, distances = nearest(samples, known, _NEIGHBORS)
    figure = new_figure(0.95 * len(samples), 0.95 * (_NEIGHBORS + 1) + 0.5)
    axes = figure.subplots(_NEIGHBORS + 1, len(samples))
    for column, sample in enumerate(samples):
        _show(axes[0, column], sample, "tab:orange")
        for rank in range(_NEIGHBORS):
            axis = axes[rank + 1, column]
            _show(axis, known[numbers[column, rank]])
            axis.set_title(f"{distances[column, rank]:.2f}", fontsize=8, pad=2)
    axes[0, 0].set_ylabel("sample", fontsize=9)
    axes[1, 0].set_ylabel("nearest", fontsize=9)
    figure.suptitle("Samples (top row) and their nearest training images, with distances", fontsize=11)
    with picture_file(path, overwrite=True) as partial:
        figure.savefig(partial)


def _show(axis: Any, image: np.ndarray, frame: str | None = None) -> None:
    axis.imshow((image + 1) / 2, vmin=0, vmax=1)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set(visible=frame is not None, color=frame, linewidth=2)


if __name__ == "__main__":
    main()
