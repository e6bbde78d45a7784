"""Recipes: the reference's whole chains for its keys, what each stage is given, and that stages can be exchanged."""

import dataclasses
import functools

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import DatasetInfo, randaugment
from keras_nest.data.crops import pad_and_crop, random_flip
from keras_nest.data.recipes import RECIPES, Recipe, as_uint8, create_recipe, crop_resized
from keras_nest.data.sources.base import Example
from keras_nest.models.base import STRETCHED_PREPROCESSING
from tests.golden import augment_loading

CIFAR = DatasetInfo("cifar10", tuple("0123456789"), (32, 32, 3), 50000, 10000)
IMAGENET = DatasetInfo("imagenet2012", ("a", "b", "c"), (None, None, 3), 3, 3)
VIT_FACTS = augment_loading.facts()["vit"]


def example(content, label=0, orientation=1):
    return Example(*map(tf.convert_to_tensor, (content, label, orientation)))


@pytest.fixture(scope="module")
def png():
    return example(augment_loading.array("png/c32_bytes").tobytes())


@pytest.fixture(scope="module")
def jpeg():
    return example(augment_loading.array("jpeg/bytes").tobytes())


@pytest.fixture
def positive(monkeypatch):
    """The original's signs do not repeat; its stored results have positive ones."""
    monkeypatch.setattr(randaugment, "_sign", lambda key: tf.constant(1.0))


class TestReference:
    @pytest.mark.usefixtures("positive")
    @pytest.mark.parametrize("number", range(8))
    def test_training_on_cifar(self, png, number):
        image = create_recipe("nest", CIFAR, 32).train_image(png, tf.constant([number, 9]), (32, 32))
        expected = augment_loading.array(f"train/cifar10_full_signplus/{number}")
        difference = np.abs(image - expected)
        # Sharpness may be one level off in 2.1 % of the values, and a level is up to .0165.
        assert np.mean(difference > 2e-6) <= 0.021
        assert difference.max() <= 0.0166

    @pytest.mark.parametrize("number", range(4))
    def test_crop_and_flip_of_imagenet(self, jpeg, number):
        """The reference's key is one of the four that a recipe splits its key into."""
        recipe = Recipe(STRETCHED_PREPROCESSING, crop=crop_resized, flip=random_flip)
        fact = augment_loading.facts()["train/imagenet_basic"][str(number)]
        crop_key, flip_key = tf.constant(fact["rng_crop"]), tf.constant(fact["rng_flip"])
        found = recipe.flip(recipe.crop(jpeg, crop_key, (32, 32)), flip_key)
        np.testing.assert_array_equal(found, augment_loading.array(f"train/imagenet_basic/{number}/size32"))

    @pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
    def test_evaluation_on_cifar(self, png, dataset):
        info = dataclasses.replace(CIFAR, name=dataset)
        image = create_recipe("nest", info, 32).test_image(png, (32, 32))
        np.testing.assert_allclose(image, augment_loading.array(f"eval/{dataset}/c32/norm"), atol=2e-6)

    def test_evaluation_on_enlarged_cifar(self, png):
        image = create_recipe("nest", CIFAR, 64).test_image(png, (64, 64))
        np.testing.assert_allclose(image, augment_loading.array("eval/cifar10_at64/c32/norm"), atol=2e-6)

    @pytest.mark.parametrize("image", ["a64", "b97x133"])
    def test_evaluation_on_imagenet(self, image):
        pixels = augment_loading.array(f"img/{image}")
        found = create_recipe("nest", IMAGENET, 32).test_image(example(pixels), (32, 32))
        np.testing.assert_allclose(found, augment_loading.array(f"eval/imagenet/{image}/size32/norm"), atol=2e-5)

    @pytest.mark.parametrize("name", VIT_FACTS)
    def test_training_of_vit(self, name, monkeypatch):
        """The reference's box and flip are given, as its draws have no key."""
        fact = VIT_FACTS[name]
        box = tf.constant([fact[side] for side in ("top", "left", "h", "w")])
        monkeypatch.setattr("keras_nest.data.crops.random_box", lambda *args: box)
        mirror = tf.image.flip_left_right if fact["flip"] else tf.identity
        recipe = create_recipe("vit", IMAGENET, 48)
        recipe = dataclasses.replace(recipe, flip=lambda image, key: mirror(image))
        image = recipe.train_image(
            example(augment_loading.array(f"img/{fact['image']}")), tf.constant([0, 0]), (48, 48)
        )
        np.testing.assert_allclose(image, augment_loading.array(name), atol=2e-5)

    @pytest.mark.parametrize("image", ["a64", "b97x133"])
    def test_evaluation_of_vit(self, image):
        pixels = augment_loading.array(f"img/{image}")
        found = create_recipe("vit", IMAGENET, 32).test_image(example(pixels), (32, 32))
        np.testing.assert_allclose(found, augment_loading.array(f"vit/eval/{image}/size32"), atol=2e-5)


