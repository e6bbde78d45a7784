"""A short training, and what two of them must have in common."""

import contextlib
import json
import signal

import keras
import numpy as np
import pytest

from keras_nest.training.callbacks import StepCallback
from keras_nest.training.history import read_history

PREPROCESSING = {"mean": [0.3] * 3, "std": [0.3] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}
# Two levels on images of 16 pixels, and everything that has a state or draws lots. 44 steps: a checkpoint after every
# 8, an evaluation after 22 and 44, a row after every 10 and with each of these.
CONFIG = {
    "model_name": "nest_tiny_s16_32",
    "model": {
        "image_size": 16,
        "init_patch_embed_size": 4,
        "embedding_dim": 8,
        "num_heads": 2,
        "num_layers_per_block": (1, 1),
        "stochastic_depth_drop": 0.2,
        "preprocessing": PREPROCESSING,
    },
    "dataset": "digits",
    "augment": {"type": "shift", "max_shift": 4},
    "mix": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0},
    "num_epochs": 2,
    "per_device_batch_size": 64,
    "accum_steps": 2,
    "ema_decay": 0.8,
    "checkpoint_every_steps": 8,
    "log_loss_every_steps": 10,
    "learning_rate": 0.02,
    "seed": 3,
}
FILES = {
    "checkpoints",
    "classes.txt",
    "config.json",
    "confusion.png",
    "curves.png",
    "history.csv",
    "metrics.json",
    "model.keras",
    "tensorboard",
}
TIMING = ("seconds", "images_per_second", "train_seconds", "eval_images_per_second")


def files(workdir):
    return {path.name for path in workdir.iterdir()}


def without_timing(numbers):
    return {name: value for name, value in numbers.items() if name not in TIMING}


def assert_same_weights(workdir, other):
    """Bit for bit."""
    models = [keras.models.load_model(directory / "model.keras") for directory in (workdir, other)]
    for one, two in zip(*(model.weights for model in models), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=one.path)


def assert_same_results(workdir, other):
    """Weights, history and metrics, bit for bit; only what depends on the clock may differ."""
    assert_same_weights(workdir, other)
    rows = [[without_timing(row) for row in read_history(path / "history.csv")] for path in (workdir, other)]
    assert rows[0] == rows[1]
    metrics = [without_timing(json.loads((path / "metrics.json").read_text())) for path in (workdir, other)]
    assert metrics[0] == metrics[1]
    assert files(workdir) == files(other)


def assert_same_rows_but_for_rounding(workdir, other):
    """Means of a row that two starts measured are put together."""
    rows, expected = ([without_timing(row) for row in read_history(path / "history.csv")] for path in (workdir, other))
    assert [row["step"] for row in rows] == [row["step"] for row in expected]
    for row, one in zip(rows, expected, strict=True):
        assert row == pytest.approx(one, rel=1e-6)


@contextlib.contextmanager
def signaled(owner, name, when):
    """This process gets SIGTERM while a function is called for which `when(*arguments)` holds."""
    original = getattr(owner, name)

    def function(*arguments, **options):
        if when(*arguments):
            signal.raise_signal(signal.SIGTERM)
        return original(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, function)
        yield


def in_step(wanted):
    """What `signaled` takes, for a step of a training."""
    return StepCallback, "on_train_batch_end", lambda loop, *_: loop.step == wanted - 1


def write_config(path, config):
    """Writes a configuration file for the command line; returns its flag."""
    path.write_text(f"import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict({config!r})\n")
    return f"--config={path}"
