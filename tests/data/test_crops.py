"""Crops, flips and normalization: the reference's pixels for its keys, what is drawn how often, and mixed formats."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data.crops import (
    decode_random_crop,
    normalize,
    pad_and_crop,
    random_box,
    random_flip,
    random_resized_crop,
)
from tests.golden import augment_loading

FACTS = augment_loading.facts()
JPEG = augment_loading.array("jpeg/bytes").tobytes()
PNG = augment_loading.array("png/c32_bytes").tobytes()


def many(draw, count, seed=3):
    """What `draw` makes of many keys, in a parallel map."""
    keys = tf.data.Dataset.range(count).map(lambda n: tf.stack([tf.constant(seed, tf.int64), n]))
    drawn = keys.map(draw, num_parallel_calls=8).batch(count)
    return next(iter(drawn)).numpy()


@pytest.fixture(scope="module")
def boxes():
    return many(lambda key: random_box([375, 500, 3], key), 4000)


class TestReference:
    @pytest.mark.parametrize("name", FACTS["train/crop"])
    def test_box_and_decoding(self, name):
        fact = FACTS["train/crop"][name]
        key = tf.constant(fact["seed"])
        np.testing.assert_array_equal(random_box([150, 200, 3], key), [fact[s] for s in ("top", "left", "h", "w")])
        expected = augment_loading.array(f"train/crop/{name}/size32")
        np.testing.assert_array_equal(decode_random_crop(JPEG, key, 32), expected)
        # Decoded first, a few colors differ along edges.
        difference = np.abs(random_resized_crop(tf.image.decode_jpeg(JPEG, channels=3), key, 32) - expected)
        assert np.mean(difference > 2e-3) < 0.05

    @pytest.mark.parametrize("name", FACTS["train/imagenet_basic"])
    def test_crop_and_flip_of_imagenet(self, name):
        _, crop_key, flip_key = tf.unstack(tf.random.split(tf.constant(FACTS["train/imagenet_basic"][name]["rng"]), 3))
        image = random_flip(decode_random_crop(JPEG, crop_key, (32, 32)), flip_key)
        np.testing.assert_array_equal(image, augment_loading.array(f"train/imagenet_basic/{name}/size32"))

    @pytest.mark.parametrize("name", FACTS["train/cifar_basic"])
    def test_crop_and_flip_of_cifar(self, name):
        _, crop_key, flip_key = tf.unstack(tf.random.split(tf.constant(FACTS["train/cifar_basic"][name]["rng"]), 3))
        image = random_flip(pad_and_crop(tf.io.decode_image(PNG), crop_key), flip_key)
        expected = augment_loading.array(f"train/cifar_basic/{name}")
        assert image.dtype == tf.uint8
        np.testing.assert_array_equal(tf.cast(image, tf.float32) / 255.0, expected)

    @pytest.mark.parametrize("name", FACTS["normalisation"])
    def test_normalization(self, name):
        ramp, expected = augment_loading.array("norm/ramp"), augment_loading.array(f"norm/{name}")
        moments = FACTS["normalisation"][name]
        np.testing.assert_allclose(normalize(ramp, **moments), expected, atol=1e-6)
        floats = augment_loading.array("norm/none")
        np.testing.assert_allclose(normalize(floats, **moments), expected, atol=1e-6)


class TestRandomBox:
    def test_share_of_the_image(self, boxes):
        area = boxes[:, 2] * boxes[:, 3] / (375 * 500)
        # Deviation .222 in 4,000 draws: .0035 of the mean.
        assert abs(area.mean() - 0.3396) < 4 * 0.0035
        assert area.min() >= 0.0499
        assert area.max() <= 1

    def test_aspect_ratio(self, boxes):
        aspect = boxes[:, 3] / boxes[:, 2]
        assert abs(aspect.mean() - 1.04) < 0.012
        assert 0.74 < aspect.min() < 0.76
        assert 1.32 < aspect.max() < 1.34

    def test_smaller_boxes_miss_the_last_row_and_column(self, boxes):
        top, left, height, width = boxes.T
        assert np.all(top >= 0)
        assert np.all(left >= 0)
        assert np.all((top + height < 375) | (height == 375))
        assert np.all((left + width < 500) | (width == 500))

    def test_given_ranges(self):
        shape = [100, 100, 3]
        boxes = many(lambda key: random_box(shape, key, area_range=(0.2, 0.3), aspect_range=(0.5, 0.6)), 200)
        area, aspect = boxes[:, 2] * boxes[:, 3] / 1e4, boxes[:, 3] / boxes[:, 2]
        assert 0.19 < area.min() < area.max() < 0.31
        assert 0.48 < aspect.min() < aspect.max() < 0.62

    def test_one_pixel(self):
        np.testing.assert_array_equal(random_box([1, 1, 3], tf.constant([1, 2])), [0, 0, 1, 1])

    @pytest.mark.parametrize(
        ("ranges", "message"),
        [
            (
                {"area_range": (0.0, 1.0)},
                r"area_range is \(0.0, 1.0\); it must be \(low, high\) with 0 < low <= high <= 1",
            ),
            ({"area_range": (0.5, 1.5)}, r"area_range is \(0.5, 1.5\)"),
            ({"aspect_range": (2.0, 1.0)}, r"aspect_range is \(2.0, 1.0\); .* 0 < low <= high\.$"),
        ],
    )
    def test_impossible_ranges(self, ranges, message):
        with pytest.raises(ValueError, match=message):
            random_box([9, 9, 3], tf.constant([1, 2]), **ranges)


class TestDecodeRandomCrop:
    def test_a_png_is_cropped_as_when_decoded(self):
        image, key = augment_loading.array("img/a64"), tf.constant([4, 2])
        cropped = decode_random_crop(tf.io.encode_png(image), key, 24)
        np.testing.assert_array_equal(cropped, random_resized_crop(image, key, 24))

    @pytest.mark.parametrize("encode", [tf.io.encode_png, tf.io.encode_jpeg])
    def test_gray_files_become_three_channels(self, encode):
        file = encode(augment_loading.array("img/a64")[..., :1])
        image = decode_random_crop(file, tf.constant([4, 2]), 16).numpy()
        assert image.shape == (16, 16, 3)
        np.testing.assert_array_equal(image[..., 0], image[..., 2])

    def test_formats_may_alternate_in_a_parallel_map(self):
        files = tf.data.Dataset.from_tensor_slices([JPEG, PNG] * 10).enumerate()
        images = files.map(
            lambda n, file: decode_random_crop(file, tf.stack([n, n]), (20, 24)), num_parallel_calls=8
        ).batch(20)
        assert images.element_spec.shape.as_list() == [None, 20, 24, 3]
        first, again = (next(iter(images)).numpy() for _ in range(2))
        np.testing.assert_array_equal(first, again)
        assert len({image.tobytes() for image in first}) == 20
        np.testing.assert_array_equal(first[7], decode_random_crop(PNG, tf.constant([7, 7], tf.int64), (20, 24)))

    def test_what_is_no_image(self):
        with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown image file format"):
            decode_random_crop(b"nothing of the kind", tf.constant([1, 2]), 8)


class TestRandomResizedCrop:
    def test_uint8_and_floats_agree(self):
        image, key = augment_loading.array("img/a64"), tf.constant([1, 2])
        floats = image.astype(np.float32) / 255
        np.testing.assert_allclose(random_resized_crop(image, key, 20), random_resized_crop(floats, key, 20), atol=1e-6)

    def test_one_pixel_grows(self):
        image = np.full((1, 1, 1), 51, np.uint8)
        np.testing.assert_allclose(random_resized_crop(image, tf.constant([1, 2]), 4), np.full((4, 4, 1), 0.2))

    def test_wrong_dtype(self):
        with pytest.raises(ValueError, match=r"dtype int32; they must be uint8 in 0..255 or floats"):
            random_resized_crop(tf.zeros([8, 8, 3], tf.int32), tf.constant([1, 2]), 4)

    def test_floats_of_0_to_255(self):
        levels, key = augment_loading.array("img/a64").astype(np.float32), tf.constant([1, 2])
        with pytest.raises(ValueError, match=r"values up to 2\d\d; they must be .* divide levels of 0..255 by 255"):
            random_resized_crop(levels, key, 20)
        in_pipeline = tf.data.Dataset.from_tensors(levels).map(lambda image: random_resized_crop(image, key, 20))
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"divide levels of 0..255 by 255"):
            next(iter(in_pipeline))

    def test_wrong_size(self):
        with pytest.raises(ValueError, match="image_size is 0"):
            random_resized_crop(tf.zeros([8, 8, 3]), tf.constant([1, 2]), 0)


class TestPadAndCrop:
    def test_every_offset_is_drawn_about_equally_often(self):
        image = tf.scatter_nd([[16, 16, 0]], [1], [32, 32, 1])
        moved = many(lambda key: pad_and_crop(image, key), 1000)
        rows, columns = np.nonzero(moved[..., 0])[1:]
        for place in (rows, columns):
            counts = np.bincount(place - 14, minlength=5)
            assert len(counts) == 5
            # Five values in 1,000 draws: 200 each, deviation 12.6.
            assert np.abs(counts - 200).max() < 4.5 * 12.6

    def test_other_sizes(self):
        assert pad_and_crop(tf.zeros([10, 12, 1]), tf.constant([1, 2]), (10, 12), pad=3).shape == (10, 12, 1)
        with pytest.raises(ValueError, match="pad is -1"):
            pad_and_crop(tf.zeros([9, 9, 3]), tf.constant([1, 2]), 9, pad=-1)


class TestRandomFlip:
    def test_half_of_the_images_are_mirrored(self):
        image = tf.constant([[[1], [2]]])
        flipped = many(lambda key: random_flip(image, key), 1000)[:, 0, 0, 0] == 2
        assert abs(flipped.mean() - 0.5) < 4.5 * 0.0158

    def test_rows_stay(self):
        image = augment_loading.array("img/a64")
        results = {random_flip(image, tf.constant([0, n])).numpy().tobytes() for n in range(12)}
        assert results == {image.tobytes(), image[:, ::-1].tobytes()}


class TestNormalize:
    def test_wrong_dtype(self):
        with pytest.raises(ValueError, match="dtype int64"):
            normalize(np.zeros((2, 2, 3), np.int64), [0.5] * 3, [0.5] * 3)

    def test_deviation_of_zero(self):
        with pytest.raises(ValueError, match=r"std is \(0.5, 0, 0.5\); every deviation must be above 0"):
            normalize(np.zeros((2, 2, 3), np.uint8), [0.5] * 3, [0.5, 0, 0.5])

    def test_floats_of_0_to_255(self):
        levels = augment_loading.array("img/a64").astype(np.float32)
        with pytest.raises(ValueError, match=r"divide levels of 0..255 by 255"):
            normalize(levels, [0.5] * 3, [0.5] * 3)
        normalize(levels / 255, [0.5] * 3, [0.5] * 3)
        normalize(levels[:0], [0.5] * 3, [0.5] * 3)

    def test_a_mean_of_levels(self):
        with pytest.raises(ValueError, match=r"mean is \(123.7, 116.3, 103.5\); it must be that of pixels in \[0, 1\]"):
            normalize(np.zeros((2, 2, 3), np.uint8), [123.7, 116.3, 103.5], [58.4, 57.1, 57.4])

    def test_batches(self):
        batch = augment_loading.array("img/a64")[None]
        result = normalize(batch, [0.5] * 3, [0.5] * 3)
        np.testing.assert_allclose(result, batch / 127.5 - 1, atol=1e-6)
