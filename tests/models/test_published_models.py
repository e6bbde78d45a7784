"""Every published model at its published size, one forward pass each, against the reference outputs.

The bounds are those that rounding allows (the deep hybrids amplify it); what was measured goes into the README's table.
"""

import numpy as np
import pytest

import keras_nest
from benchmarks import model_table
from keras_nest import conversion, profiling, registry
from tests import keras_models
from tests.golden import loading, resnet_loading, vit_loading

BOUNDS = {"R26+ViT-S_32": 2e-4, "R26+ViT-B_32": 2e-4, "R50+ViT-B_16": 2e-4, "R50+ViT-L_32": 1e-3}
BOUNDS |= {"resnet152": 1e-4, "resnet200": 5e-4}  # of logits that reach 50 and 200
BOUND = 5e-5
QUICK = ["ViT-Ti_16", "R+ViT-Ti_16"]


def slow_but(quick, names):
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow, pytest.mark.large]) for name in names]


@pytest.mark.parametrize("name", slow_but(QUICK, vit_loading.FULL_SIZE))
def test_vit_and_mixer(name):
    case = vit_loading.case(name)
    model = keras_models.load(case)
    with keras_models.recorded_outputs() as inside:
        logits = np.asarray(model(case.images))
    published = name.removesuffix("-384").removesuffix("-i21k")
    bound = BOUNDS.get(published, BOUND)
    difference = keras_models.gap(case.sample("logits", logits), case.expected["logits"])
    assert difference <= bound
    pooled = inside["pre_logits" if case.config.get("representation_size") else pooling_layer(case)]
    assert keras_models.gap(case.sample("pre_logits", pooled), case.expected["pre_logits"]) <= bound
    assert len(case.intermediates) >= 4
    for path, value in case.intermediates.items():
        sample = case.sample(f"inter:{path}", inside[path])
        assert keras_models.gap(sample, value) <= bound * max(1.0, float(np.abs(value).max())), path
    if name == published:
        record(name, model, difference)


def pooling_layer(case):
    return "pool" if case.architecture == "VisionTransformer" else "pre_logits"


@pytest.mark.parametrize("name", slow_but(["nest_tiny_s196_224"], [*loading.VARIANTS, "vit_flax_readme"]))
def test_nest(name):
    case = loading.case(name)
    published = "vit_flax_nest" if name == "vit_flax_readme" else name
    with keras_models.no_initial_values():
        model = keras_nest.create_model(published)
    conversion.load_weights(model, keras_models.tree(case))
    differences = keras_models.differences(model, case)
    logits = differences.pop("logits")
    assert logits <= keras_models.LOGITS
    assert len(differences) >= 3
    assert max(differences.values()) <= keras_models.LEVELS
    record(published, model, logits)
    if name in loading.VARIANTS:
        # Counted by the reference from XLA's graph.
        assert profiling.count_macs(model) == loading.facts("manifest")["variants"][name]["matmul_conv_macs_batch1"]


# The images of the reference outputs are noise, and these models take [0, 1].
@pytest.mark.filterwarnings("ignore:Images have values")
@pytest.mark.parametrize("name", slow_but([], resnet_loading.PUBLISHED))
def test_resnet(name):
    with keras_models.no_initial_values():
        model = keras_nest.create_model(name)
    shapes = {path: value.shape for path, value in conversion.model_tree(model).items()}
    case = resnet_loading.published(name, shapes)
    conversion.load_weights(model, keras_models.tree(case))
    difference = keras_models.gap(np.asarray(model(case.images)), case.expected["logits"])
    assert difference <= BOUNDS.get(name, BOUND)
    record(name, model, difference)


def record(name, model, difference):
    parameters = profiling.count_parameters(model)
    assert parameters == registry.parameter_counts()[name]
    model_table.record(name, parameters, difference)
