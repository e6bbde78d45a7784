"""From maps to tokens and back: patches, class token, pooling, position embeddings and their resizing."""

import math

import keras
import numpy as np
import pytest

from keras_nest import MlpMixer, VisionTransformer
from keras_nest.layers import AddPositionEmbs, ClassToken, MapToTokens, PoolTokens, TokensToMap
from keras_nest.layers.tokens import CLASSIFIERS, has_class_token
from tests.golden import vit_loading

LAYERS = vit_loading.arrays("layers")
RESIZES = vit_loading.facts("posembed/posembed")["cases"]
RESIZED = vit_loading.arrays("posembed/posembed")


def position_embedding(grid, class_token, channels):
    layer = AddPositionEmbs(grid, class_token)
    layer.build((None, math.prod(grid) + class_token, channels))
    return layer


def resize(value, old, new, class_token):
    """`value` fitted to a grid as the loader does it, `old` being the grid that the layer must find for itself."""
    layer = position_embedding(new, class_token, value.shape[-1])
    scale = None if old[0] == old[1] else (old[0] / new[0], old[1] / new[1])
    assert layer.source_block(value, scale) == old
    return layer.resize(value, old)


def plane(height, width, old):
    """(1, height * width, 2): row and column of a map of size `old`, both linear."""
    y, x = np.linspace(0, old[0] - 1, height), np.linspace(0, old[1] - 1, width)
    return np.stack(np.meshgrid(y, x, indexing="ij"), -1).reshape(1, height * width, 2)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class TestPatches:
    """An image of 10 x 7 pixels, patches of 4 x 4: a remainder is cropped by ViT, and padded with zeros by Mixer."""

    @pytest.mark.parametrize(
        ("padding", "architecture", "name", "fields"),
        [
            ("valid", VisionTransformer, "embedding", {"hidden_size": 5, "num_layers": None, "classifier": "gap"}),
            ("same", MlpMixer, "stem", {"hidden_dim": 5, "num_blocks": 1}),
        ],
    )
    def test_images_that_do_not_divide(self, padding, architecture, name, fields):
        model = architecture(num_classes=0, image_size=(10, 7), patch_size=4, **fields)
        layer = model.get_layer(name)
        layer.set_weights([LAYERS["patch_kernel"], LAYERS["patch_bias"]])
        expected = LAYERS[f"patch_out_{padding}"]
        assert model.endpoints["stem"].shape[1:] == expected.shape[1:]
        np.testing.assert_allclose(layer(LAYERS["patch_in"]), expected, atol=1e-5)

    def test_tokens_are_rows_one_after_the_other(self, rng):
        maps = rng.random((2, 3, 4, 5), np.float32)
        tokens = np.asarray(MapToTokens()(maps))
        np.testing.assert_array_equal(tokens[:, 4 * 1 + 2], maps[:, 1, 2])
        assert tokens.shape == MapToTokens().compute_output_shape(maps.shape) == (2, 12, 5)

    @pytest.mark.parametrize("in_front", [0, 1])
    def test_back_to_a_map_without_class_token(self, rng, in_front):
        maps = rng.random((2, 3, 4, 5), np.float32)
        tokens = np.concatenate([np.full((2, in_front, 5), 9, np.float32), MapToTokens()(maps)], axis=1)
        layer = TokensToMap((3, 4))
        np.testing.assert_array_equal(layer(tokens), maps)
        assert layer.compute_output_shape(tokens.shape) == maps.shape


