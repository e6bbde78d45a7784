"""ViT's encoder: attention, layers, where dropout acts, what it tells of its inside."""

import keras
import numpy as np
import pytest
from keras import initializers

from keras_nest import VisionTransformer
from keras_nest.layers import DenseGeneral, Encoder, Encoder1DBlock, MlpBlock, MultiHeadDotProductAttention
from keras_nest.layers.encoder import gelu
from keras_nest.layers.normalization import norm
from tests.golden import vit_loading

LAYERS = vit_loading.arrays("layers")
BATCH, TOKENS, CHANNELS, HEADS, MLP = 4, 7, 12, 3, 20
SHAPE = (BATCH, TOKENS, CHANNELS)
FIELDS = {"num_layers": 2, "num_heads": HEADS, "mlp_dim": MLP}


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal(SHAPE, np.float32)


def with_random_weights(layer, shape=SHAPE):
    layer.build(shape)
    rng = np.random.default_rng(1)
    for weight in layer.trainable_weights:
        weight.assign(0.5 * rng.standard_normal(weight.shape, np.float32))
    return layer


@pytest.mark.parametrize("scale", ["1.0", "0.01", "0.001", "0.0001"])
def test_layer_norm(scale):
    """At 1e-4 epsilon is a hundred times the variance."""
    x = LAYERS[f"ln_in_{scale}"]
    layer = norm("LN")
    layer.build(x.shape)
    layer.set_weights([LAYERS["norm_scale"][: x.shape[-1]], LAYERS["norm_bias"][: x.shape[-1]]])
    np.testing.assert_allclose(layer(x), LAYERS[f"ln_out_{scale}"], atol=1e-6)


def test_gelu_is_the_tanh_approximation():
    np.testing.assert_allclose(gelu(LAYERS["gelu_in"]), LAYERS["gelu_out"], atol=1e-6)


class TestAttention:
    @pytest.fixture
    def attention(self):
        layer = MultiHeadDotProductAttention(2, name="attention")
        layer.build(LAYERS["mhdpa_in"].shape)
        for weight in layer.weights:
            weight.assign(LAYERS[f"mhdpa_param:{weight.path.removeprefix('attention/')}"])
        return layer

    def test_equals_the_reference(self, attention):
        y = attention(LAYERS["mhdpa_in"])
        np.testing.assert_allclose(y, LAYERS["mhdpa_out"], atol=2e-6)
        assert len(attention.weights) == sum(key.startswith("mhdpa_param:") for key in LAYERS)

    def test_scores_are_the_probabilities(self, attention):
        x = LAYERS["mhdpa_in"]
        y, scores = attention(x, return_attention_scores=True)
        np.testing.assert_array_equal(y, attention(x))
        query, key = (np.einsum("bnc,chd->bhnd", x, part.kernel) for part in (attention.query, attention.key))
        query, key = query + attention.query.bias[:, None], key + attention.key.bias[:, None]
        logits = np.einsum("bhnd,bhmd->bhnm", query, key) / np.sqrt(5)
        expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        np.testing.assert_allclose(scores, expected, atol=1e-6)

    def test_every_sample_head_query_and_key_is_dropped_for_itself(self):
        """That dropout sees the probabilities in this shape, `TestDropoutSites` shows."""
        dropout = with_random_weights(MultiHeadDotProductAttention(HEADS, dropout=0.5)).probabilities_dropout
        zeros = np.asarray(dropout(np.ones((BATCH, HEADS, TOKENS, TOKENS), np.float32), training=True)) == 0
        assert zeros.mean() == pytest.approx(0.5, abs=0.11)  # five deviations
        assert all(zeros.any(axis).mean() > zeros.mean() for axis in range(4))  # no mask serves a whole axis

    def test_scores_are_those_before_dropout(self, x):
        layer = with_random_weights(MultiHeadDotProductAttention(HEADS, dropout=0.5))
        y, scores = layer(x, training=True, return_attention_scores=True)
        np.testing.assert_allclose(np.sum(scores, -1), 1, atol=1e-6)
        assert np.abs(y - layer(x)).max() > 0.1

    def test_survives_serialization(self):
        layer = MultiHeadDotProductAttention(3, dropout=0.25, name="MultiHeadDotProductAttention_0")
        copy = keras.layers.deserialize(keras.layers.serialize(layer))
        assert type(copy) is MultiHeadDotProductAttention
        assert copy.get_config() == layer.get_config()
        assert (copy.num_heads, copy.dropout) == (3, 0.25)