class TestStages:
    """Each recipe does what it names, checked by taking one stage away."""

    def test_what_the_recipes_are_made_of(self):
        stages = ("crop", "shift", "flip", "randaugment", "color_jitter", "erasing", "mix")

        def used(name, info, size):
            recipe = create_recipe(name, info, size)
            return [stage for stage in stages if getattr(recipe, stage) is not None]

        everything = ["crop", "flip", "randaugment", "color_jitter", "erasing", "mix"]
        assert used("nest", IMAGENET, 224) == used("nest_imagenet", CIFAR, 224) == everything
        assert used("nest", CIFAR, 32) == ["shift", "flip", "randaugment", "erasing", "mix"]
        assert used("nest", CIFAR, 64) == ["crop", "flip", "randaugment", "erasing", "mix"]
        assert used("vit", CIFAR, 384) == used("mixer", IMAGENET, 224) == ["crop", "flip"]
        assert used("shift", CIFAR, 32) == ["shift"]
        assert used("plain", CIFAR, 32) == []

    def test_translations_grow_with_the_image(self):
        assert create_recipe("nest", CIFAR, 32).randaugment.image_size == 32
        assert create_recipe("nest", IMAGENET, (384, 384)).randaugment.image_size == 384

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "spec"),
        [
            ("nest_imagenet", tf.TensorSpec([], tf.string)),
            ("nest_cifar", tf.TensorSpec([32, 32, 3], tf.uint8)),
            ("shift", tf.TensorSpec([32, 32, 3], tf.uint8)),
            ("vit", tf.TensorSpec([], tf.string)),
        ],
    )
    def test_the_key_decides_and_the_shape_is_static(self, name, spec, png):
        recipe = create_recipe(name, IMAGENET, (32, 48))
        graph = tf.function(lambda content, key: recipe.train_image(example(content), key, (32, 48)))
        traced = graph.get_concrete_function(spec, tf.TensorSpec([2], tf.int64))
        assert traced.structured_outputs.shape == (32, 48, 3)
        assert traced.structured_outputs.dtype == tf.float32
        content = png.content if spec.dtype == tf.string else tf.io.decode_png(png.content)
        images = [graph(content, tf.constant([number, 1], tf.int64)).numpy() for number in range(6)]
        assert len({image.tobytes() for image in images}) >= 5
        np.testing.assert_array_equal(graph(content, tf.constant([3, 1], tf.int64)), images[3])

    def test_plain_training_is_evaluation(self, jpeg):
        recipe = create_recipe("plain", IMAGENET, 32)
        image = recipe.train_image(jpeg, tf.constant([3, 1]), (32, 32))
        np.testing.assert_allclose(image, recipe.test_image(jpeg, (32, 32)), atol=1e-6)

    def test_images_of_the_right_size_are_taken_whole(self):
        digits = DatasetInfo("digits", tuple("0123456789"), (32, 32, 3), 1, 1)
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
        whole = create_recipe("plain", digits, 32)
        np.testing.assert_allclose(whole.test_image(example(pixels), (32, 32)), whole.normalize(pixels), atol=1e-6)
        assert create_recipe("plain", digits, 48).preprocessing["crop_ratio"] == 224 / 256

    def test_a_stage_can_be_exchanged(self, png):
        recipe = create_recipe("nest", CIFAR, 32)
        black = dataclasses.replace(recipe, randaugment=lambda image, key: tf.zeros_like(image), erasing=None)
        image = black.train_image(png, tf.constant([3, 1]), (32, 32))
        np.testing.assert_allclose(
            image, tf.broadcast_to(recipe.normalize(tf.zeros([1, 1, 3])), [32, 32, 3]), atol=1e-6
        )

    def test_shift_moves_by_up_to_its_pixels(self):
        dot = np.zeros((32, 32, 3), np.uint8)
        dot[16, 16] = 255
        recipe = create_recipe("shift", CIFAR, 32)
        places = [
            np.argwhere(recipe.pixels(example(dot), tf.constant([number, 0]), (32, 32)).numpy()[..., 0])[0] - 16
            for number in range(80)
        ]
        assert np.min(places) == -4
        assert np.max(places) == 4

    def test_cutting_to_levels_keeps_all_of_them(self):
        levels = tf.range(256)[:, None, None] * tf.ones([1, 1, 3], tf.int32)
        np.testing.assert_array_equal(as_uint8(tf.cast(levels, tf.float32) / 255.0), levels)


