"""NesT against the outputs of the reference implementation, and as a Keras model."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import conversion
from keras_nest.layers import stochastic_depth
from tests import keras_models
from tests.golden import loading

SMALL_FIELDS = {"image_size": 32, "init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1, 2)}


@pytest.fixture
def small_case():
    return loading.case("small_mh_scale2")


@pytest.fixture(scope="module")
def small_model():
    """One that no test may change."""
    return keras_nest.create_model("nest_tiny", num_classes=5, **SMALL_FIELDS)


@functools.cache
def loaded(name):
    """The model of a small case with its weights, which no test may change."""
    return keras_models.load(loading.case(name))


@pytest.mark.parametrize("name", loading.SMALL)
class TestSmallConfigurations:
    def test_outputs(self, name):
        case, model = loading.case(name), loaded(name)
        assert model.count_params() - sum(v.size for v in case.batch_stats.values()) == loading.parameter_count(name)
        assert keras_models.agrees(model, case, keras_models.SMALL_LOGITS, keras_models.SMALL_LEVELS), (
            keras_models.differences(model, case)
        )

    def test_named_intermediates(self, name):
        case = loading.case(name)
        ours = keras_models.endpoints(loaded(name), case.images)
        stored = loading.below(case.expected, "out")
        final_norm = {"LN": "LayerNorm_0", "BN": "BatchNorm_0", "GN": "GroupNorm_0"}[case.config["norm_type"]]
        stored[final_norm] = stored.pop("final_norm")
        assert len(stored) >= 10
        for path, value in stored.items():
            assert keras_models.gap(ours[path], value) <= keras_models.SMALL_LEVELS, path

    def test_gradients(self, name):
        case = loading.case(name)
        loss, gradients = keras_models.loss_and_gradients(loaded(name), case.images, case.expected["labels"])
        assert loss == pytest.approx(float(case.expected["loss"]), abs=1e-5)
        assert_gradients(case, gradients, loading.below(case.expected, "grad"))


def assert_gradients(case, ours, stored, train=False):
    assert set(ours) == set(stored)
    for path, value in stored.items():
        zero = loading.zero_gradient(case, path, train)
        np.testing.assert_allclose(ours[path][zero], 0, atol=2e-6, err_msg=path)
        if not zero.all():
            tolerance = 1e-4 * np.abs(value[~zero]).max()
            np.testing.assert_allclose(ours[path][~zero], value[~zero], atol=tolerance, rtol=0, err_msg=path)


def test_batch_norm_in_training():
    case = loading.case("small_mh_bn")
    model = keras_models.load(case)
    loss, gradients = keras_models.loss_and_gradients(model, case.images, case.expected["labels"], training=True)
    assert loss == pytest.approx(float(case.expected["train_loss"]), abs=1e-5)
    assert_gradients(case, gradients, loading.below(case.expected, "train_grad"), train=True)
    updated = conversion.model_tree(model)
    for path, value in loading.below(case.expected, "train_new_batch_stats").items():
        np.testing.assert_allclose(updated[f"batch_stats/{path}"], value, atol=1e-6, err_msg=path)


def test_epsilon_probe():
    case = loading.case("epsilon_probe")
    model = keras_models.load(case)
    assert keras_models.differences(model, case)["logits"] <= 1e-5  # epsilon 1e-5 moves these logits by 0.4


def test_recorded_drop_path_masks(monkeypatch):
    case = loading.case("drop_path")
    masks = iter(case.expected["masks"])

    def recorded(shape, keep_probability, seed):
        return tf.constant(next(masks).reshape(-1, 1, 1, 1).astype(bool))

    monkeypatch.setattr(stochastic_depth, "draw_keep_mask", recorded)
    logits = keras_models.load(case)(case.images, training=True)
    assert keras_models.gap(np.asarray(logits), case.expected["logits"]) <= keras_models.SMALL_LOGITS
    assert next(masks, None) is None  # all were drawn, in this order


@pytest.mark.slow
def test_published_variant_at_another_size():
    """Those at their own size: tests/models/test_published_models.py."""
    case = loading.case(loading.AT_384[0])
    model = keras_nest.create_model("nest_tiny", image_size=384)
    conversion.load_weights(model, keras_models.tree(case))
    assert model.count_params() == loading.parameter_count(case.name)
    assert keras_models.agrees(model, case, keras_models.LOGITS, keras_models.LEVELS), keras_models.differences(
        model, case
    )


@pytest.mark.parametrize("name", loading.VARIANTS)
def test_configuration_is_the_published_one(name):
    _, _, fields = keras_nest.registry.resolve(name)
    published = loading.config(name)
    side = fields["image_size"] // fields["init_patch_embed_size"] // 2 ** (len(fields["num_layers_per_block"]) - 1)
    assert side == published.pop("patch_size")
    defaults = {"norm_type": "LN", "mlp_ratio": 4, "qkv_bias": True, "attn_drop": 0.0, "proj_drop": 0.0}
    published = {k: tuple(v) if isinstance(v, list) else v for k, v in published.items()}
    for field, value in published.items():
        assert {**defaults, **fields}[field] == value, field


@pytest.mark.parametrize("name", ["nest_tiny_s16_32", pytest.param("nest_tiny_s196_224", marks=pytest.mark.slow)])
def test_initial_values_and_rates(name):
    keras.utils.set_random_seed(0)
    model = keras_nest.create_model(name)
    tree = conversion.model_tree(model)
    for pattern, stored in loading.facts("init_statistics")["variants"][name].items():
        parts = pattern.replace("_*", "").split("/")
        values = [v.ravel() for path, v in tree.items() if _without_counts(path) == parts]
        values = np.concatenate(values)
        assert values.size == stored["count"], pattern
        # The mean and deviation of n draws scatter by 1/sqrt(n); five deviations leave room for no mistake.
        noise = 5 * max(stored["std"], 1e-9) / np.sqrt(values.size)
        assert abs(values.mean() - stored["mean"]) <= 2 * noise, pattern
        assert abs(values.std() - stored["std"]) <= 2 * noise, pattern
        assert np.abs(values).max() <= max(stored["abs_max"], 0.04) + 1e-7 or stored["std"] == 0, pattern
    # Those of drop path rise linearly.
    stored = loading.facts("manifest")["variants"][name]["drop_path_rate_per_layer"]
    rates = [model.get_layer(f"EncoderNDBlock_{i}").stochastic_depth for i in range(len(stored))]
    np.testing.assert_allclose(rates, stored, atol=1e-12)


def _without_counts(path):
    names = path.removeprefix("params/").split("/")
    return [name.rstrip("0123456789").rstrip("_") if name[-1].isdigit() else name for name in names]


class TestFeatures:
    def test_pyramid(self, small_case):
        model = keras_models.load(small_case, features_only=True)
        pyramid = model(small_case.images)
        assert list(pyramid) == ["P1", "P2", "P3"]
        for level, value in enumerate(pyramid.values()):
            assert keras_models.gap(value.numpy(), small_case.expected[f"level{level}"]) <= keras_models.SMALL_LEVELS

    def test_published_pyramids(self):
        thin = {"embedding_dim": 24, "num_layers_per_block": (1, 1, 1), "features_only": True}
        model = keras_nest.create_model("nest_tiny", **thin)
        shapes = {name: tuple(x.shape[1:]) for name, x in model.output.items()}
        assert shapes == {"P2": (56, 56, 24), "P3": (28, 28, 48), "P4": (14, 14, 96)}
        assert list(keras_nest.create_model("nest_tiny_s16_32", **thin).output) == ["P0", "P1", "P2"]

    def test_odd_strides_have_plain_names(self):
        model = keras_nest.create_model(
            "nest_tiny", features_only=True, **{**SMALL_FIELDS, "image_size": 48, "init_patch_embed_size": 3}
        )
        assert list(model.output) == ["level_1", "level_2", "level_3"]

    def test_embedding_without_head(self, small_case):
        model = keras_models.load(small_case, num_classes=0)
        assert keras_models.gap(model(small_case.images).numpy(), small_case.expected["pooled"]) <= 1e-5

    def test_endpoints_have_common_names(self, small_model):
        common = {"stem", "level_1", "level_2", "level_3", "features", "pre_logits", "logits"}
        assert common <= set(small_model.endpoints)
        features = small_model.endpoints["features"]
        assert tuple(features.shape[1:]) == (4, 4, 48)
        pooled = keras.Model(small_model.input, [features, small_model.endpoints["pre_logits"]])
        maps, vector = pooled(np.random.default_rng(0).random((2, 32, 32, 3), np.float32))
        np.testing.assert_allclose(maps.numpy().mean((1, 2)), vector, atol=1e-6)


class TestImageSizes:
    def test_larger_images_grow_the_blocks(self, small_model):
        larger = keras_nest.create_model("nest_tiny", **{**SMALL_FIELDS, "image_size": 64})
        paths = [
            conversion.model_tree(m)["params/PositionEmbedding_0/pos_embedding"].shape for m in (small_model, larger)
        ]
        assert paths == [(1, 16, 16, 12), (1, 16, 64, 12)]

    def test_rectangular_images(self):
        model = keras_nest.create_model("nest_tiny", num_classes=3, **{**SMALL_FIELDS, "image_size": (32, 48)})
        assert model(np.zeros((1, 32, 48, 3), np.float32)).shape == (1, 3)
        assert tuple(model.endpoints["level_2"].shape[1:3]) == (8, 12)

    def test_patch_size_sets_the_image_size(self):
        fields = {k: v for k, v in SMALL_FIELDS.items() if k != "image_size"}
        assert keras_nest.create_model("nest_tiny", patch_size=6, **fields).image_size == (48, 48)

    def test_other_channels(self):
        model = keras_nest.create_model("nest_tiny", in_channels=1, **SMALL_FIELDS)
        assert model.input_shape == (None, 32, 32, 1)

    @pytest.mark.parametrize(
        ("size", "words"),
        [(230, ["230 x 230", "224 x 224", "240 x 240"]), ((224, 250), ["224 x 240", "224 x 256"]), (7, ["16 x 16"])],
    )
    def test_refused_sizes_name_the_nearest(self, size, words):
        with pytest.raises(ValueError, match="does not fit") as error:
            keras_nest.create_model("nest_tiny", image_size=size)
        assert all(word in str(error.value) for word in words)

    def test_contradicting_sizes(self):
        with pytest.raises(ValueError, match="disagree"):
            keras_nest.create_model("nest_tiny", image_size=224, patch_size=7)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("attn_type", "global", "local_multi_head"),
        ("norm_type", "XN", "'LN'"),
        ("num_heads", 5, "not a multiple of num_heads 5"),
        ("stochastic_depth_drop", 1.0, r"\[0, 1\)"),
        ("num_layers_per_block", (), "num_layers_per_block"),
        ("num_classes", -1, "num_classes"),
        ("image_size", "big", "image_size"),
    ],
)
def test_bad_fields(field, value, words):
    with pytest.raises(ValueError, match=words):
        keras_nest.create_model("nest_tiny", **{**SMALL_FIELDS, field: value})


class TestKerasModel:
    @pytest.mark.slow
    def test_fits(self):
        fields = {**SMALL_FIELDS, "image_size": 16, "num_layers_per_block": (1, 1)}
        model = keras_nest.create_model("nest_tiny", num_classes=5, **fields)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
        images = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
        losses = model.fit(images, np.arange(8) % 5, epochs=4, verbose=0).history["loss"]
        assert losses[-1] < losses[0]

    @pytest.mark.parametrize("drop", ["attn_drop", "proj_drop"])
    def test_each_dropout_acts_in_training_only(self, drop):
        images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
        fields = {**SMALL_FIELDS, "image_size": 16, "num_layers_per_block": (1, 1), "stochastic_depth_drop": 0.0}
        model = keras_nest.create_model("nest_tiny", num_classes=0, **{**fields, drop: 0.5})
        np.testing.assert_array_equal(model(images), model(images))
        assert keras_models.gap(model(images, training=True).numpy(), model(images).numpy()) > 1e-4
