"""Color jitter: the reference's levels for given factors, what is drawn how often, and that the key alone decides."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import color_jitter as jitter
from keras_nest.data.color_jitter import STEPS, JitterFactors, color_jitter, random_color_jitter
from tests.golden import augment_loading

FACTS = augment_loading.facts()["colorjitter/a64"]
IMAGE = augment_loading.array("img/a64")
# Its left half is dark and its right one bright, so that a flip shows.
SIDES = np.broadcast_to(np.array([40, 200], np.uint8)[None, :, None], (1, 2, 3))


def many(image, count, **options):
    """The image under many keys, in a parallel map."""
    keys = tf.data.Dataset.range(count).map(lambda n: tf.stack([tf.constant(5, tf.int64), n]))
    drawn = keys.map(lambda key: random_color_jitter(image, key, **options), num_parallel_calls=8)
    return next(iter(drawn.batch(count))).numpy()


@pytest.mark.parametrize("name", FACTS)
def test_reference(name):
    fact = FACTS[name]
    result = color_jitter(
        IMAGE,
        JitterFactors(*(fact[step] for step in STEPS)),
        [STEPS.index(step) for step in fact["order"]],
        jittered=fact["jitter_applied"],
        gray=fact["to_grayscale"],
    )
    np.testing.assert_array_equal(result, augment_loading.array(f"colorjitter/a64/{name}"))


def test_nothing_to_do():
    np.testing.assert_array_equal(color_jitter(IMAGE, JitterFactors(0, 0, 0, 0), range(4), jittered=False), IMAGE)


def test_order_matters():
    factors = JitterFactors(1.24, 0.8, 1.2, 0.05)
    assert not np.array_equal(color_jitter(IMAGE, factors, [0, 1, 2, 3]), color_jitter(IMAGE, factors, [1, 0, 2, 3]))


class TestDraws:
    @pytest.mark.slow
    def test_how_often_and_how_much(self, monkeypatch):
        """What `random_color_jitter` hands over, under many keys."""
        monkeypatch.setattr(jitter, "color_jitter", lambda image, factors, *draws, **more: [*factors, *draws, more])

        @tf.function
        def draw(n):
            *factors, order, flags = random_color_jitter(IMAGE, tf.stack([3, n]))
            return tf.stack(factors), order, tf.stack([flags["jittered"], flags["gray"]])

        factors, order, flags = (np.array(part) for part in zip(*map(draw, tf.range(3000)), strict=True))
        # Deviations of the shares are .0073.
        np.testing.assert_allclose(flags.mean(0), [0.8, 0.2], atol=4 * 0.0073)
        assert abs(np.corrcoef(flags.T)[0, 1]) < 4 / 3000**0.5
        np.testing.assert_allclose(factors.min(0), [0.76, 0.76, 0.76, -0.06], atol=0.002)
        np.testing.assert_allclose(factors.max(0), [1.24, 1.24, 1.24, 0.06], atol=0.002)
        np.testing.assert_allclose(factors.mean(0), [1, 1, 1, 0], atol=0.01)
        _, counts = np.unique(order, axis=0, return_counts=True)
        # 24 orders of 125 each, deviation 11.
        assert len(counts) == 24
        assert np.abs(counts - 125).max() < 4.5 * 11

    def test_hidden_flip(self):
        flipped = many(SIDES, 800, strength=0.0, flip=True)[:, 0, 0, 0] > 100
        assert abs(flipped.mean() - 0.5) < 4 * 0.0177
        assert not np.any(many(SIDES, 50, strength=0.0)[:, 0, 0, 0] > 100)

    def test_share_of_gray_images(self):
        red = np.zeros((1, 1, 3), np.uint8)
        red[..., 0] = 200
        gray = np.ptp(many(red, 1000)[:, 0, 0], axis=-1) == 0
        assert abs(gray.mean() - 0.2) < 4 * 0.0126


def test_same_key_same_bytes():
    first, again = (many(IMAGE[:16, :20], 40) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len({image.tobytes() for image in first}) > 35
    one = random_color_jitter(IMAGE[:16, :20], tf.constant([5, 7], tf.int64))
    np.testing.assert_array_equal(one, first[7])


def test_global_seed_has_no_part():
    results = []
    for seed in (1, 2):
        tf.random.set_seed(seed)
        results.append(random_color_jitter(IMAGE, tf.constant([1, 2])))
    np.testing.assert_array_equal(*results)


def test_no_strength_leaves_colors():
    image = IMAGE[:8, :8]
    results = {result.tobytes() for result in many(image, 40, strength=0.0)}
    assert image.tobytes() in results
    # The other result is the gray one; a step that does nothing may lose the last level.
    for result in results:
        colors = np.frombuffer(result, np.uint8).reshape(image.shape)
        assert np.all(np.ptp(colors, -1) == 0) or np.abs(colors.astype(int) - image).max() <= 1


def test_gray_images_stay_gray():
    image = np.repeat(IMAGE[:8, :8, :1], 3, axis=-1)
    assert np.all(np.ptp(many(image, 40), axis=-1) <= 1)


def test_one_pixel():
    assert random_color_jitter(IMAGE[:1, :1], tf.constant([1, 2])).shape == (1, 1, 3)


def test_static_shape_in_a_graph():
    graph = tf.function(lambda image: random_color_jitter(image, tf.constant([1, 2])))
    result = graph.get_concrete_function(tf.TensorSpec([20, 24, 3], tf.uint8)).structured_outputs
    assert (result.dtype, result.shape) == (tf.uint8, (20, 24, 3))


def test_wrong_input():
    with pytest.raises(ValueError, match=r"strength is -1; it must be between 0 and 1.25"):
        random_color_jitter(IMAGE, tf.constant([1, 2]), strength=-1)
    with pytest.raises(ValueError, match="is float32; it must be uint8"):
        random_color_jitter(IMAGE.astype(np.float32), tf.constant([1, 2]))
    with pytest.raises(ValueError, match=r"shape \(64, 64, 1\); it must be one image"):
        random_color_jitter(IMAGE[..., :1], tf.constant([1, 2]))
