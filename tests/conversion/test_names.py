"""Names: the Keras tree is the Flax tree."""

import keras
import pytest

from keras_nest import NesT
from keras_nest.conversion.names import checkpoint_variables
from tests import keras_models
from tests.golden import loading


@pytest.mark.parametrize("name", [*loading.SMALL, *loading.VIT_FLAX])
def test_the_layer_tree_is_the_parameter_tree(name):
    model = keras_models.build(loading.case(name))
    ours = {path: tuple(v.shape) for path, v in checkpoint_variables(model).items() if path.startswith("params/")}
    assert ours == {f"params/{path}": shape for path, shape in loading.shapes(name).items()}


def test_seed_states_are_no_tensors():
    model = NesT(num_classes=2, image_size=8, embedding_dim=4, num_heads=1, num_layers_per_block=(2,), proj_drop=0.1)
    seeds = [v.path for v in model.variables if "seed" in v.path]
    assert seeds
    assert not any("seed" in path for path in checkpoint_variables(model))


def test_model_inside_a_model_keeps_its_tree():
    inner = keras_models.build(loading.case("small_mq"))
    outer = keras.Sequential([keras.Input(inner.input_shape[1:]), inner])
    assert outer.layers[0] is inner
    assert "params/PatchEmbedding_0/Conv_0/kernel" in checkpoint_variables(inner)
