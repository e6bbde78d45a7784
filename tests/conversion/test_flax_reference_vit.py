"""The Flax Vision Transformers, hybrids and Mixers against the outputs of the original implementation."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from flax.traverse_util import flatten_dict

from keras_nest.conversion.flax_reference import MlpMixer, VisionTransformer, for_config, resnet, vit
from tests.conversion.test_flax_reference import QUICK_COMPILATION, by_name, exact_arithmetic, initial_params, shapes_of
from tests.golden import synthetic, vit_loading
from tests.golden.vit_loading import Case

pytestmark = pytest.mark.slow

__all__ = ["exact_arithmetic"]  # a fixture that this module uses by having it

# The Keras models reproduce all stored outputs, also those of full size, and agree with these modules at random sizes
# (tests/models): one of each kind needs to be compared here.
TINY = ["vit_token_rep", "vit_gap", "hybrid_2_odd", "mixer_same_pad"]
PUBLISHED = ["ViT-Ti_16", "R+ViT-Ti_16", "Mixer-B_32"]
TINY_VIT = VisionTransformer(5, 4, 8, num_layers=1, num_heads=2, mlp_dim=12)


def apply(architecture, config, params, images):
    """Logits and the outputs of all modules by path."""
    model = for_config(architecture, config)
    variables = {"params": synthetic.nest_dict(params)}
    output, state = model.apply(variables, images, capture_intermediates=True, mutable=["intermediates"])
    return output, {path.removesuffix("/__call__"): value for path, value in by_name(state["intermediates"]).items()}


def predict(case: Case):
    """As `apply`."""
    compiled = jax.jit(functools.partial(apply, case.architecture, case.config), compiler_options=QUICK_COMPILATION)
    return compiled(case.params, case.images)


@functools.cache
def evaluate(name: str):
    """Loss, (logits, outputs of all modules) and gradients of (parameters, images); labels count for all tokens."""
    case = vit_loading.case(name)

    def loss(params, images):
        logits, outputs = apply(case.architecture, case.config, params, images)
        labels = case.expected["labels"].reshape(len(images), *[1] * (logits.ndim - 2), -1)
        return -(labels * jax.nn.log_softmax(logits)).sum(-1).mean(), (logits, outputs)

    compiled = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True), compiler_options=QUICK_COMPILATION)
    return compiled(case.params, case.images)


def assert_outputs(case: Case, outputs: dict[str, jax.Array], tolerance: float) -> None:
    """Compares the outputs of modules; the tolerance is relative to values that exceed 1, as those of convolutions."""
    assert case.intermediates
    for module, expected in case.intermediates.items():
        atol = tolerance * max(1, np.abs(expected).max())
        actual = case.sample(f"inter:{module}", outputs[module])
        np.testing.assert_allclose(actual, expected, 0, atol, err_msg=module)


# What the reference computed


@pytest.mark.parametrize("name", TINY)
def test_tiny_model_outputs(name):
    case = vit_loading.case(name)
    (loss, (logits, outputs)), _ = evaluate(name)
    np.testing.assert_allclose(loss, case.expected["loss"], 0, 5e-6)
    np.testing.assert_allclose(logits, case.expected["logits"], 0, 5e-6)
    assert_outputs(case, outputs, 5e-6)


@pytest.mark.parametrize("name", TINY)
def test_tiny_model_gradients(name):
    case = vit_loading.case(name)
    _, (actual, images) = evaluate(name)
    assert actual.keys() == case.gradients.keys()
    for path, expected in [*case.gradients.items(), ("images", case.expected["grad_images"])]:
        # The gradients of some biases are zero in exact arithmetic: 1e-7 is for their rounding.
        atol = min(1e-5, 1e-7 + 1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(images if path == "images" else actual[path], expected, 0, atol, err_msg=path)


def test_checkpoint_in_the_same_naming():
    checkpoint = vit_loading.checkpoint("hybrid_linen")
    params = vit_loading.arrays("checkpoints/hybrid_linen")
    compiled = jax.jit(
        lambda params: apply(checkpoint.architecture, checkpoint.config, params, checkpoint.images)[0],
        compiler_options=QUICK_COMPILATION,
    )
    np.testing.assert_allclose(compiled(params), checkpoint.logits, 0, 5e-6)


@pytest.mark.parametrize("scale", ["1.0", "0.0001"])
@pytest.mark.parametrize(("norm", "key"), [(vit.LayerNorm, "ln"), (resnet.GroupNorm, "gn")], ids=["layer", "group"])
def test_epsilon_of_norms(norm, key, scale):
    stored = vit_loading.arrays("layers")
    images = stored[f"{key}_in_{scale}"]
    params = {name: stored[f"norm_{name}"][: images.shape[-1]] for name in ("scale", "bias")}
    np.testing.assert_allclose(norm().apply({"params": params}, images), stored[f"{key}_out_{scale}"], 0, 2e-6)


@pytest.mark.parametrize("scale", ["1.0", "1e-05"])
def test_epsilon_of_weight_standardization(scale):
    stored = vit_loading.arrays("layers")
    kernel = stored[f"stdconv_kernel_{scale}"]
    np.testing.assert_allclose(resnet.standardize(kernel), stored[f"stdconv_weight_{scale}"], 0, 2e-6)
    maps = resnet.StdConv(features=6, kernel_size=3, stride=2).apply(
        {"params": {"kernel": kernel}}, stored["stdconv_in"]
    )
    np.testing.assert_allclose(maps, stored[f"stdconv_out_{scale}"], 0, 2e-5)


# Parameter trees and initial values


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_tree(name):
    model = for_config(vit_loading.architecture(name), vit_loading.config(name))
    actual = shapes_of(model, (1, 224, 224, 3))["params"]
    assert actual == vit_loading.shapes(name)
    assert sum(np.prod(shape) for shape in actual.values()) == vit_loading.parameter_count(name)


@pytest.mark.parametrize(
    ("name", "num_classes", "image_size", "representation_size"),
    [
        ("ViT-B_32", 21843, 224, 768),
        ("ViT-Ti_16", 1000, 384, None),
        ("R26+ViT-S_32", 37, 384, None),
        ("Mixer-B_32", 0, 256, None),
    ],
)
def test_parameter_tree_of_another_size(name, num_classes, image_size, representation_size):
    config = vit_loading.config(name) | {"num_classes": num_classes, "representation_size": representation_size}
    model = for_config(vit_loading.architecture(name), config)
    actual = shapes_of(model, (1, image_size, image_size, 3))["params"]
    assert actual == vit_loading.shapes(name, num_classes, image_size, representation_size)


def test_sizes_of_published_files():
    for file in vit_loading.facts("manifest")["files"]:
        shapes = vit_loading.shapes(file["config"], file["head_classes"], file["image_size"], file["pre_logits"])
        assert sum(np.prod(shape) for shape in shapes.values()) == file["param_count"], file["uri"]


INITIALIZED = {
    "vit": (VisionTransformer(50, 16, 192, 1, 3, 768, representation_size=128), 64),
    "hybrid": (VisionTransformer(50, 1, 64, 1, 2, 96, "gap", resnet_num_layers=(1,)), 32),
    "mixer": (MlpMixer(50, 8, 128, 1, 64, 256), 64),
}


@pytest.mark.parametrize("name", INITIALIZED)
def test_initial_values(name):
    model, side = INITIALIZED[name]
    params, stored = initial_params(model, (1, side, side, 3)), vit_loading.facts("init_stats")[name]
    assert params.keys() == stored.keys()
    for path, moments in stored.items():
        value, deviation = params[path], moments["std"]
        assert list(value.shape) == moments["shape"], path
        # Five standard errors; where the deviation is zero, the value is exact.
        assert value.mean() == pytest.approx(moments["mean"], rel=0, abs=5 * deviation * (2 / value.size) ** 0.5), path
        assert value.std() == pytest.approx(deviation, rel=5 / value.size**0.5, abs=0), path
        if path.endswith("kernel"):  # uniform, or normal and truncated: both have sharp bounds
            assert np.abs(value).max() == pytest.approx(max(-moments["min"], moments["max"]), rel=0.01), path


def test_initial_bias_of_the_head():
    model = dataclasses.replace(TINY_VIT, num_layers=None, classifier="gap", head_bias_init=-10.0)
    params = initial_params(model, (1, 8, 8, 3))
    assert (params["head/bias"] == -10).all()


# Behavior of the modules


@pytest.mark.parametrize("name", ["vit_token_rep", "mixer"])
def test_without_classes_the_input_of_the_head_is_returned(name):
    case = vit_loading.case(name)
    params = {path: value for path, value in case.params.items() if not path.startswith("head/")}
    features, _ = predict(dataclasses.replace(case, config=case.config | {"num_classes": 0}, params=params))
    logits = features @ case.params["head/kernel"] + case.params["head/bias"]
    np.testing.assert_allclose(logits, case.expected["logits"], 0, 5e-6)


def test_encoder_without_position_embedding():
    case = vit_loading.case("vit_token")
    encoder = vit.Encoder(num_layers=2, num_heads=3, mlp_dim=40, add_position_embedding=False)
    params = synthetic.nest_dict(case.params)["Transformer"]
    del params["posembed_input"]
    tokens = case.intermediates["Transformer/posembed_input"]
    assert shapes_of(encoder, tokens.shape)["params"].keys() == flatten_dict(params, sep="/").keys()
    actual = jax.jit(encoder.apply, compiler_options=QUICK_COMPILATION)({"params": params}, tokens)
    np.testing.assert_allclose(actual, case.intermediates["Transformer"], 0, 5e-6)


@functools.cache
def drop(**rates):
    """Outputs of all modules in training, for four equal images and constant parameters."""
    model = dataclasses.replace(TINY_VIT, hidden_size=64, mlp_dim=64, **rates)
    images = np.repeat(synthetic.images(0, (1, 16, 16, 3)), 4, axis=0)
    params = synthetic.nest_dict(synthetic.tree(shapes_of(model, images.shape)["params"]))

    def outputs(key):
        rngs = {"dropout": key}
        _, state = model.apply({"params": params}, images, True, rngs=rngs, capture_intermediates=True)
        return by_name(state["intermediates"])

    return jax.jit(outputs, compiler_options=QUICK_COMPILATION)(jax.random.key(0))


def test_places_of_dropout():
    zeros = {path: np.mean(value == 0) for path, value in drop(dropout_rate=0.25).items()}
    layer = "Transformer/encoderblock_0"
    places = ["Transformer/Dropout_0", f"{layer}/Dropout_0", f"{layer}/MlpBlock_0/Dropout_0"]
    places += [f"{layer}/MlpBlock_0/Dropout_1", f"{layer}/MlpBlock_0"]  # the latter ends with the former
    # Where three dropped values are added up, the sum is zero once in 64 times.
    dropped = {path: share for path, share in zeros.items() if share > 0.1}
    assert dropped == {f"{place}/__call__": pytest.approx(0.25, abs=0.03) for place in places}


def test_attention_dropout_differs_between_images():
    outputs = drop(attention_dropout_rate=0.5)
    before = outputs["Transformer/encoderblock_0/LayerNorm_0/__call__"]
    after = outputs["Transformer/encoderblock_0/MultiHeadDotProductAttention_0/__call__"]
    np.testing.assert_array_equal(before[1:], before[:-1])
    assert (np.abs(after[1:] - after[:-1]).max((1, 2)) > 0.1).all()


def test_dropout_only_in_training():
    model = dataclasses.replace(TINY_VIT, dropout_rate=0.3, attention_dropout_rate=0.3)
    images = jnp.zeros((2, 8, 8, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    with pytest.raises(InvalidRngError):
        jax.eval_shape(functools.partial(model.apply, train=True), variables, images)
    assert jax.eval_shape(model.apply, variables, images).shape == (2, 5)  # without a random key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classifier": "map"}, "must be one of token, gap, unpooled, token_unpooled, but is 'map'"),
        ({"num_layers": None}, "without a transformer must be one of gap, unpooled, but is 'token'"),
        ({"num_heads": 3}, "8 channels do not divide into 3 heads"),
        ({"resnet_num_layers": (), "resnet_width_factor": 0.25}, "32.*16"),
    ],
)
def test_impossible_configuration(changes, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(dataclasses.replace(TINY_VIT, **changes), (1, 32, 32, 3))


def test_for_config_accepts_lists():
    model = for_config("VisionTransformer", {"patch_size": [3, 5], "resnet_num_layers": [1, 2], "image_size": 224})
    assert model == VisionTransformer(patch_size=(3, 5), resnet_num_layers=(1, 2))
