"""NesT as an image decoder: shapes, samples from a seed, and who sees whom inside a level."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.generative.generator import VARIANTS, create_generator
from keras_nest.layers.block_deaggregation import BlockDeaggregation, TokensToImages, pixel_shuffle
from keras_nest.layers.image_blocks import block_images, unblock_images

# Three levels of blocks of 2 x 2 tokens on images of 16 pixels.
SMALL = {
    "image_size": 16,
    "latent_dim": 6,
    "embedding_dims": (16, 12, 8),
    "num_heads": (2, 2, 2),
    "num_layers_per_block": (1, 2, 1),
    "patch_size": 2,
}


@pytest.fixture(scope="module")
def generator():
    keras.utils.set_random_seed(0)
    return keras_nest.NesTGenerator(num_classes=3, **SMALL)


def test_pixel_shuffle_is_depth_to_space():
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 18)).astype(np.float32)
    np.testing.assert_array_equal(pixel_shuffle(x, 3), tf.nn.depth_to_space(x, 3))


def test_blocks_come_apart_in_their_place():
    """With a 1x1 kernel a block becomes the four where it was: the whole map says the same as the block alone."""
    layer = BlockDeaggregation(3, (2, 3), (4, 2), kernel_size=1)
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 5)).astype(np.float32)
    y = layer(x)
    assert y.shape == layer.compute_output_shape(x.shape) == (2, 24, 8, 3)
    wide = unblock_images(y, (4, 6), (4, 2))
    alone = BlockDeaggregation(3, (1, 1), (4, 2), kernel_size=1)
    alone.build((None, 1, 8, 5))
    alone.set_weights(layer.get_weights())
    expected = unblock_images(alone(x[:, 4:5]), (2, 2), (4, 2))  # the second row of blocks, its second
    np.testing.assert_allclose(wide[:, 8:16, 4:8], expected, atol=1e-6)


def test_a_kernel_of_three_lets_blocks_see_their_neighbors():
    reach = {}
    for size in (1, 3):
        layer = BlockDeaggregation(3, (2, 2), (2, 2), kernel_size=size)
        x = np.random.default_rng(0).standard_normal((1, 4, 4, 5)).astype(np.float32)
        moved = x.copy()
        moved[:, 0, :, 0] += 1
        changed = np.abs(layer(x) - layer(moved)).max(axis=(0, 2, 3)) > 0
        reach[size] = {tuple(place) for place in np.argwhere(changed.reshape(4, 4))}
    assert reach[1] == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert reach[1] < reach[3]


def test_tokens_become_the_pixels_of_their_place():
    layer = TokensToImages(3, (2, 2), (2, 1), patch_size=2)
    x = np.random.default_rng(0).standard_normal((2, 4, 2, 5)).astype(np.float32)
    images = layer(x)
    assert images.shape == layer(keras.KerasTensor(x.shape)).shape == (2, 8, 4, 3)
    dense = np.tanh(x @ layer.dense.kernel.numpy() + layer.dense.bias.numpy())
    # The third block is the lower left one; its second token is two rows of pixels further down.
    np.testing.assert_allclose(images[:, 6:8, 0:2], dense[:, 2, 1].reshape(2, 2, 2, 3), atol=1e-6)


class TestShapes:
    def test_images_and_levels(self, generator):
        assert generator.input_shape == [(None, 6), (None,)]
        assert generator.output_shape == (None, 16, 16, 3)
        levels = {name: x.shape[1:] for name, x in generator.endpoints.items() if name.startswith("level_")}
        assert levels == {"level_1": (1, 4, 16), "level_2": (4, 4, 12), "level_3": (16, 4, 8)}

    def test_without_classes_and_not_square(self):
        model = keras_nest.NesTGenerator(**{**SMALL, "image_size": (16, 32)}, out_channels=1)
        assert model.input_shape == (None, 6)
        assert model(np.zeros((2, 6), np.float32)).shape == (2, 16, 32, 1)

    def test_one_position_embedding_a_level(self, generator):
        shapes = [v.shape for v in generator.trainable_variables if v.path.endswith("pos_embedding")]
        assert shapes == [(1, 1, 4, 16), (1, 4, 4, 12), (1, 16, 4, 8)]

    @pytest.mark.parametrize(("name", "side"), [("nest_generator_64", 64), ("nest_generator_small_32", 32)])
    def test_variants(self, name, side):
        narrow = {"embedding_dims": (8,) * len(VARIANTS[name].get("embedding_dims", (8,) * 4)), "mlp_ratio": 1}
        model = create_generator(name, **narrow, num_heads=(1,) * len(narrow["embedding_dims"]))
        assert model.output_shape == (None, side, side, 3)

    def test_mixed_precision_ends_in_float32(self):
        model = keras_nest.NesTGenerator(**SMALL, dtype="mixed_bfloat16")
        assert model.get_layer("EncoderNDBlock_0").compute_dtype == "bfloat16"
        assert model.output.dtype == "float32"


@pytest.mark.slow
def test_the_default_has_the_parameters_that_the_docstring_tells():
    assert round(keras_nest.NesTGenerator().count_params(), -6) == 83_000_000


class TestSample:
    def test_the_same_seed_gives_the_same_images(self, generator):
        images = generator.sample(5, seed=3)
        assert (images.shape, images.dtype) == ((5, 16, 16, 3), np.float32)
        assert np.abs(images).max() < 1
        np.testing.assert_array_equal(generator.sample(5, seed=3), images)
        assert np.abs(generator.sample(5, seed=4) - images).max() > 0

    def test_more_images_begin_with_the_same(self, generator):
        np.testing.assert_allclose(generator.sample(70, seed=3)[:5], generator.sample(5, seed=3), atol=1e-6)

    def test_a_copy_of_the_weights_samples_the_same(self, generator):
        copy = keras_nest.NesTGenerator.from_config(generator.get_config())
        copy.set_weights(generator.get_weights())
        np.testing.assert_array_equal(copy.sample(2, seed=1), generator.sample(2, seed=1))

    def test_classes(self, generator):
        in_turns = generator.sample(4, seed=0)
        np.testing.assert_array_equal(generator.sample(4, seed=0, class_index=[0, 1, 2, 0]), in_turns)
        only = generator.sample(4, seed=0, class_index=1)
        np.testing.assert_allclose(only[1], in_turns[1], atol=1e-6)
        assert np.abs(only[0] - in_turns[0]).max() > 1e-4

    def test_truncation_draws_samples_together(self, generator):
        spread = [generator.sample(8, class_index=0, truncation=t).std(axis=0).mean() for t in (0, 0.5, 1)]
        assert spread[0] == pytest.approx(0, abs=1e-6)
        assert spread[0] < spread[1] < spread[2]

    def test_it_is_the_model_on_normal_noise(self, generator):
        noise = np.random.default_rng(7).standard_normal((3, 6), np.float32)
        images = generator([0.5 * noise, np.array([2, 2, 2])])
        np.testing.assert_allclose(generator.sample(3, 7, 2, truncation=0.5), images, atol=1e-6)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": 0}, "n is 0; it must be 1"),
            ({"n": 2, "class_index": 3}, "class_index is 3; it must be from 0 to 2"),
            ({"n": 2, "class_index": -1}, "from 0 to 2"),
            ({"n": 2, "class_index": [0, 1, 2]}, "a whole number, or 2 of them"),
            ({"n": 2, "class_index": 0.5}, "a whole number"),
            ({"n": 2, "truncation": 1.5}, "truncation is 1.5; it must be from 0 to 1"),
        ],
    )
    def test_what_cannot_be_sampled(self, generator, arguments, message):
        with pytest.raises(ValueError, match=message):
            generator.sample(**arguments)

    @pytest.mark.slow
    def test_a_class_of_a_model_without(self):
        model = keras_nest.NesTGenerator(**SMALL)
        assert model.sample(2).shape == (2, 16, 16, 3)
        with pytest.raises(ValueError, match="the model has no classes; leave it out"):
            model.sample(2, class_index=0)


@pytest.mark.parametrize(("level", "layers"), [(2, (1, 2)), (3, (3,))])
def test_inside_a_level_nothing_leaks_into_other_blocks(generator, level, layers):
    """A block that changes at the start of a level changes itself at its end, all of its tokens, and nothing else."""
    start = generator.endpoints[f"PositionEmbedding_{level - 1}"]
    body = keras.Model(start, generator.endpoints[f"level_{level}"])
    assert [layer.name for layer in body.layers[1:]] == [f"EncoderNDBlock_{index}" for index in layers]
    x = np.random.default_rng(0).standard_normal((2, *start.shape[1:])).astype(np.float32)
    for block in range(x.shape[1]):
        moved = x.copy()
        moved[:, block, 0, 0] += 1
        changed = np.abs(body(moved) - body(x)).max(axis=-1) > 1e-7
        assert changed[:, block].all(), "all tokens of a block see each other"
        assert not np.delete(changed, block, axis=1).any()


def test_gradients_stay_inside_their_block(generator):
    start = generator.endpoints["PositionEmbedding_1"]
    body = keras.Model(start, generator.endpoints["level_2"])
    x = tf.random.stateless_normal((1, *start.shape[1:]), (0, 1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = tf.reduce_sum(body(x)[:, 2] ** 2)
    sizes = np.abs(tape.gradient(y, x)).max(axis=(0, 2, 3))
    assert sizes[2] > 0
    assert np.delete(sizes, 2).max() == 0


def test_save_and_reload(generator, tmp_path):
    generator.save(tmp_path / "generator.keras")
    again = keras.saving.load_model(tmp_path / "generator.keras")
    assert type(again) is keras_nest.NesTGenerator
    assert again.config == generator.config
    np.testing.assert_array_equal(again.sample(3, seed=5), generator.sample(3, seed=5))


def test_all_weights_are_used(generator):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(generator([tf.ones((3, 6)), tf.range(3)]) ** 2)
    values = [v.value for v in generator.trainable_variables]
    assert None not in tape.gradient(loss, values)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 20}, "image_size 20 x 20 does not fit: both sides must be multiples of 8"),
        ({"embedding_dims": (16, 12)}, r"num_heads is \(2, 2, 2\); it must hold a positive number for each of 2"),
        ({"embedding_dims": (16, 13, 8)}, "embedding_dims 13 is not a multiple of num_heads 2"),
        ({"num_layers_per_block": (1, 0, 1)}, "num_layers_per_block is"),
        ({"latent_dim": 0}, "latent_dim is 0; it must be 1 or more"),
        ({"num_classes": -1}, "num_classes is -1"),
        ({"attn_type": "global"}, "attn_type is 'global'"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        keras_nest.NesTGenerator(**{**SMALL, **fields})


def test_unknown_variant():
    with pytest.raises(ValueError, match="There is no generator 'nest_generator_63'; did you mean nest_generator_64"):
        create_generator("nest_generator_63")


def test_blocks_cover_the_map_row_by_row():
    """The order of blocks is that of `block_images`, which levels rely on."""
    layer = BlockDeaggregation(2, (1, 1), (2, 2))
    x = np.random.default_rng(0).standard_normal((1, 1, 4, 3)).astype(np.float32)
    wide = unblock_images(layer(x), (2, 2), (2, 2))
    np.testing.assert_array_equal(block_images(wide, (2, 2)), layer(x))