class TestFinish:
    """Images that traveled as uint8."""

    @pytest.fixture(scope="class")
    @staticmethod
    def batch():
        images = tf.random.stateless_uniform([40, 32, 32, 3], [1, 2], 0, 256, tf.int32)
        keys = tf.stack([tf.fill([40], tf.constant(5, tf.int64)), tf.range(40, dtype=tf.int64)], 1)
        return tf.cast(images, tf.uint8), tf.range(40) % 10, keys

    def test_without_randomness_it_normalizes(self, batch):
        recipe = create_recipe("plain", CIFAR, 32)
        images, labels = recipe.finish(*batch, classes=10)
        np.testing.assert_array_equal(images, recipe.normalize(batch[0]))
        np.testing.assert_array_equal(labels, batch[1])

    def test_erases_and_mixes(self, batch):
        recipe = create_recipe("nest", CIFAR, 32)
        erased, labels = dataclasses.replace(recipe, mix=None).finish(*batch, classes=10)
        changed = np.any(erased != recipe.normalize(batch[0]), axis=(1, 2, 3))
        # 40 draws with probability .25: deviation 2.7.
        assert 2 <= changed.sum() <= 19
        np.testing.assert_array_equal(labels, batch[1])
        _, mixed = recipe.finish(*batch, classes=10)
        assert mixed.shape == (40, 10)
        np.testing.assert_allclose(tf.reduce_sum(mixed, 1), 1, atol=1e-6)
        assert np.sum(np.asarray(mixed) > 0.1, axis=1).max() == 2

    @pytest.mark.slow
    @pytest.mark.parametrize("compiled", [False, True])
    def test_compiles_and_repeats(self, batch, compiled):
        recipe = create_recipe("nest", CIFAR, 32)
        step = tf.function(functools.partial(recipe.finish, classes=10), jit_compile=compiled)
        for first, again in zip(step(*batch), step(*batch), strict=True):
            np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize(
    ("name", "size"), [*((name, (1, 1)) for name in RECIPES), ("nest_imagenet", (1, 7)), ("nest_imagenet", (7, 1))]
)
def test_smallest_images(name, size):
    pixels = np.full((*size, 3), 200, np.uint8)
    recipe = create_recipe(name, IMAGENET, 32)
    contents = pixels, tf.io.encode_png(pixels), tf.io.encode_jpeg(pixels)
    for content in contents:
        trained = recipe.train_image(example(content), tf.constant([1, 2]), (32, 32))
        tested = recipe.test_image(example(content), (32, 32))
        assert np.all(np.isfinite(trained))
        np.testing.assert_allclose(tested, recipe.normalize(tf.fill([32, 32, 3], 200 / 255)), atol=2e-2)


def test_unknown_recipe():
    with pytest.raises(ValueError, match=r"^There is no recipe 'nets'; did you mean nest\?$"):
        create_recipe("nets", CIFAR, 32)
    with pytest.raises(ValueError, match=r"^There is no recipe 'augreg'; known are nest, nest_imagenet, "):
        create_recipe("augreg", CIFAR, 32)


def test_pad_and_crop_keeps_the_size_of_any_image():
    graph = tf.function(lambda image: pad_and_crop(image, tf.constant([1, 2]), pad=3))
    assert graph(tf.ones([5, 9, 3])).shape == (5, 9, 3)


def test_what_a_step_finishes_alike():
    """Where images are levels and nothing is drawn behind them, a step on one device computes the same bits."""
    nest = create_recipe("nest", IMAGENET, 16)
    alike = dataclasses.replace(nest, erasing=None, mix=None)
    assert alike.finishes_alike
    assert not any(
        recipe.finishes_alike
        for recipe in (nest, dataclasses.replace(nest, mix=None), create_recipe("vit", IMAGENET, 16))
    )
    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    key = tf.constant([1, 2], tf.int64)
    levels = as_uint8(alike.pixels(example(image), key, (16, 16)))
    finished, _ = alike.finish(levels[None], tf.constant([0]), key[None], 10)
    np.testing.assert_array_equal(finished[0], alike.train_image(example(image), key, (16, 16)))
