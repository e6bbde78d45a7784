"""Keras and Flax agree on random small configurations: outputs, and gradients of every parameter."""

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keras_nest import MlpMixer, NesT, ResNet, VisionTransformer, ViTFlaxNesT, conversion
from keras_nest.conversion import flax_reference
from keras_nest.conversion.tree import flatten, unflatten
from tests import keras_models
from tests.conversion.test_flax_reference import QUICK_COMPILATION

pytestmark = pytest.mark.slow
PROPERTY = settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LAYERS = st.sampled_from([(1,), (2,), (1, 1), (2, 1), (1, 1, 1), (1, 1, 2)])  # of a hierarchy, by level
ACTIVATIONS = st.sampled_from(["gelu_tanh", "gelu"])


@st.composite
def nest_configurations(draw):
    layers = draw(LAYERS)
    heads = draw(st.sampled_from([1, 2, 3]))
    norm_type = draw(st.sampled_from(["LN", "LN", "BN", "GN"]))
    scale = draw(st.sampled_from([None, 2]))
    width = 32 if norm_type == "GN" else 4 * draw(st.integers(1, 3))
    patch = draw(st.integers(1, 3))
    blocks = draw(st.sampled_from([(2, 2), (3, 3), (1, 2), (3, 2)]))
    return {
        "num_classes": draw(st.integers(1, 5)),
        "image_size": tuple(side * patch * 2 ** (len(layers) - 1) for side in blocks),
        "embedding_dim": width * heads,
        "num_heads": heads,
        "num_layers_per_block": layers,
        "init_patch_embed_size": patch,
        "scale_hidden_dims": scale,
        "attn_type": draw(st.sampled_from(["local_multi_head", "local_multi_query"])),
        "norm_type": norm_type,
        "mlp_ratio": draw(st.sampled_from([1, 2.5, 4])),
        "qkv_bias": draw(st.booleans()),
        "in_channels": draw(st.sampled_from([1, 3])),
        "activation": draw(ACTIVATIONS),
    }


@st.composite
def vit_flax_configurations(draw):
    layers = draw(LAYERS)
    patch = draw(st.integers(1, 2))
    block = draw(st.sampled_from([(2, 2), (3, 3), (1, 2), (3, 2)]))
    return {
        "image_size": tuple(side * patch * 2 ** (len(layers) - 1) for side in block),
        "patch_size": patch,
        "dim": draw(st.sampled_from([5, 8])),
        "heads": draw(st.sampled_from([1, 2])),
        "num_hierarchies": len(layers),
        "block_repeats": layers,
        "mlp_mult": draw(st.sampled_from([1, 3])),
        "num_classes": 3,
    }


def _random_tree(model, rng):
    """Weights far from their initial values, so that every parameter matters."""
    tree = {}
    for path, value in conversion.model_tree(model).items():
        noise = rng.standard_normal(value.shape).astype(np.float32)
        if path.endswith(("scale", "/g")):
            tree[path] = 1 + 0.1 * noise
        elif path.endswith("var"):
            tree[path] = 1 + 0.1 * np.abs(noise)
        elif path.endswith("kernel"):
            tree[path] = noise / np.sqrt(np.prod(value.shape[:-1])).astype(np.float32)
        else:
            tree[path] = 0.2 * noise
    return tree


@st.composite
def vit_configurations(draw):
    heads = draw(st.sampled_from([1, 2, 3]))
    patch = draw(st.sampled_from([1, 2, (1, 3)]))
    resnet = draw(st.sampled_from([None, None, (), (1,), (1, 2)]))
    sides = st.integers(8, 17) if resnet is not None else st.integers(3, 7)
    layers = draw(st.sampled_from([None, 0, 1, 2]))
    classifiers = ["gap", "unpooled"] if layers is None else ["token", "gap", "unpooled", "token_unpooled"]
    return {
        "num_classes": draw(st.integers(0, 5)),
        "image_size": (draw(sides), draw(sides)),
        "in_channels": draw(st.sampled_from([1, 3])),
        "patch_size": 1 if resnet is not None else patch,
        "hidden_size": 4 * draw(st.integers(1, 3)) * heads,
        "num_layers": layers,
        "num_heads": heads,
        "mlp_dim": draw(st.integers(1, 9)),
        "classifier": draw(st.sampled_from(classifiers)),
        "representation_size": draw(st.sampled_from([None, 6])),
        "resnet_num_layers": resnet,
        "resnet_width_factor": draw(st.sampled_from([0.5, 1])),
        "activation": draw(ACTIVATIONS),
        "resnet_variant": draw(st.sampled_from(["jax", "timm"])),
    }


