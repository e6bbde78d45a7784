"""The Flax reference modules against the outputs of the original implementations."""

import ast
import dataclasses
import functools
import sys
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from flax.traverse_util import flatten_dict

from keras_nest.conversion.flax_reference import NesT, ViTFlaxNesT, for_config, nest
from tests.golden import loading, synthetic
from tests.golden.loading import Case

pytestmark = pytest.mark.slow
# The Keras models reproduce all stored outputs, also those of full size, and agree with these modules at random sizes
# (tests/models): few need to be compared here.
SMALL = ["small_mq_scale2", "small_mh_bn", loading.VIT_FLAX[0]]
ALL_SHAPES = ["small_mh_scale2_nobias", "small_mq_nobias_mlp2", "nest_tiny_s16_32", "vit_flax_readme"]
FINAL_NORM = {"LN": "LayerNorm_0", "BN": "BatchNorm_0", "GN": "GroupNorm_0"}
ZERO_GRADIENT_NOISE = 1e-6
# Small programs run once: optimizing them takes most of the time, and the newer fusions most of the rest.
QUICK_COMPILATION = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


@pytest.fixture(scope="module", autouse=True)
def exact_arithmetic():
    with jax.default_device(jax.local_devices(backend="cpu")[0]), jax.default_matmul_precision("highest"):
        yield


def variables(case: Case) -> dict:
    collections = {"params": synthetic.nest_dict(case.params)}
    if case.batch_stats:
        collections["batch_stats"] = synthetic.nest_dict(case.batch_stats)
    return collections


def by_name(intermediates: dict) -> dict[str, jax.Array]:
    """Captured values: 'level_1', 'pre_logits', and outputs of modules as 'EncoderNDBlock_0/LayerNorm_1/__call__'."""
    return {name: value[0] for name, value in flatten_dict(intermediates, sep="/").items()}


