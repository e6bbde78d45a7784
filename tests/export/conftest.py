"""Small models with weights that matter: no bias is zero, no scale is one."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import export
from tests.export import toys
from tests.golden import synthetic

SMALL = {
    "num_classes": 10,
    "image_size": 16,
    "embedding_dim": 16,
    "num_heads": 2,
    "num_layers_per_block": (1,),
    "init_patch_embed_size": 2,
    "scale_hidden_dims": 2,
    "preprocessing": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "crop_ratio": 0.875,
        "interpolation": "bilinear",
    },
}


@pytest.fixture(scope="session")
def small_nest() -> Callable[..., keras_nest.NesT]:
    """Builds the small model; keyword arguments override its fields."""

    def build(**fields: Any) -> keras_nest.NesT:
        model = keras_nest.NesT(**{**SMALL, **fields})
        for variable in model.trainable_variables:
            path = variable.path.replace("gamma", "scale").replace("beta", "bias")
            variable.assign(synthetic.leaf(path, variable.shape))
        return model

    return build


@pytest.fixture(scope="session")
def images() -> Callable[..., np.ndarray]:
    """Draws images in [0, 1]: (batch, height, width, 3) float32."""
    return lambda batch, size=(16, 16): np.random.default_rng(batch).random((batch, *size, 3), np.float32)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Any, pathlib.Path]]:
    """Gives a small model of a family, and the directory of the first version of it."""
    root = tmp_path_factory.mktemp("published")

    @functools.cache
    def publish(family: str) -> tuple[Any, pathlib.Path]:
        model = toys.build(family)
        return model, export.publish(model, root / family, class_names=toys.CLASS_NAMES, archive=True)

    return publish


@pytest.fixture(scope="session")
def loaded(published: Callable[[str], tuple[Any, pathlib.Path]]) -> Any:
    """The published NesT as TensorFlow loads it."""
    return tf.saved_model.load(str(published("nest")[1]))


@pytest.fixture(scope="session")
def feature_vector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, pathlib.Path]:
    """A small model, and the directory of a version of it without the head."""
    model, folder = toys.build("mixer", preprocessing=None), tmp_path_factory.mktemp("feature_vector")
    options = {"head": "none", "class_names": ["never asked"], "metrics": {"top1": 0.98765, "steps": 7}}
    return model, export.publish(model, folder, warm_up=False, **options)
