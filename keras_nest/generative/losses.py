"""What generator and discriminator minimize."""

from collections.abc import Callable

import tensorflow as tf


def generator_loss(fake_scores: tf.Tensor) -> tf.Tensor:
    """Non-saturating loss: scores of generated images (B,) -> scalar, the mean of -log sigmoid(score).

    Source: Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014, section 3.
    """
    return tf.reduce_mean(tf.nn.softplus(-fake_scores))


def discriminator_loss(real_scores: tf.Tensor, fake_scores: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of telling them apart: scores of real and of generated images, (B,) each -> scalar."""
    return tf.reduce_mean(tf.nn.softplus(-real_scores)) + tf.reduce_mean(tf.nn.softplus(fake_scores))


def r1_penalty(score: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor) -> tf.Tensor:
    """Mean squared norm of the gradient of the scores with respect to real images.

    Source: Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018, equation 9;
    without its factor gamma / 2.

    Args:
        score: images (B, H, W, C) -> scores (B,).
        images: real ones.

    Returns:
        A scalar that can be differentiated again.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        total = tf.reduce_sum(score(images))
    gradient = tape.gradient(total, images)
    return tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=(1, 2, 3)))


def random_shift(images: tf.Tensor, pixels: int, seeds: tf.Tensor) -> tf.Tensor:
    """Moves every image by up to so many pixels along each axis; what comes in is -1, black.

    Real and generated images alike are moved before the discriminator sees them, so that few real ones last longer and
    generated ones do not learn to be moved. Differentiable. Source: Zhao et al., "Differentiable Augmentation for
    Data-Efficient GAN Training", NeurIPS 2020.

    Args:
        images: (B, H, W, C).
        pixels: the farthest move; 0 returns the images.
        seeds: two integers.
    """
    if not pixels:
        return images
    batch, (height, width) = tf.shape(images)[0], images.shape[1:3]
    padded = tf.pad(images, [[0, 0], [pixels] * 2, [pixels] * 2, [0, 0]], constant_values=-1)
    start = tf.random.stateless_uniform((2, batch, 1), seeds, 0, 2 * pixels + 1, tf.int32)
    padded = tf.gather(padded, start[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(padded, start[1] + tf.range(width), axis=2, batch_dims=1)