class TestClassToken:
    def test_stands_in_front(self, rng):
        x, layer = rng.random((2, 3, 4), np.float32), ClassToken(name="cls")
        layer.build(x.shape)
        assert [(weight.path, tuple(weight.shape)) for weight in layer.weights] == [("cls/cls", (1, 1, 4))]
        assert not np.any(layer.cls)
        layer.set_weights([np.full((1, 1, 4), 7)])
        y = np.asarray(layer(x))
        np.testing.assert_array_equal(y[:, 0], 7)
        np.testing.assert_array_equal(y[:, 1:], x)
        assert y.shape == layer.compute_output_shape(x.shape)
        assert tuple(layer(keras.Input((3, 4))).shape) == (None, 4, 4)

    @pytest.mark.parametrize(
        ("classifier", "present"), [("token", True), ("gap", False), ("unpooled", False), ("token_unpooled", True)]
    )
    def test_only_some_classifiers_have_one(self, classifier, present):
        assert has_class_token(classifier) == present
        sizes = {"image_size": 8, "patch_size": 4, "hidden_size": 6, "num_layers": 1, "num_heads": 2, "mlp_dim": 6}
        model = VisionTransformer(classifier=classifier, **sizes)
        assert ("cls" in {layer.name for layer in model.layers}) == present
        assert model.endpoints["Transformer/posembed_input"].shape == (None, 4 + present, 6)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_pooling(classifier, rng):
    x = rng.random((2, 5, 3), np.float32)
    expected = {"token": x[:, 0], "gap": x.mean(1), "unpooled": x, "token_unpooled": x}[classifier]
    layer = PoolTokens(classifier)
    np.testing.assert_allclose(layer(x), expected, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == expected.shape
    assert tuple(layer(keras.Input((5, 3))).shape) == (None, *expected.shape[1:])


def test_unknown_classifier():
    with pytest.raises(ValueError, match="classifier is 'map'; it must be one of 'token', 'gap', 'unpooled', 'token_"):
        VisionTransformer(classifier="map")


class TestAddPositionEmbs:
    def test_every_token_has_its_own_vector(self, rng):
        layer = position_embedding((2, 3), True, 4)
        value = rng.standard_normal((1, 7, 4), np.float32)
        layer.set_weights([value])
        x = rng.standard_normal((5, 7, 4), np.float32)
        np.testing.assert_allclose(layer(x), x + value, atol=1e-6)
        assert layer.compute_output_shape(x.shape) == x.shape

    @pytest.mark.parametrize(
        "case",
        [pytest.param(case, id=case["key"]) for case in RESIZES],
    )
    def test_resized_as_the_reference_does(self, case):
        value, expected = (RESIZED[f"{case['key']}:{end}"] for end in ("in", "out"))
        old, new = ((case[f"grid_{age}"],) * 2 for age in ("old", "new"))
        ours = resize(value, old, new, case["has_class_token"])
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, expected, atol=1e-6, rtol=0)
        if case["has_class_token"]:
            np.testing.assert_array_equal(ours[:, 0], value[:, 0])

    def test_every_stored_resize_shrinks_grows_or_stays(self):
        signs = {np.sign(case["grid_new"] - case["grid_old"]) for case in RESIZES}
        assert signs == {-1, 0, 1}
        assert min(case["grid_old"] for case in RESIZES) == min(case["grid_new"] for case in RESIZES) == 1

    @pytest.mark.parametrize("class_token", [True, False])
    @pytest.mark.parametrize(("old", "new"), [((4, 4), (4, 6)), ((2, 8), (4, 4)), ((3, 5), (5, 3)), ((1, 3), (3, 1))])
    def test_rectangles(self, old, new, class_token):
        """A plane stays a plane, corners onto corners."""
        token = np.full((1, int(class_token), 2), 9.0)
        value = np.concatenate([token, plane(*old, old)], axis=1)
        expected = np.concatenate([token, plane(*new, old)], axis=1)
        np.testing.assert_allclose(resize(value, old, new, class_token), expected, atol=1e-12)

    def test_other_numbers_are_refused(self):
        layer = position_embedding((4, 6), False, 2)
        with pytest.raises(ValueError, match="23 tokens are not a square block"):
            layer.source_block(np.zeros((1, 23, 2)))
        with pytest.raises(ValueError, match="16 tokens are not"):
            layer.source_block(np.zeros((1, 16, 2)), scale=(1, 1))


@pytest.mark.parametrize(
    "layer",
    [
        MapToTokens(name="tokens"),
        TokensToMap((3, 4), name="features"),
        ClassToken(name="cls"),
        PoolTokens("token_unpooled", name="pool"),
        AddPositionEmbs((3, 4), class_token=True, name="posembed_input"),
    ],
    ids=lambda layer: layer.name,
)
def test_survives_serialization(layer):
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert type(copy) is type(layer)
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("layer", [ClassToken, lambda **kw: AddPositionEmbs((1, 3), **kw)], ids=["cls", "posembed"])
def test_mixed_precision(layer):
    layer = layer(dtype="mixed_bfloat16")
    y = layer(np.ones((2, 3, 4), np.float32))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
