"""Operations of RandAugment: each equals the original to the last level."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import operations
from keras_nest.data.randaugment import OPERATIONS
from tests.golden import augment_loading

UNKNOWN_SIZE = tf.TensorSpec([None, None, 3], tf.uint8)
WHOLE = ("Posterize", "Solarize", "SolarizeAdd")
# One valid argument for each that needs one.
ARGUMENTS = {"Rotate": 27.0, "Posterize": 3, "Solarize": 230, "SolarizeAdd": 99, "ShearX": 0.27, "ShearY": 0.27}
ARGUMENTS |= {"TranslateX": 3.5, "TranslateY": 3.5}
ARGUMENTS |= dict.fromkeys(["Color", "Contrast", "Brightness", "Sharpness"], 1.72)


def arguments_of(path):
    """What a golden array was made with: () or (argument,)."""
    name, *given = path.split("/")
    return [(int if name in WHOLE else float)(text) for text in given]


def stored(image):
    """(operation, arguments, input, expected) of every golden array."""
    pixels = augment_loading.array(f"img/{image}")
    for path, expected in augment_loading.arrays(f"op/{image}").items():
        yield path.split("/")[0], arguments_of(path), pixels, expected


def compare(name, actual, expected):
    if name != "Sharpness":
        np.testing.assert_array_equal(actual, expected)
        return
    # A sum of 13 levels may be a whole number, which another order of summation misses.
    difference = np.abs(np.asarray(actual, int) - expected)
    assert difference.max() <= 1
    assert difference.mean() <= 0.021


def example(name, image):
    """The operation with its argument above."""
    return OPERATIONS[name].apply(image, *([ARGUMENTS[name]] if name in ARGUMENTS else []))


@pytest.fixture(scope="module")
def photo():
    return augment_loading.array("img/a64")


@pytest.mark.parametrize("name", OPERATIONS)
class TestEveryOperation:
    def test_equals_the_original(self, name):
        for image in ("a64", "edge8"):
            cases = [case for case in stored(image) if case[0] == name]
            assert bool(cases) == (name != "Identity")
            for _, arguments, pixels, expected in cases:
                compare(name, OPERATIONS[name].apply(pixels, *arguments), expected)

    def test_graphs_equal_eager_calls(self, name, photo):
        """Of an unknown size, and with the argument as a tensor; the static shape is kept."""
        oblong = photo[:40]
        graph = tf.function(lambda image: example(name, image), input_signature=[UNKNOWN_SIZE])
        np.testing.assert_array_equal(graph(oblong), example(name, oblong))
        arguments = [tf.constant(ARGUMENTS[name])] if name in ARGUMENTS else []
        graph = tf.function(OPERATIONS[name].apply)
        np.testing.assert_array_equal(graph(photo, *arguments), example(name, photo))
        graph = tf.function(lambda image: example(name, image))
        traced = graph.get_concrete_function(tf.TensorSpec([20, None, 3], tf.uint8)).structured_outputs
        assert (traced.dtype, traced.shape.as_list()) == (tf.uint8, [20, None, 3])

    def test_smallest_images(self, name):
        for size in ((1, 1), (1, 5), (5, 1), (2, 2)):
            image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
            result = example(name, image).numpy()
            assert (result.shape, result.dtype) == (image.shape, np.uint8), size
            if name in ("Identity", "AutoContrast", "Equalize", "Sharpness") and size == (1, 1):
                np.testing.assert_array_equal(result, image)


def test_one_pixel_in_numbers():
    pixel = np.array([[[10, 100, 200]]], np.uint8)
    expected = {"Invert": [245, 155, 55], "Posterize": [0, 96, 192], "Brightness": [17, 172, 255]}
    expected |= {"SolarizeAdd": [109, 199, 200], "Solarize": [10, 100, 200], "TranslateX": [128, 128, 128]}
    assert {name: example(name, pixel).numpy()[0, 0].tolist() for name in expected} == expected


@pytest.mark.parametrize("name", ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"])
def test_what_is_uncovered_is_gray(name):
    white = np.full((32, 32, 3), 255, np.uint8)
    assert set(np.unique(example(name, white))) == {operations.GRAY, 255}


def test_directions():
    image = np.zeros((9, 9, 3), np.uint8)
    image[4, 6] = 255  # two pixels to the right of the center

    def bright(result):
        return [tuple(place) for place in np.argwhere(result.numpy()[..., 0] == 255)]

    assert bright(operations.rotate(image, 90.0)) == [(2, 4)]
    assert bright(operations.translate_x(image, 2.0)) == [(4, 4)]
    assert bright(operations.translate_y(image, 2.0)) == [(2, 6)]
    assert bright(operations.shear_x(image, 0.5)) == [(4, 4)]
    assert bright(operations.shear_y(image, 0.5)) == [(1, 6)]


@pytest.mark.parametrize("operation", [operations.identity, operations.invert, operations.equalize])
def test_other_images_are_refused(operation, photo):
    with pytest.raises(ValueError, match=r"^The image is float32; it must be uint8, with levels from 0 to 255\.$"):
        operation(photo.astype(np.float32))
    message = r"^The image has the shape \(2, 64, 64, 3\); it must be one image \(height, width, 3\)\.$"
    with pytest.raises(ValueError, match=message):
        operation(np.stack([photo, photo]))
    with pytest.raises(ValueError, match=r"shape \(64, 64, 1\)"):
        operation(photo[..., :1])


@pytest.mark.parametrize(("name", "place"), [("TranslateX", 2), ("TranslateY", 5)])
def test_translation_is_the_general_transform(name, place):
    image = np.random.default_rng(0).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    for pixels in (0, 0.5, -0.5, 0.49, -0.51, 2.5, -2.5, 6.4, 6.5, 7, -6.5, -7, 100, -100):
        ours, general = OPERATIONS[name].apply(image, pixels), operations._slide(image, place, pixels)
        np.testing.assert_array_equal(ours, general, err_msg=str(pixels))
