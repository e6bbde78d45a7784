"""Losses against what JAX computes, the gradient penalty and its gradient among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.generative.losses import discriminator_loss, generator_loss, r1_penalty, random_shift

RANDOM = np.random.default_rng(0)
REAL, FAKE = RANDOM.standard_normal((2, 7)).astype(np.float32) * 3
IMAGES = RANDOM.standard_normal((3, 4, 5, 2)).astype(np.float32)
KERNEL = RANDOM.standard_normal((40, 6)).astype(np.float32) / 5
OUT = RANDOM.standard_normal(6).astype(np.float32)


def test_losses_are_those_of_the_paper():
    def sigmoid(x):
        return 1 / (1 + np.exp(-x.astype(np.float64)))

    assert float(generator_loss(FAKE)) == pytest.approx(np.mean(-np.log(sigmoid(FAKE))), rel=1e-6)
    expected = np.mean(-np.log(sigmoid(REAL))) + np.mean(-np.log(1 - sigmoid(FAKE)))
    assert float(discriminator_loss(REAL, FAKE)) == pytest.approx(expected, rel=1e-6)


def test_the_generator_learns_most_where_it_is_found_out():
    """The loss of the minimax game would be flat there."""
    scores = tf.constant([-8.0, 0.0, 8.0])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = generator_loss(scores)
    gradient = -3 * tape.gradient(loss, scores).numpy()
    np.testing.assert_allclose(gradient, [0.99966, 0.5, 0.00034], atol=1e-5)


def jax_penalty(kernel):
    def score(image):
        return jnp.tanh(image.reshape(-1) @ kernel) @ OUT

    gradients = jax.vmap(jax.grad(score))(jnp.asarray(IMAGES))
    return jnp.mean(jnp.sum(gradients**2, axis=(1, 2, 3)))


def test_penalty_and_its_gradient():
    kernel = tf.Variable(KERNEL)

    def score(images):
        return tf.linalg.matvec(tf.tanh(tf.reshape(images, (-1, 40)) @ kernel), OUT)

    with tf.GradientTape() as tape:
        penalty = r1_penalty(score, tf.constant(IMAGES))
    value, gradient = jax.value_and_grad(jax_penalty)(jnp.asarray(KERNEL))
    assert float(penalty) == pytest.approx(float(value), rel=1e-5)
    np.testing.assert_allclose(tape.gradient(penalty, kernel), gradient, rtol=1e-4, atol=1e-6)


class TestShift:
    def test_images_move_as_a_whole_and_each_on_its_own(self):
        image = RANDOM.uniform(-1, 1, (1, 6, 7, 2)).astype(np.float32)
        moved = random_shift(tf.constant(np.repeat(image, 40, axis=0)), 2, (0, 1)).numpy()
        padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)), constant_values=-1)
        places = {(y, x): padded[y : y + 6, x : x + 7] for y in range(5) for x in range(5)}
        found = {place for m in moved for place, view in places.items() if np.array_equal(m, view)}
        assert all(any(np.array_equal(m, view) for view in places.values()) for m in moved)
        assert len(found) > 10
        assert {y for y, _ in found} == {x for _, x in found} == set(range(5))

    def test_the_gradient_comes_back_to_the_pixel(self):
        image = tf.constant(RANDOM.uniform(-1, 1, (1, 6, 6, 1)).astype(np.float32))
        with tf.GradientTape() as tape:
            tape.watch(image)
            total = tf.reduce_sum(random_shift(image, 2, (0, 3)))
        gradient = tape.gradient(total, image).numpy()
        assert set(np.unique(gradient)) <= {0.0, 1.0}
        assert gradient[0, 2:4, 2:4].min() == 1, "the middle never leaves"

    def test_none(self):
        images = tf.constant(IMAGES)
        assert random_shift(images, 0, (0, 1)) is images