@st.composite
def mixer_configurations(draw):
    return {
        "num_classes": draw(st.integers(0, 5)),
        "image_size": (draw(st.integers(2, 9)), draw(st.integers(2, 9))),
        "in_channels": draw(st.sampled_from([1, 3])),
        "patch_size": draw(st.sampled_from([2, 3, (2, 4)])),
        "hidden_dim": draw(st.integers(6, 12)),  # a norm over two channels is mostly rounding
        "num_blocks": draw(st.integers(1, 2)),
        "tokens_mlp_dim": draw(st.integers(1, 6)),
        "channels_mlp_dim": draw(st.integers(1, 6)),
        "activation": draw(ACTIVATIONS),
    }


@st.composite
def resnet_configurations(draw):
    sides = st.integers(5, 13)
    return {
        "num_classes": draw(st.integers(0, 5)),
        "image_size": (draw(sides), draw(sides)),
        "in_channels": draw(st.sampled_from([1, 3])),
        "stage_sizes": tuple(draw(st.lists(st.integers(1, 2), min_size=1, max_size=2))),
        "width_factor": draw(st.sampled_from([1 / 32, 1 / 16, 3 / 64])),
        "bottleneck": draw(st.booleans()),
        "small_input": draw(st.booleans()),
    }


def _compare(architecture, config, seed):
    rng = np.random.default_rng(seed)
    model = architecture(**config)
    tree = _random_tree(model, rng)
    conversion.load_weights(model, tree)
    images = rng.standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    labels = np.eye(model.output_shape[-1], dtype=np.float32)[rng.integers(0, model.output_shape[-1], 2)]
    module = flax_reference.for_config(architecture.__name__, model.config)
    variables = unflatten(tree)

    def loss(params, images):
        logits = module.apply({**variables, "params": params}, images)
        one_hot = labels.reshape(2, *(1,) * (logits.ndim - 2), -1)
        return -(one_hot * jax.nn.log_softmax(logits)).sum(-1).mean(), logits

    with keras_models.exact_matmuls():
        compiled = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK_COMPILATION)
        (theirs_loss, logits), theirs = compiled(variables["params"], images)
    ours_loss, ours = keras_models.loss_and_gradients(model, images, labels)
    scale = max(1.0, float(np.abs(logits).max()))
    assert keras_models.gap(np.asarray(model(images)), np.asarray(logits)) <= 2e-5 * scale
    assert ours_loss == pytest.approx(float(theirs_loss), abs=2e-5 * scale)
    flat = dict(flatten(theirs))
    assert set(flat) == set(ours)
    largest = max(float(np.abs(value).max()) for value in flat.values())
    for path, value in flat.items():
        # Gradients that are zero in exact arithmetic are noise of the size of the others' rounding.
        tolerance = max(1e-4 * float(np.abs(value).max()), 2e-6 * max(1.0, largest))
        assert keras_models.gap(ours[path], np.asarray(value)) <= tolerance, path


@PROPERTY
@given(nest_configurations(), st.integers(0, 2**31))
def test_nest(config, seed):
    _compare(NesT, config, seed)


@PROPERTY
@given(vit_flax_configurations(), st.integers(0, 2**31))
def test_vit_flax_nest(config, seed):
    _compare(ViTFlaxNesT, config, seed)


@PROPERTY
@given(vit_configurations(), st.integers(0, 2**31))
def test_vision_transformer(config, seed):
    _compare(VisionTransformer, config, seed)


@PROPERTY
@given(mixer_configurations(), st.integers(0, 2**31))
def test_mlp_mixer(config, seed):
    _compare(MlpMixer, config, seed)


@settings(PROPERTY, max_examples=2)  # the stored outputs tell more; these are other sizes
@given(resnet_configurations(), st.integers(0, 2**31))
def test_resnet(config, seed):
    _compare(ResNet, config, seed)
