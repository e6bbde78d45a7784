"""A seed makes the same model as in earlier versions: runs that are repeated give the numbers that they gave."""

import keras
import numpy as np
import pytest

import keras_nest
from tests import families

DEPTHS = {"num_classes": 3, "num_layers_per_block": (1, 1)}
HYBRID = {**families._HYBRID, "resnet_num_layers": (1, 1), "num_classes": 3}
MODELS = {
    "NesT": lambda: keras_nest.create_model("nest_tiny", stochastic_depth_drop=0.2, **DEPTHS, **families._NEST),
    "NesT, multi-query": lambda: keras_nest.create_model(
        "nest_tiny_s16_32", attn_type="local_multi_query", **DEPTHS, **families._NEST
    ),
    "ViT": lambda: keras_nest.create_model("ViT-Ti_16", num_classes=3, dropout_rate=0.1, **families._VIT),
    "hybrid": lambda: keras_nest.create_model("R26+ViT-S_32", **HYBRID),
    "Mixer": lambda: keras_nest.create_model("Mixer-B_16", num_classes=3, channels_mlp_dim=8, **families._MIXER),
    "ViTFlaxNesT": lambda: keras_nest.ViTFlaxNesT(num_classes=3, **families._BLOCKS),
}
# Of version 0.1.0: the sum of absolute values of all variables, the states of seed generators among them.
RECORDED = {
    "NesT": 1732645260.225,
    "NesT, multi-query": 1732645181.771,
    "ViT": 3455728711.422,
    "hybrid": 23970.786,
    "Mixer": 160.306,
    "ViTFlaxNesT": 344.433,
}


@pytest.mark.parametrize("name", MODELS)
def test_initial_values(name):
    keras.utils.set_random_seed(0)
    variables = MODELS[name]().variables
    total = sum(np.abs(np.asarray(variable, np.float64)).sum() for variable in variables)
    assert total == pytest.approx(RECORDED[name], rel=0, abs=0.01)
