"""GradCAT against a hand-written one, and what it promises: nested boxes, batches, graphs, an unchanged model."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_nest import NesT, ResNet, VisionTransformer, ViTFlaxNesT
from keras_nest.explain import gradcat
from keras_nest.explain.tree import MARGIN, compute_margin, quadrant_means
from tests import keras_models

SIZE, CLASSES = 24, 5


def nest(depths=(1, 1, 1), **fields):
    """A NesT of 24 pixels with random weights; its blocks have 3 x 3 tokens, or with two levels 6 x 6."""
    options = {"num_classes": CLASSES, "image_size": SIZE, "embedding_dim": 8, "init_patch_embed_size": 2}
    model = NesT(**{**options, "num_heads": 2, "num_layers_per_block": depths, **fields})
    keras_models.randomize(model)
    return model


def flax_nest():
    model = ViTFlaxNesT(SIZE, 2, 8, 2, 3, 1, num_classes=CLASSES)
    keras_models.randomize(model)
    return model


@pytest.fixture(scope="module")
def model():
    return nest()


@pytest.fixture(scope="module", params=[nest, flax_nest])
def either(request):
    """A model of each kind, which no test changes."""
    return request.param()


def images(count=3, seed=0, size=SIZE):
    return np.random.default_rng(seed).standard_normal((count, size, size, 3)).astype(np.float32)


def run_levels(model, x, tape):
    """The logits of a NesT layer by layer, and the blocks that enter its levels, which the tape watches."""
    entering, layers = [], {layer.name: layer for layer in model.layers}
    depths, encoder = model.config["num_layers_per_block"], 0
    x = layers["blocks"](layers["PatchEmbedding_0"](x))
    for level, depth in enumerate(depths):
        x = layers[f"PositionEmbedding_{level}"](x)
        tape.watch(x)
        entering.append(x)
        for _ in range(depth):
            x, _ = layers[f"EncoderNDBlock_{encoder}"](x)
            encoder += 1
        if level + 1 < len(depths):
            x = layers[f"ConvPool_{level}"](layers[f"level_{level + 1}"](x))
    x = layers["features"](layers["LayerNorm_0"](x))
    return layers["Dense_0"](layers["pre_logits"](x)), entering


def by_hand(model, image, target, sign):
    """Blocks, maps and scores of the path, for one image, in loops."""
    with tf.GradientTape() as tape:
        logits, entering = run_levels(model, tf.constant(image[None]), tape)
        target = int(np.argmax(logits)) if target is None else target
        logit = logits[0, target]
    maps = [(sign * a * da).numpy()[0].sum(-1) for a, da in zip(entering, tape.gradient(logit, entering), strict=True)]
    path, row, column = [], 0, 0
    for depth, level in enumerate(reversed(maps)):
        side, length = 2**depth, int(level.shape[1] ** 0.5)
        block = level[row * side + column].reshape(length, length)
        scores = np.zeros((2, 2))
        for i, j in np.ndindex(2 * length, 2 * length):  # every token is four quarters
            scores[i // length, j // length] += block[i // 2, j // 2] / length**2
        path.append(((row, column), block, scores))
        best = np.unravel_index(scores.argmax(), (2, 2))
        row, column = 2 * row + best[0], 2 * column + best[1]
    return target, path


@pytest.mark.slow
@settings(max_examples=3, deadline=None)
@given(
    depths=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    scale=st.sampled_from([None, 2]),
    attention=st.sampled_from(["local_multi_head", "local_multi_query"]),
    target=st.sampled_from([None, 0, CLASSES - 1]),
    sign=st.sampled_from([1, -1]),
)
def test_as_by_hand(depths, scale, attention, target, sign):
    model = nest(tuple(depths), scale_hidden_dims=scale, attn_type=attention)
    (image,) = images(1)
    found = gradcat(model, image, target, sign)
    expected_target, path = by_hand(model, image, target, sign)
    assert int(found.class_index) == expected_target
    np.testing.assert_allclose(found.logits, model(image[None])[0], rtol=1e-4, atol=1e-5)
    assert len(found.levels) == len(path) == len(depths)
    for node, (block, block_map, scores) in zip(found.levels, path, strict=True):
        assert tuple(node.block.numpy()) == block
        size = np.abs(block_map).max()
        np.testing.assert_allclose(node.map, block_map, rtol=0, atol=1e-4 * size)
        np.testing.assert_allclose(node.scores, scores, rtol=0, atol=1e-4 * size)


def test_boxes_are_nested_and_cover_the_image(either):
    found = gradcat(either, images(8), np.arange(8) % CLASSES)
    np.testing.assert_array_equal(found.levels[0].box, [[0, 0, SIZE, SIZE]] * 8)
    for above, below in zip(found.levels[:-1], found.levels[1:], strict=True):
        best = np.reshape(above.scores, (-1, 4)).argmax(1)
        np.testing.assert_array_equal(below.block, 2 * above.block + np.stack([best // 2, best % 2], 1))
        y0, x0, y1, _ = np.transpose(above.box)
        half = (y1 - y0) // 2
        expected = np.stack([y0 + best // 2 * half, x0 + best % 2 * half], 1)
        np.testing.assert_array_equal(below.box, np.concatenate([expected, expected + half[:, None]], 1))
    assert len({tuple(box) for box in found.levels[-1].box.numpy()}) > 1, "else the test sees one path only"


def test_rectangles():
    model = nest((1, 1), image_size=(24, 16))
    found = gradcat(model, images(1)[0][:, :16])
    assert found.levels[0].box.numpy().tolist() == [0, 0, 24, 16]
    y0, x0, y1, x1 = found.levels[1].box.numpy()
    assert (y1 - y0, x1 - x0) == (12, 8)
    assert found.levels[1].map.shape == (6, 4)


@pytest.mark.slow
def test_batch_single_and_graph_agree():
    model, batch, classes = nest((1, 1)), images(2), np.array([4, 0])
    together = gradcat(model, batch, classes)
    in_graph = tf.function(lambda x, k: gradcat(model, x, k))(batch, classes)
    alone = [gradcat(model, image, k) for image, k in zip(batch, classes, strict=True)]
    alone = tf.nest.map_structure(lambda *values: tf.stack(values), *alone)
    for other in (in_graph, alone):
        for ours, theirs in zip(tf.nest.flatten(together), tf.nest.flatten(other), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_the_model_stays_as_it_is(model):
    batch, config = images(), model.get_config()
    before, nodes = model(batch), [len(layer._inbound_nodes) for layer in model.layers]
    weights = [variable.numpy() for variable in model.weights]
    gradcat(model, batch)
    np.testing.assert_array_equal(before, model(batch))
    assert model.get_config() == config
    assert [len(layer._inbound_nodes) for layer in model.layers] == nodes
    for variable, value in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(variable, value)


def test_the_signs_are_opposites_at_the_root(model):
    plus, minus = (gradcat(model, images(), 1, sign).levels[0] for sign in (1, -1))
    np.testing.assert_array_equal(plus.scores, -minus.scores)
    assert (np.asarray(plus.scores) != 0).all()


def test_mixed_precision():
    model = nest((1, 1), dtype="mixed_bfloat16")
    found = gradcat(model, images())
    assert {x.dtype for x in tf.nest.flatten(found)} == {tf.int32, tf.float32}


def test_quadrant_means():
    even = np.arange(16.0).reshape(1, 4, 4)
    np.testing.assert_allclose(quadrant_means(even), [[[2.5, 4.5], [10.5, 12.5]]])
    odd = np.arange(9.0).reshape(1, 3, 3)
    corner = (0 + 1 / 2 + 3 / 2 + 4 / 4) / (1 + 1 / 2 + 1 / 2 + 1 / 4)
    np.testing.assert_allclose(quadrant_means(odd)[0, 0, 0], corner)


class TestMargin:
    @pytest.mark.parametrize(
        ("scores", "expected"),
        [
            ([1, 0, 0, 0], 1),
            ([0, 0, 0, 2], 1),
            ([3, 1, 0, 0], 0.5),
            ([3, 1, -2, -2], 0.25),
            ([1, -1, 0, 0], 0.5),  # the other half speaks against the class
            ([1, 1, 0, 0], 0),
            ([0.1234, 0.1233, 0.1230, 0.1229], 0.0001 / 0.4926),
            ([1, 1, 1, 1], 0),
            ([0, 0, 0, 0], 0),
            ([-1, -2, -3, -4], 0),  # nothing speaks for it, though one quadrant does so least
            ([-0.001, -9, -9, -9], 0),
            ([0, -9, -9, -9], 0),
        ],
    )
    def test_is_the_lead_of_the_best_as_a_share_of_all(self, scores, expected):
        quadrants = np.reshape(scores, (1, 2, 2)).astype(np.float32)
        for factor in (1, 1e-12, 1e12):  # gradients have no scale of their own
            np.testing.assert_allclose(compute_margin(factor * quadrants), [expected], rtol=2e-3, atol=1e-7)

    def test_of_nan_decides_nothing(self):
        assert not (compute_margin(np.full((1, 2, 2), np.nan, np.float32)).numpy() >= MARGIN).any()

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4), st.permutations(range(4)))
    def test_is_a_share_that_does_not_depend_on_the_place(self, scores, order):
        values = np.array(scores, np.float32)
        first, second = (compute_margin(x.reshape(1, 2, 2)).numpy()[0] for x in (values, values[list(order)]))
        assert 0 <= first <= 1 + 1e-6
        assert first == pytest.approx(second, rel=1e-5)


class TestDepth:
    def test_counts_the_levels_down_to_the_first_tie(self, either):
        found = gradcat(either, images(32), np.arange(32) % CLASSES)
        margins = np.stack([node.margin for node in found.levels[:-1]], axis=1)
        expected = [1 + next((k for k, margin in enumerate(row) if margin < MARGIN), len(row)) for row in margins]
        np.testing.assert_array_equal(found.depth, expected)
        assert len(set(expected)) > 1, "else the test sees one depth only"
        for node in found.levels:
            np.testing.assert_allclose(node.margin, compute_margin(node.scores))

    @pytest.mark.parametrize("make", [nest, flax_nest])
    def test_is_one_where_no_class_has_learned_anything(self, make):
        model = make()
        head = model.get_layer("Dense_0")
        head.kernel.assign(tf.zeros_like(head.kernel))
        found = gradcat(model, images())
        np.testing.assert_array_equal(found.depth, 1)
        np.testing.assert_array_equal(found.levels[0].margin, 0)

    def test_of_a_constant_image_without_positions_is_one(self):
        """All quadrants see the same then."""
        model = nest((1, 1), init_patch_embed_size=3)
        for level in range(2):
            embedding = model.get_layer(f"PositionEmbedding_{level}").pos_embedding
            embedding.assign(tf.zeros_like(embedding))
        pool = model.get_layer("ConvPool_0")
        for variable in pool.weights:
            if variable.ndim == 4:  # else zeros around the image make a difference
                variable.assign(tf.where(np.arange(9).reshape(3, 3, 1, 1) == 4, variable, 0.0))
        found = gradcat(model, np.ones((SIZE, SIZE, 3), np.float32), 1)
        np.testing.assert_allclose(found.levels[0].scores, np.full((2, 2), found.levels[0].scores[0, 0]), rtol=1e-3)
        assert found.depth == 1

    def test_of_one_level_is_one(self):
        found = gradcat(nest((1,)), images())
        np.testing.assert_array_equal(found.depth, 1)


def test_what_is_not_finite_is_refused(model):
    broken = images()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="Images have values that are NaN or infinite"):
        gradcat(model, broken)
    damaged = nest((1, 1))
    damaged.get_layer("Dense_0").bias.assign(np.full(CLASSES, np.nan))
    with pytest.raises(ValueError, match="gives logits that are NaN or infinite; there is nothing to explain"):
        gradcat(damaged, images())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((images(size=20),), r"shape \(3, 20, 20, 3\); the model takes 24 x 24 x 3"),
        ((images()[0, 0],), r"shape \(24, 3\)"),
        ((np.zeros((1, SIZE, SIZE, 3), np.uint8),), "dtype uint8; the model takes normalized floats"),
        ((images(), CLASSES), "There is no class 5; the model's classes are 0 to 4"),
        ((images(), [0, 1, -1]), "There is no class -1"),
        ((images(), [0, 1]), "class_index holds 2 classes for 3 images"),
        ((images(), 1.5), "class_index is 1.5; it must be a whole number"),
    ],
)
def test_bad_input(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        gradcat(model, *arguments)


def test_values_far_from_normalized_ones():
    model = nest((1, 1), preprocessing={"mean": [0.5] * 3, "std": [0.25] * 3})
    with pytest.raises(ValueError, match="values from 0 to 255; normalized for this model they are between -2 and 2"):
        gradcat(model, np.linspace(0, 255, SIZE * SIZE * 3).reshape(SIZE, SIZE, 3).astype(np.float32))
    gradcat(model, np.clip(images(), -2, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: VisionTransformer(5, SIZE, patch_size=8, hidden_size=8, num_layers=1, num_heads=1, mlp_dim=8), "cam"),
        (lambda: ResNet(5, SIZE, stage_sizes=(1,), width_factor=0.125), "which a ResNet does not have"),
        (lambda: nest((1, 1), num_classes=0), "has no head"),
        (lambda: nest((1, 1), features_only=True), "has no head"),
        (lambda: nest((1, 1), init_patch_embed_size=12), "Blocks of 1 x 1 tokens have no quadrants"),
    ],
)
def test_models_that_it_is_not_for(make, message):
    with pytest.raises(ValueError, match=message):
        gradcat(make(), images())
