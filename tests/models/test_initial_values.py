"""What new ViT, hybrid, Mixer and ResNet models start from, against the moments of the reference's."""

import functools
import itertools
import math

import keras
import numpy as np
import pytest

from keras_nest import MlpMixer, ResNet, VisionTransformer, conversion
from tests.golden import resnet_loading, vit_loading

RESNETS = resnet_loading.facts()["tiny"]
STATS = vit_loading.facts("init_stats") | {
    name: {path.removeprefix("params/"): stats for path, stats in entry["initial"].items()}
    for name, entry in RESNETS.items()
}
MODELS = {
    "vit": (
        VisionTransformer,
        {"image_size": 64, "patch_size": 16, "hidden_size": 192, "num_layers": 1, "num_heads": 3, "mlp_dim": 768}
        | {"representation_size": 128},
    ),
    "hybrid": (
        VisionTransformer,
        {"image_size": 32, "patch_size": 1, "hidden_size": 64, "num_layers": 1, "num_heads": 2, "mlp_dim": 96}
        | {"classifier": "gap", "resnet_num_layers": (1,)},
    ),
    "mixer": (
        MlpMixer,
        {"image_size": 64, "patch_size": 8, "hidden_dim": 128, "num_blocks": 1, "tokens_mlp_dim": 64}
        | {"channels_mlp_dim": 256},
    ),
    **{name: (ResNet, entry["config"]) for name, entry in RESNETS.items()},
}


@functools.cache
def new_model(name):
    architecture, fields = MODELS[name]
    keras.utils.set_random_seed(0)
    model = architecture(**{"num_classes": 50, **fields})
    return {path.removeprefix("params/"): value for path, value in conversion.model_tree(model).items()}


@pytest.mark.parametrize("name", MODELS)
def test_moments(name):
    values = new_model(name)
    assert {path: list(value.shape) for path, value in values.items()} == {
        path: stats["shape"] for path, stats in STATS[name].items()
    }
    for path, stats in STATS[name].items():
        value = values[path].astype(np.float64)
        if stats["std"] == 0:
            np.testing.assert_array_equal(value, stats["mean"], err_msg=path)
            continue
        # Both are samples: five deviations of the difference of two of their means and deviations.
        margin = 5 * math.sqrt(2 / value.size) * stats["std"]
        assert value.mean() == pytest.approx(stats["mean"], abs=margin), path
        assert value.std() == pytest.approx(stats["std"], abs=margin / math.sqrt(2)), path


@pytest.mark.parametrize("name", MODELS)
def test_extremes_tell_uniform_from_normal(name):
    """Uniform values end at 1.73 deviations, truncated normal ones at 2.27, others reach 3.5 and more."""
    values = new_model(name)
    for path, stats in STATS[name].items():
        if stats["std"] > 0 and values[path].size > 1000:
            ends = [values[path].min() / values[path].std(), values[path].max() / values[path].std()]
            bounded = not path.endswith("pos_embedding")
            theirs = [stats["min"] / stats["std"], stats["max"] / stats["std"]]
            np.testing.assert_allclose(ends, theirs, atol=0.15 if bounded else 1, err_msg=path)
            assert (max(theirs) < 2.4) == bounded


@pytest.mark.parametrize("name", MODELS)
def test_no_two_tensors_are_drawn_alike(name):
    """Keras draws the same values again from an initializer that two layers share."""
    drawn = [(path, value.ravel()) for path, value in new_model(name).items() if value.std() > 0]
    for (path, value), (other_path, other) in itertools.combinations(drawn, 2):
        size = min(len(value), len(other))
        assert abs(np.corrcoef(value[:size], other[:size])[0, 1]) < 6 / math.sqrt(size), (path, other_path)


def test_the_head_starts_where_it_is_told():
    fields = {"image_size": 8, "patch_size": 4, "hidden_size": 6, "num_layers": 1, "num_heads": 2, "mlp_dim": 6}
    model = VisionTransformer(num_classes=3, head_bias_init=-10.0, **fields)
    np.testing.assert_array_equal(model(np.ones((2, 8, 8, 3), np.float32)), np.full((2, 3), -10))