def predict(case: Case, train: bool = False) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits and intermediates."""
    model = for_config(case.architecture, case.config)
    rngs = {"dropout": jax.random.key(0)} if train else {}

    def apply(collections, images):
        return model.apply(collections, images, train, rngs=rngs, capture_intermediates=True, mutable=["intermediates"])

    logits, state = jax.jit(apply, compiler_options=QUICK_COMPILATION)(variables(case), case.images)
    return logits, by_name(state["intermediates"])


@dataclasses.dataclass(frozen=True)
class Evaluation:
    loss: jax.Array
    logits: jax.Array
    intermediates: dict[str, jax.Array]
    gradients: dict[str, jax.Array]
    batch_stats: dict[str, jax.Array]


@functools.cache
def evaluate(name: str, train: bool = False) -> Evaluation:
    """All that the files of small models hold; the loss is the mean cross-entropy on the stored labels."""
    case = loading.case(name)
    model = for_config(case.architecture, case.config)
    collections = variables(case)
    params = collections.pop("params")
    new = ["intermediates", "batch_stats"] if train else ["intermediates"]

    def loss(params):
        logits, state = model.apply(
            {"params": params, **collections}, case.images, train, capture_intermediates=True, mutable=new
        )
        log_probabilities = jax.nn.log_softmax(logits)[jnp.arange(len(logits)), case.expected["labels"]]
        return -log_probabilities.mean(), (logits, state)

    compiled = jax.jit(jax.value_and_grad(loss, has_aux=True), compiler_options=QUICK_COMPILATION)
    (value, (logits, state)), gradients = compiled(params)
    batch_stats = flatten_dict(state.get("batch_stats", {}), sep="/")
    return Evaluation(value, logits, by_name(state["intermediates"]), flatten_dict(gradients, sep="/"), batch_stats)


def assert_level_maps(case: Case, intermediates: dict[str, jax.Array], atol: float) -> None:
    for level in range(case.levels):
        np.testing.assert_allclose(intermediates[f"level_{level + 1}"], case.expected[f"level{level}"], 0, atol)


def assert_gradients(case: Case, gradients: dict[str, jax.Array], stored: loading.Flat, train: bool) -> None:
    assert gradients.keys() == stored.keys()
    for path, expected in stored.items():
        is_zero = loading.zero_gradient(case, path, train)
        actual = np.asarray(gradients[path])
        atol = np.where(is_zero, ZERO_GRADIENT_NOISE, 1e-4 * np.abs(expected).max())
        difference = np.abs(actual - expected)
        assert (difference <= atol).all(), f"{path}: off by {difference.max():.2g}"
        assert (np.abs(actual[is_zero]) <= ZERO_GRADIENT_NOISE).all(), path


def shapes_of(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, dict[str, tuple[int, ...]]]:
    """{collection: {path: shape}} of a freshly initialized model, without computing anything."""
    collections = jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct(image_shape, jnp.float32))
    return {
        name: {path: leaf.shape for path, leaf in flatten_dict(tree, sep="/").items()}
        for name, tree in collections.items()
    }


# What the reference computed


@pytest.mark.parametrize("name", SMALL)
def test_small_model_outputs(name):
    case, actual = loading.case(name), evaluate(name)
    np.testing.assert_allclose(actual.loss, case.expected["loss"], 0, 2e-5)
    np.testing.assert_allclose(actual.logits, case.expected["logits"], 0, 2e-5)
    np.testing.assert_allclose(actual.intermediates["pre_logits"], case.expected["pooled"], 0, 2e-5)
    assert_level_maps(case, actual.intermediates, 2e-5)

    outputs = loading.below(case.expected, "out")
    assert outputs
    for module, expected in outputs.items():
        if module == "final_norm":
            module = FINAL_NORM[case.config["norm_type"]]
        np.testing.assert_allclose(actual.intermediates[f"{module}/__call__"], expected, 0, 2e-5, err_msg=module)


@pytest.mark.parametrize("name", SMALL)
def test_small_model_gradients(name):
    case = loading.case(name)
    assert_gradients(case, evaluate(name).gradients, loading.below(case.expected, "grad"), train=False)


def test_batch_norm_in_training():
    case, actual = loading.case("small_mh_bn"), evaluate("small_mh_bn", train=True)
    np.testing.assert_allclose(actual.loss, case.expected["train_loss"], 0, 2e-5)
    np.testing.assert_allclose(actual.logits, case.expected["train_logits"], 0, 2e-5)
    assert_gradients(case, actual.gradients, loading.below(case.expected, "train_grad"), train=True)

    stored = loading.below(case.expected, "train_new_batch_stats")
    assert actual.batch_stats.keys() == stored.keys()
    for path, expected in stored.items():
        np.testing.assert_allclose(actual.batch_stats[path], expected, 0, 2e-5, err_msg=path)


def test_drop_path_with_recorded_masks(monkeypatch):
    case = loading.case("drop_path")
    recorded = iter(zip(case.expected["masks"], case.expected["mask_rates"], strict=True))

    def replay(key, keep, batch):
        mask, rate = next(recorded)
        assert (batch, 1, 1, 1) == tuple(case.expected["mask_shape"])
        assert keep == pytest.approx(1 - rate)
        return jnp.array(mask, bool).reshape(batch, 1, 1, 1)

    monkeypatch.setattr(nest, "draw_keep_mask", replay)
    logits, intermediates = predict(case, train=True)
    assert next(recorded, None) is None
    np.testing.assert_allclose(logits, case.expected["logits"], 0, 2e-5)
    assert_level_maps(case, intermediates, 2e-5)


@pytest.mark.parametrize("name", ["epsilon_probe", "vit_flax_epsilon_probe", loading.CHECKPOINTS[0]])
def test_logits(name):
    case = loading.case(name)
    np.testing.assert_allclose(predict(case)[0], case.expected["logits"], 0, 2e-5)


# Parameter trees


@pytest.mark.parametrize("name", ALL_SHAPES)
def test_parameter_tree(name):
    image_shape = tuple(loading.arrays(name)["image_shape"])
    shapes = shapes_of(for_config(loading.architecture(name), loading.config(name)), image_shape)
    assert shapes["params"] == loading.shapes(name)
    assert sum(np.prod(shape, dtype=int) for shape in shapes["params"].values()) == loading.parameter_count(name)


@pytest.mark.parametrize("name", ["small_mh_bn", "checkpoint_bn"])
def test_batch_statistics_tree(name):
    case = loading.case(name)
    shapes = shapes_of(for_config(case.architecture, case.config), case.images.shape)
    assert shapes["batch_stats"] == {path: value.shape for path, value in case.batch_stats.items()}
    assert shapes["params"] == {path: value.shape for path, value in case.params.items()}


POSSIBLE_SIZES = {
    probe: outcome["pos_embedding_shapes"]
    for probe, outcome in loading.facts("manifest")["nest_tiny_s196_224_other_sizes"].items()
    if outcome["ok"]
}


@pytest.mark.parametrize(("probe", "expected_shapes"), POSSIBLE_SIZES.items(), ids=POSSIBLE_SIZES)
def test_position_embeddings_follow_the_image_size(probe, expected_shapes):
    side = int(probe.split()[1].rstrip(","))
    config = loading.config("nest_tiny_s196_224") | {"num_layers_per_block": [1, 1, 1]}
    params = shapes_of(for_config("NesT", config), (1, side, side, 3))["params"]
    for level, expected in enumerate(expected_shapes):
        assert params[f"PositionEmbedding_{level}/pos_embedding"] == tuple(expected)


def initial_params(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    init = jax.jit(model.init, compiler_options=QUICK_COMPILATION)
    params = init(jax.random.key(0), jnp.zeros(image_shape))["params"]
    return {path: np.asarray(value) for path, value in flatten_dict(params, sep="/").items()}


def test_initial_values():
    model = NesT(num_classes=10, embedding_dim=48, num_layers_per_block=(1, 1), scale_hidden_dims=2)
    params = initial_params(model, (1, 32, 32, 3))
    drawn = {path: value for path, value in params.items() if path.endswith(("kernel", "pos_embedding"))}
    everything = np.concatenate([value.ravel() for value in drawn.values()])
    assert everything.std() == pytest.approx(0.0176, abs=1e-4)
    for path, value in drawn.items():
        assert np.abs(value).max() <= 0.04, path
        assert value.std() == pytest.approx(0.0176, rel=0.1), path
    for path in params.keys() - drawn.keys():
        assert (params[path] == (1 if path.endswith("scale") else 0)).all(), path


def test_vit_flax_initial_values():
    model = ViTFlaxNesT(32, 4, 48, 3, 2, 1, num_classes=10)
    params = initial_params(model, (1, 32, 32, 3))
    for path, value in params.items():
        if path.endswith("kernel"):
            fan_in = np.prod(value.shape[:-1])
            assert value.std() * np.sqrt(fan_in) == pytest.approx(1, rel=0.1), path
        else:
            assert (value == (1 if path.endswith("/g") else 0)).all(), path


# Behavior of the modules


def test_blocks_are_row_major_and_reversible():
    maps = np.arange(2 * 8 * 12 * 3, dtype=np.float32).reshape(2, 8, 12, 3)
    blocks = nest.to_blocks(jnp.array(maps), 2)
    quarters = [maps[:, :4, :6], maps[:, :4, 6:], maps[:, 4:, :6], maps[:, 4:, 6:]]
    for index, quarter in enumerate(quarters):
        np.testing.assert_array_equal(blocks[:, index], quarter.reshape(2, -1, 3))
    np.testing.assert_array_equal(nest.from_blocks(blocks, (4, 6)), maps)


@pytest.mark.parametrize("attn_type", ["local_multi_head", "local_multi_query"])
def test_rectangular_image(attn_type):
    model = NesT(num_classes=5, embedding_dim=12, num_layers_per_block=(1, 1), attn_type=attn_type)
    init = functools.partial(model.init_with_output, mutable=["params", "intermediates"])
    logits, state = jax.eval_shape(init, jax.random.key(0), jax.ShapeDtypeStruct((2, 16, 32, 3), jnp.float32))
    assert logits.shape == (2, 5)
    assert state["params"]["PositionEmbedding_0"]["pos_embedding"].shape == (1, 4, 8, 12)
    assert state["intermediates"]["level_1"][0].shape == (2, 4, 8, 12)
    assert state["intermediates"]["level_2"][0].shape == (2, 2, 4, 12)


@pytest.mark.parametrize("name", ["small_mh_scale2", "vit_flax_tiny"])
def test_without_classes_the_pooled_vector_is_returned(name):
    case = loading.case(name)
    without_head = {path: value for path, value in case.params.items() if not path.startswith("Dense_0/")}
    config = case.config | {"num_classes": 0}
    vector, _ = predict(dataclasses.replace(case, config=config, params=without_head))
    np.testing.assert_allclose(vector, case.expected["pooled"], 0, 2e-5)


@pytest.mark.parametrize(
    "model",
    [
        NesT(5, 6, 3, (2,), attn_drop=0.3),
        NesT(5, 6, 3, (2,), proj_drop=0.3),
        NesT(5, 6, 3, (2,), stochastic_depth_drop=0.3),
        ViTFlaxNesT(8, 4, 6, 3, 1, 1, dropout=0.3, num_classes=5),
    ],
    ids=["attn_drop", "proj_drop", "stochastic_depth_drop", "vit_flax"],
)
def test_dropout_only_in_training(model):
    images = synthetic.images(0, (4, 8, 8, 3))
    params = synthetic.nest_dict(synthetic.tree(shapes_of(model, images.shape)["params"]))

    def apply(train, **rngs):
        return model.apply({"params": params}, images, train, rngs=rngs)

    training = jax.jit(lambda key: apply(True, dropout=key), compiler_options=QUICK_COMPILATION)
    assert np.abs(training(jax.random.key(0)) - training(jax.random.key(1))).max() > 1e-3
    with pytest.raises(InvalidRngError):
        jax.eval_shape(lambda: apply(True))
    assert jax.eval_shape(lambda: apply(False)).shape == (4, 5)  # without a random key


def test_keep_mask_is_drawn_per_sample():
    mask = nest.draw_keep_mask(jax.random.key(0), 0.75, 4000)
    assert mask.shape == (4000, 1, 1, 1)
    assert mask.mean() == pytest.approx(0.75, abs=0.03)


def test_vit_flax_accepts_smaller_images_only():
    case = loading.case("vit_flax_tiny")
    model = for_config(case.architecture, case.config)
    apply = functools.partial(jax.eval_shape, model.apply, variables(case))
    assert apply(case.images[:, :16, :16]).shape == (2, 5)
    with pytest.raises(ValueError, match="at most 32, but is 64x64"):
        apply(np.zeros((1, 64, 64, 3), np.float32))
    with pytest.raises(ValueError, match="multiple of 8"):
        apply(np.zeros((1, 20, 20, 3), np.float32))


def test_vit_flax_heads_need_not_divide_channels():
    model = for_config("ViTFlaxNesT", loading.config("vit_flax_tiny") | {"dim": 8})
    shapes = shapes_of(model, (1, 32, 32, 3))["params"]
    assert shapes["Transformer_0/Attention_0/Conv_0/kernel"] == (1, 1, 8, 18)
    assert shapes["Transformer_0/Attention_0/Conv_1/kernel"] == (1, 1, 6, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init_patch_embed_size": 3}, "multiple of 12, but is 32x32"),
        ({"num_heads": 5}, "12 channels do not divide into 5 heads"),
        ({"norm_type": "RMS"}, "must be LN, BN or GN, but is 'RMS'"),
    ],
)
def test_impossible_configuration(changes, message):
    model = for_config("NesT", loading.config("small_mh") | changes)
    with pytest.raises(ValueError, match=message):
        shapes_of(model, (1, 32, 32, 3))


def test_for_config_takes_the_fields_it_knows():
    model = for_config("NesT", {"num_layers_per_block": [1, 2], "num_heads": 2, "patch_size": 4, "name": "other"})
    assert model == NesT(num_layers_per_block=(1, 2), num_heads=2)


def test_for_config_names_known_architectures():
    with pytest.raises(ValueError, match=r"'ViT' is unknown; known are .*NesT, .*ViTFlaxNesT"):
        for_config("ViT", {})


def imported_modules(source: str) -> set[str]:
    nodes = list(ast.walk(ast.parse(source)))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom)}


def test_depends_on_nothing_that_it_is_compared_with():
    allowed = {*sys.stdlib_module_names, "flax", "jax", "numpy"}
    for path in Path(nest.__file__).parent.glob("*.py"):
        for module in imported_modules(path.read_text(encoding="utf-8")):
            ours = module.startswith("keras_nest.conversion.flax_reference.")
            assert module.split(".")[0] in allowed or ours, (path.name, module)