class TestBlock:
    def test_is_two_residual_branches_on_normalized_input(self, x):
        layer = with_random_weights(Encoder1DBlock(HEADS, MLP))
        y, parts = layer(x)
        assert list(parts) == ["LayerNorm_0", "MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"]
        middle = x + parts["MultiHeadDotProductAttention_0"]
        np.testing.assert_allclose(parts["LayerNorm_0"], layer.norms[0](x), atol=1e-5)
        np.testing.assert_allclose(
            parts["MultiHeadDotProductAttention_0"], layer.attention(parts["LayerNorm_0"]), atol=1e-5
        )
        np.testing.assert_allclose(parts["LayerNorm_1"], layer.norms[1](middle), atol=1e-5)
        np.testing.assert_allclose(parts["MlpBlock_0"], layer.mlp(parts["LayerNorm_1"]), atol=1e-5)
        np.testing.assert_allclose(y, middle + parts["MlpBlock_0"], atol=1e-5)
        assert layer.mlp.dense[0].units == MLP

    def test_survives_serialization(self):
        fields = {"num_heads": 3, "mlp_dim": 20, "dropout_rate": 0.1, "attention_dropout_rate": 0.2}
        layer = Encoder1DBlock(**fields, name="encoderblock_3", dtype="mixed_bfloat16")
        copy = keras.layers.deserialize(keras.layers.serialize(layer))
        assert copy.get_config() == layer.get_config()
        assert {field: copy.get_config()[field] for field in fields} == fields


class TestEncoder:
    def test_order(self, x):
        layer = with_random_weights(Encoder(**FIELDS, grid=(2, 3), class_token=True))
        y, parts = layer(x)
        embedded = x + layer.position_embedding.pos_embedding
        np.testing.assert_allclose(parts["posembed_input"], embedded, atol=1e-6)
        first, _ = layer.blocks[0](embedded)
        second, _ = layer.blocks[1](first)
        np.testing.assert_allclose(parts["encoderblock_1"], second, atol=1e-4)
        np.testing.assert_allclose(y, layer.encoder_norm(second), atol=1e-4)
        np.testing.assert_array_equal(y, parts["encoder_norm"])

    def test_text_and_features_do_without_their_ends(self, x):
        y, parts = Encoder(**FIELDS, final_norm=False)(x)
        assert "posembed_input" not in parts
        assert "encoder_norm" not in parts
        np.testing.assert_array_equal(y, parts["encoderblock_1"])

    @pytest.mark.parametrize("fields", [{"grid": (2, 3), "class_token": True}, {"final_norm": False}])
    @pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
    def test_symbolic_shapes_are_the_real_ones(self, x, dtype, fields):
        layer = Encoder(**FIELDS, **fields, dtype=dtype)
        symbolic = layer(keras.Input(SHAPE[1:], dtype=layer.compute_dtype))
        real = layer(keras.ops.cast(x, layer.compute_dtype))

        def describe(value):
            return tuple(value.shape[1:]), keras.backend.standardize_dtype(value.dtype)

        assert keras.tree.map_structure(describe, symbolic) == keras.tree.map_structure(describe, real)
        assert describe(symbolic[0]) == (SHAPE[1:], layer.compute_dtype)

    def test_mixed_precision(self, x):
        layers = [with_random_weights(Encoder(**FIELDS, dtype=dtype)) for dtype in ("float32", "mixed_bfloat16")]
        (exact, _), (y, _) = (layer(x) for layer in layers)
        assert {weight.dtype for weight in layers[1].weights} == {"float32"}
        np.testing.assert_allclose(keras.ops.cast(y, "float32"), exact, atol=0.05 * np.abs(exact).max())

    def test_survives_serialization(self, x):
        fields = FIELDS | {"grid": (2, 3), "class_token": True, "final_norm": False}
        fields |= {"dropout_rate": 0.1, "attention_dropout_rate": 0.2}
        layer = Encoder(**fields, name="Transformer")
        copy = keras.layers.deserialize(keras.layers.serialize(layer))
        assert copy.get_config() == layer.get_config()
        assert {field: copy.get_config()[field] for field in fields} == fields
        layer.build(SHAPE)
        copy.build(SHAPE)
        copy.set_weights(layer.get_weights())
        np.testing.assert_array_equal(copy(x)[0], layer(x)[0])


