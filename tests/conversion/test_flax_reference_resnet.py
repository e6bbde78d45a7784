"""The Flax ResNets against the outputs of the original implementation."""

import functools

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from keras_nest.conversion.flax_reference import for_config
from tests.conversion.test_flax_reference import QUICK_COMPILATION, by_name, exact_arithmetic, shapes_of, variables
from tests.golden import resnet_loading
from tests.golden.resnet_loading import below, thin

pytestmark = pytest.mark.slow
__all__ = ["exact_arithmetic"]  # a fixture that this module uses by having it


def all_shapes(model, image_shape):
    """ "params/…" and "batch_stats/…" -> shape of a new model."""
    trees = shapes_of(model, image_shape)
    return {f"{name}/{path}": shape for name, tree in trees.items() for path, shape in tree.items()}


@pytest.mark.parametrize("name", resnet_loading.TINY)
class TestTinyModels:
    def test_variables(self, name):
        case = resnet_loading.case(name)
        stored = resnet_loading.facts()["tiny"][name]["initial"]
        shapes = all_shapes(for_config("ResNet", case.config), case.images.shape)
        assert shapes == {path: tuple(stats["shape"]) for path, stats in stored.items()}

    def test_outputs_of_every_module(self, name):
        case = resnet_loading.case(name)
        apply = functools.partial(
            for_config("ResNet", case.config).apply, capture_intermediates=True, mutable=["intermediates"]
        )
        logits, state = jax.jit(apply, compiler_options=QUICK_COMPILATION)(variables(case), case.images)
        np.testing.assert_allclose(logits, case.expected["logits"], 0, 2e-6)
        outputs = by_name(state["intermediates"])
        for path, value in below(case.expected, "inter:").items():
            atol = 3e-6 * max(1, np.abs(value).max())
            np.testing.assert_allclose(thin(outputs[f"{path}/__call__"]), value, 0, atol, err_msg=path)

    def test_training_mode(self, name):
        case = resnet_loading.case(name)
        apply = functools.partial(for_config("ResNet", case.config).apply, train=True, mutable=["batch_stats"])
        logits, state = jax.jit(apply, compiler_options=QUICK_COMPILATION)(variables(case), case.images)
        np.testing.assert_allclose(logits, case.expected["train_logits"], 0, 3e-6)
        updated, stored = flatten_dict(state["batch_stats"], sep="/"), below(case.expected, "train_stats:")
        assert updated.keys() == stored.keys()
        for path, expected in stored.items():
            np.testing.assert_allclose(thin(updated[path]), expected, 0, 1e-6, err_msg=path)


def test_without_classes_the_pooled_vector_is_returned():
    case = resnet_loading.case("basic")
    model = for_config("ResNet", case.config | {"num_classes": 0})
    logits, state = jax.eval_shape(
        functools.partial(model.apply, mutable=["intermediates"]), variables(case), case.images
    )
    assert logits.shape == state["intermediates"]["pre_logits"][0].shape == (3, 128)
