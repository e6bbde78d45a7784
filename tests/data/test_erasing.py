"""Random erasing: the reference's pixels for its keys, how much is erased how often, and wrong input."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import erasing
from keras_nest.data.erasing import erasing_mask, random_erasing
from tests.golden import augment_loading

FACTS = augment_loading.facts()["erase/a64norm"]
IMAGE = (augment_loading.array("img/a64") / np.float32(255) - np.float32(0.45)) / np.float32(0.22)
KEY = tf.constant([1, 2])


def many(image, count, **options):
    """The image under many keys, in a parallel map."""
    keys = tf.data.Dataset.range(count).map(lambda n: tf.stack([tf.constant(5, tf.int64), n]))
    drawn = keys.map(lambda key: random_erasing(image, key, **options), num_parallel_calls=8)
    return next(iter(drawn.batch(count))).numpy()


class TestReference:
    @pytest.mark.parametrize("name", FACTS)
    def test_image(self, name):
        fact, mask = FACTS[name], augment_loading.array(f"erase/a64norm/{name}/mask")
        result = random_erasing(IMAGE, tf.constant(fact["rng"]), probability=1.0).numpy()
        np.testing.assert_array_equal(result, augment_loading.array(f"erase/a64norm/{name}"))
        np.testing.assert_array_equal((result != IMAGE).any(-1), mask)

    @pytest.mark.parametrize("name", FACTS)
    def test_when_it_happens(self, name):
        fact = FACTS[name]
        for probability in (fact["u_prob"] - 1e-4, fact["u_prob"] + 1e-4):
            result = random_erasing(IMAGE, tf.constant(fact["rng"]), probability=probability)
            assert np.array_equal(result, IMAGE) == (probability < fact["u_prob"])

    @pytest.mark.parametrize("name", augment_loading.arrays("erase/mask_64x64"))
    def test_mask(self, name):
        row, column, area, aspect = (float(part.lstrip("acepsrxy")) for part in name.split("_"))
        # The names hold four decimals of these.
        area, aspect = {0.3333: 1 / 3}.get(area, area), {3.3333: 1 / 0.3}.get(aspect, aspect)
        mask = erasing_mask(64, 64, (row, column), area, aspect)
        np.testing.assert_array_equal(mask, augment_loading.array(f"erase/mask_64x64/{name}"))


class TestStatistics:
    def test_share_of_changed_images(self):
        changed = np.any(many(np.zeros((8, 8, 1), np.float32), 3000) != 0, axis=(1, 2, 3))
        # Deviation .0079; where no pixel lies inside, none changes.
        assert abs(changed.mean() - 0.247) < 4 * 0.0079

    def test_share_of_pixels(self):
        erased = many(np.zeros((64, 64, 1), np.float32), 2000, probability=1.0) != 0
        # Deviation .0735 in 2,000 draws: .0016 of the mean.
        assert abs(erased.mean() - 0.1348) < 4 * 0.0016
        sides = erased.any(axis=2).sum(1).mean(), erased.any(axis=1).sum(1).mean()
        np.testing.assert_allclose(sides, (23.86, 23.68), atol=4 * 0.24)

    def test_noise_is_standard_normal_in_every_channel(self):
        image = np.full((64, 64, 3), 99, np.float32)
        results = many(image, 60, probability=1.0)
        noise = results[results[..., 0] != 99]
        assert len(noise) > 20_000
        np.testing.assert_allclose(noise.mean(0), 0, atol=0.03)
        np.testing.assert_allclose(noise.std(0), 1, atol=0.03)
        assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.03


def test_same_key_same_bytes():
    first, again = (many(IMAGE, 30, probability=1.0) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) == 30
    one = random_erasing(IMAGE, tf.constant([5, 7], tf.int64), probability=1.0)
    np.testing.assert_array_equal(one, first[7])


def test_never():
    np.testing.assert_array_equal(many(IMAGE[:4], 40, probability=0.0), np.repeat(IMAGE[None, :4], 40, axis=0))


def test_the_rectangle_follows_the_shape_of_the_image():
    mask = erasing_mask(20, 40, (0.5, 0.5), 0.25, 1.0).numpy()
    assert (mask.any(1).sum(), mask.any(0).sum()) == (9, 19)


def test_one_pixel_and_one_channel():
    image = np.zeros((1, 1, 1), np.float32)
    assert many(image, 20, probability=1.0).shape == (20, 1, 1, 1)


def test_unknown_sizes_in_a_graph():
    graph = tf.function(random_erasing, input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([2], tf.int32)])
    fact = FACTS["5"]
    np.testing.assert_array_equal(graph(IMAGE, tf.constant(fact["rng"])), augment_loading.array("erase/a64norm/5"))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (IMAGE, {"probability": 1.5}, "probability is 1.5; it must be between 0 and 1"),
        (IMAGE, {"area_range": (0.5, 2)}, r"area_range is \(0.5, 2\)"),
        (
            IMAGE,
            {"aspect_range": (0, 2)},
            r"aspect_range is \(0, 2\); it must be \(low, high\) with 0 < low <= high\.$",
        ),
        (augment_loading.array("img/a64"), {}, "is uint8; it must be float32 and normalized"),
    ],
)
def test_wrong_input(image, options, message):
    with pytest.raises(ValueError, match=message):
        random_erasing(image, KEY, **options)


@pytest.mark.parametrize("shape", [(9, 7, 3), (8, 8, 3), (5, 3, 1)])
def test_rows_of_noise_are_those_of_the_whole(shape):
    for number in range(3):
        key = tf.constant([number, 4])
        whole = tf.random.stateless_normal(shape, key)
        for top in range(shape[0]):
            rows = erasing._rows_of_normal(key, tf.constant(top), tf.constant([shape[0] - top - 1, *shape[1:]]))
            np.testing.assert_array_equal(rows, whole[top:-1])