class TestDropoutSites:
    """Five kinds of site, told apart by rate and shape; none of them at the representation layer or the head."""

    TOKENS_SITE, HIDDEN_SITE = (0.25, (BATCH, TOKENS, CHANNELS)), (0.25, (BATCH, TOKENS, MLP))
    BLOCK = ((0.5, (BATCH, HEADS, TOKENS, TOKENS)), TOKENS_SITE, HIDDEN_SITE, TOKENS_SITE)

    @pytest.fixture
    def sites(self, monkeypatch):
        """(rate, shape) of every use of dropout, in order; nothing is dropped."""
        seen = []
        monkeypatch.setattr(
            keras.random, "dropout", lambda x, rate, seed=None: seen.append((rate, tuple(x.shape))) or x
        )
        return seen

    def run(self, training, **rates):
        sizes = {"image_size": (8, 12), "patch_size": 4, "hidden_size": CHANNELS, "representation_size": 6}
        model = VisionTransformer(num_classes=3, **sizes, **FIELDS, **rates)
        model(np.ones((BATCH, 8, 12, 3), np.float32), training=training)

    def test_in_training(self, sites):
        self.run(True, dropout_rate=0.25, attention_dropout_rate=0.5)
        assert sites == [self.TOKENS_SITE, *self.BLOCK, *self.BLOCK]

    @pytest.mark.parametrize(("field", "count"), [("dropout_rate", 7), ("attention_dropout_rate", 2)])
    def test_each_rate_has_its_own_sites(self, sites, field, count):
        self.run(True, **{field: 0.5})
        assert len(sites) == count

    @pytest.mark.parametrize("training", [False, None])
    def test_none_otherwise(self, sites, training):
        self.run(training, dropout_rate=0.5, attention_dropout_rate=0.5)
        assert sites == []


@pytest.mark.parametrize(
    "layer",
    [
        DenseGeneral((2, 3), kernel_initializer=initializers.GlorotUniform(seed=1)),
        DenseGeneral((6,), input_axes=(2, 3), kernel_initializer=initializers.RandomNormal(stddev=0.5, seed=1)),
        MlpBlock(5, 0.1, initializers.LecunNormal(seed=1), initializers.RandomNormal(stddev=1e-6, seed=1)),
    ],
)
def test_initializers_survive_serialization(layer):
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert copy.get_config() == layer.get_config()
    layer.build((None, 6))
    copy.build((None, 6))
    for ours, theirs in zip(copy.get_weights(), layer.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("layer", [DenseGeneral((2, 3)), MlpBlock(5)])
def test_initializers_of_nest_are_the_default(layer):
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert copy.get_config() == layer.get_config()
    assert isinstance(copy.kernel_initializer, initializers.TruncatedNormal)
    assert copy.kernel_initializer.stddev == 0.02


def test_dense_general_with_input_axes_equals_einsum():
    x = np.random.default_rng(0).standard_normal((2, 5, 6), np.float32)
    layer = with_random_weights(DenseGeneral((4,), input_axes=(2, 3)), x.shape)
    assert [tuple(weight.shape) for weight in layer.weights] == [(2, 3, 4), (4,)]
    expected = np.einsum("bnhd,hdc->bnc", x.reshape(2, 5, 2, 3), layer.kernel) + layer.bias
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)
    assert layer.compute_output_shape(x.shape) == (2, 5, 4)
