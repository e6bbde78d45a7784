"""Sharpness-aware gradients through `Trainer`, against the formulas of the papers in JAX."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.models.losses import cross_entropy
from keras_nest.training import FineTuningDecay, Momentum, SharpnessAware, Trainer, create_strategy, distribute
from tests import keras_models

STEPS, BATCH, CLASSES = 4, 8, 3
DRAWS = np.random.default_rng(1)
IMAGES = DRAWS.standard_normal((STEPS, BATCH, 5)).astype(np.float32)
LABELS = DRAWS.integers(0, CLASSES, (STEPS, BATCH)).astype(np.int32)
RATES = FineTuningDecay(0.5, STEPS, "linear", linear_end=0.1)
SAM = SharpnessAware(0.3)
GSAM = SharpnessAware(0.3, rho_min=0.05, alpha=0.4, max_rate=0.5, min_rate=0.1)


@functools.cache
def mirrored():
    return create_strategy("mirrored")


def network(drop_rate=0.0):
    inputs = keras.Input(IMAGES.shape[2:])
    hidden = keras.layers.Dense(4, "tanh")(inputs)
    hidden = StochasticDepth(drop_rate, seed=2)(hidden) if drop_rate else hidden
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))
    keras_models.randomize(model)
    return model


def fit(sharpness, strategy=None, model=network, rates=RATES, **options):
    """History of one epoch, and the trainer after it."""
    strategy = strategy or tf.distribute.get_strategy()
    with strategy.scope():
        trainer = Trainer(model(), sharpness=sharpness, **options)
        trainer.compile(Momentum(rates, 0.0), cross_entropy)
    data = distribute(strategy, lambda host: tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)))
    return trainer.fit(data, shuffle=False, verbose=0).history, trainer


def loss(weights, images, labels):
    kernel, bias, head_kernel, head_bias = weights
    logits = jnp.tanh(images @ kernel + bias) @ head_kernel + head_bias
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1).mean()


def norm(vector):
    return jnp.sqrt(sum((part**2).sum() for part in vector))


@functools.partial(jax.jit, static_argnums=0)
def gradient(sharpness, weights, images, labels, rate):
    """SAM: Foret et al. 2021, equations 2 and 3; GSAM: Zhuang et al. 2022, algorithm 1."""
    rho = sharpness.rho
    if sharpness is GSAM:
        rho = 0.05 + (0.3 - 0.05) * (rate - 0.1) / (0.5 - 0.1)
    clean = jax.grad(loss)(weights, images, labels)
    highest = [w + rho * g / norm(clean) for w, g in zip(weights, clean, strict=True)]
    perturbed = jax.grad(loss)(highest, images, labels)
    direction = [g / norm(perturbed) for g in perturbed]
    along = sum((g * d).sum() for g, d in zip(clean, direction, strict=True))
    vertical = [g - along * d for g, d in zip(clean, direction, strict=True)]
    return [p - sharpness.alpha * v for p, v in zip(perturbed, vertical, strict=True)]


def expected(sharpness, replicas=1):
    """Weights after the updates, and the mean loss; each replica perturbs by the gradient of its own images."""
    weights, losses = network().get_weights(), []
    for step in range(STEPS):
        rate = float(RATES(step))
        losses.append(loss(weights, IMAGES[step], LABELS[step]))
        parts = zip(np.split(IMAGES[step], replicas), np.split(LABELS[step], replicas), strict=True)
        shares = [gradient(sharpness, weights, *part, rate) for part in parts]
        weights = [w - rate * sum(g) / replicas for w, g in zip(weights, zip(*shares, strict=True), strict=True)]
    return weights, np.mean(losses)


def assert_weights(trainer, weights):
    for ours, theirs in zip(trainer.model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6)


class TestFormulas:
    @pytest.mark.slow
    @pytest.mark.parametrize("sharpness", [SAM, GSAM], ids=["sam", "gsam"])
    def test_one_device(self, sharpness):
        """SAM on whole batches, GSAM on parts."""
        with keras_models.exact_matmuls():
            weights, mean_loss = expected(sharpness)
        history, trainer = fit(sharpness, accum_steps=1 if sharpness is SAM else 2)
        assert_weights(trainer, weights)
        # Measured at the weights themselves, once.
        assert history["loss"] == pytest.approx([mean_loss], rel=1e-6)

    @pytest.mark.slow
    def test_two_replicas(self):
        with keras_models.exact_matmuls():
            weights, mean_loss = expected(GSAM, replicas=2)
            alone, _ = expected(GSAM)
        history, trainer = fit(GSAM, mirrored())
        assert_weights(trainer, weights)
        assert history["loss"] == pytest.approx([mean_loss], rel=1e-6)
        assert max(np.abs(a - b).max() for a, b in zip(alone, weights, strict=True)) > 1e-3, "it does make a difference"


@pytest.mark.parametrize("strategy", [None, mirrored], ids=["one_device", "mirrored"])
def test_weights_are_put_back(strategy):
    """Bit for bit, on each replica."""
    _, trainer = fit(SharpnessAware(0.3, alpha=0.4), strategy and strategy(), rates=0.0)
    for variable, value in zip(trainer.trainable_variables, network().get_weights(), strict=True):
        for copy in trainer.distribute_strategy.experimental_local_results(variable.value):
            np.testing.assert_array_equal(copy, value)


class Twice:
    """In the place of `SharpnessAware`: what the second gradient has more than the first, at the same weights."""

    @staticmethod
    def gradients(clean, variables, again, rate):
        return [second - first for second, first in zip(again(), clean, strict=True)]


@pytest.mark.parametrize(("strategy", "accum_steps"), [(None, 2), (mirrored, 1)], ids=["one_device", "mirrored"])
def test_both_gradients_meet_the_same_masks(strategy, accum_steps):
    """As in the reference, whose loss has its random key inside."""
    history, trainer = fit(Twice, strategy and strategy(), lambda: network(0.5), accum_steps=accum_steps)
    assert_weights(trainer, network().get_weights())
    assert history["grad_norm"] == pytest.approx([0], abs=1e-6)


def test_every_step_draws_new_masks():
    _, trainer = fit(Twice, model=lambda: network(0.5))
    (seed,) = [v for v in trainer.non_trainable_variables if "seed" in v.path]
    before = np.array(seed)
    trainer.fit(IMAGES[0], LABELS[0], batch_size=BATCH, verbose=0)
    assert not np.array_equal(before, seed)


def test_radius():
    assert SAM.radius(0.123) == SharpnessAware(0.3, rho_min=0.3).radius(0.1) == 0.3
    for rate, radius in ((0.5, 0.3), (0.1, 0.05), (0.3, 0.175), (0.0, -0.0125)):
        assert GSAM.radius(rate) == pytest.approx(radius)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rho": 0.0}, "rho is 0.0; it must be positive"),
        ({"rho_min": 0.1}, "max_rate is None; with rho_min it must be above min_rate, 0.0"),
        ({"rho_min": 0.1, "max_rate": 0.1, "min_rate": 0.2}, "max_rate is 0.1; .* above min_rate, 0.2"),
    ],
)
def test_what_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        SharpnessAware(**{"rho": 0.3, **fields})
