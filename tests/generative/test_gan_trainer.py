"""One step of generator against discriminator, taken apart."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import NesTGenerator
from keras_nest.generative import Discriminator, GanTrainer
from keras_nest.generative.losses import discriminator_loss, generator_loss, r1_penalty
from keras_nest.training.checkpoints import Checkpoints

SMALL = {
    "latent_dim": 4,
    "embedding_dims": (8, 8),
    "num_heads": (2, 2),
    "num_layers_per_block": (1, 1),
    "patch_size": 2,
}
RANDOM = np.random.default_rng(0)
IMAGES = tf.constant(RANDOM.uniform(-1, 1, (6, 8, 8, 3)).astype(np.float32))
LABELS = tf.constant([0, 1, 2, 0, 1, 2])


@pytest.fixture(scope="module")
def networks():
    return NesTGenerator(8, num_classes=3, **SMALL), Discriminator(8, 3, widths=(4, 6))


def make(classes=3, compiled=True, **options):
    keras.utils.set_random_seed(0)
    generator = NesTGenerator(8, num_classes=classes, **SMALL)
    trainer = GanTrainer(generator, Discriminator(8, classes, widths=(4, 6)), **options)
    if compiled:
        trainer.compile(1e-3, 2e-3, jit_compile=False)
    return trainer


def second_moments(optimizer):
    return [v.numpy() for v in optimizer.variables if "velocity" in v.path]


def gradients(loss_of, model):
    with tf.GradientTape() as tape:
        loss = loss_of()
    return [tf.convert_to_tensor(g) for g in tape.gradient(loss, [v.value for v in model.trainable_variables])]


@pytest.mark.parametrize("classes", [3, pytest.param(0, marks=pytest.mark.slow)])
def test_both_take_a_step_down_their_own_loss(classes):
    """After one step Adam's second moments are (1 - beta_2) times the squared gradients."""
    trainer = make(classes, r1_gamma=0.7, r1_every=4)
    start = trainer.seeds.state.numpy()
    labels = LABELS if classes else None

    def penalized():
        trainer.seeds.state.assign(start)
        fake, fake_classes = trainer._generate(6)
        loss = discriminator_loss(trainer._score(IMAGES, labels), trainer._score(fake, fake_classes))
        return loss + 0.7 / 2 * 4 * r1_penalty(lambda x: trainer._score(x, labels), IMAGES)

    expected = gradients(penalized, trainer.discriminator)
    trainer.seeds.state.assign(start)
    trainer.train_step((IMAGES, LABELS))
    for moment, gradient in zip(second_moments(trainer.discriminator_optimizer), expected, strict=True):
        np.testing.assert_allclose(moment, 0.01 * np.square(gradient), rtol=1e-3, atol=1e-9)


@pytest.mark.slow
def test_the_generator_steps_against_the_new_discriminator():
    trainer = make(r1_gamma=0, ema_decay=0)
    before = [v.numpy() for v in trainer.generator.trainable_variables]
    trainer.train_step((IMAGES, LABELS))
    moments = second_moments(trainer.optimizer)
    assert any(np.abs(v - w).max() > 0 for v, w in zip(before, trainer.generator.trainable_variables, strict=True))
    for variable, value in zip(trainer.generator.trainable_variables, before, strict=True):
        variable.assign(value)
    seeds = make(r1_gamma=0).seeds  # of another trainer, at its first number
    trainer.seeds.state.assign(seeds.state)
    for _ in range(2 + 2):  # noise, classes and two moves of the discriminator's step
        trainer.seeds.next()

    def loss():
        fake, classes = trainer._generate(6)
        return generator_loss(trainer._score(fake, classes))

    for moment, gradient in zip(moments, gradients(loss, trainer.generator), strict=True):
        np.testing.assert_allclose(moment, 0.01 * np.square(gradient), rtol=1e-3, atol=1e-9)


@pytest.mark.slow
def test_from_its_state_a_training_goes_on_as_if_nothing_had_happened(tmp_path):
    trainer = make(r1_every=2, max_shift=1)
    checkpoints = Checkpoints(tmp_path, trainer)
    trainer.train_step((IMAGES, LABELS))
    checkpoints.save(1)

    def two_more():
        trainer.train_step((IMAGES, LABELS)), trainer.train_step((IMAGES[::-1], LABELS[::-1]))
        return [variable.numpy() for values in trainer.state.values() for variable in values]

    expected = two_more()
    assert checkpoints.restore() == 1
    for value, wanted in zip(two_more(), expected, strict=True):
        np.testing.assert_array_equal(value, wanted)


@pytest.mark.slow
def test_the_average_follows_the_weights_and_is_what_is_saved(tmp_path):
    """As callbacks of Keras save it."""
    trainer = make(ema_decay=0.5)
    averages = [v.numpy() for v in trainer.generator.weights]
    for step in range(1, 4):
        trainer.train_step((IMAGES, LABELS))
        decay = min(0.5, (1 + step) / (10 + step))
        new = [v.numpy() for v in trainer.generator.weights]
        averages = [decay * a + (1 - decay) * w for a, w in zip(averages, new, strict=True)]
    assert any(np.abs(a - w).max() > 1e-4 for a, w in zip(averages, new, strict=True))
    for mean, expected in zip(trainer.average.weights, averages, strict=True):
        np.testing.assert_allclose(mean, expected, atol=1e-6)
    trainer.save(tmp_path / "generator.keras")
    saved = keras.saving.load_model(tmp_path / "generator.keras")
    for one, other in zip(saved.weights, trainer.average.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_nobody_trains_the_other():
    trainer = make(compiled=False)
    trainer.compile(learning_rate=1e-3, discriminator_learning_rate=0.0)
    before = [v.numpy() for v in trainer.discriminator.weights]
    trainer.train_step((IMAGES, LABELS))
    for value, variable in zip(before, trainer.discriminator.weights, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.slow
def test_fit_learns_what_is_dark():
    """Images of one gray value: the generator comes near it within seconds."""
    trainer = make(r1_gamma=0.1, ema_decay=0.9, max_shift=0)
    trainer.compile(learning_rate=3e-3, discriminator_learning_rate=3e-3)
    gray = tf.fill((6, 8, 8, 3), -0.6) + 0.02 * IMAGES
    data = tf.data.Dataset.from_tensors((gray, LABELS)).repeat()
    before = trainer.average.sample(6).mean()
    logs = trainer.fit(data, steps_per_epoch=60, shuffle=False, verbose=0).history
    assert set(logs) == {"generator_loss", "discriminator_loss", "r1_penalty", "real_score", "fake_score"}
    after = trainer.average.sample(6).mean()
    assert abs(after + 0.6) < 0.7 * abs(before + 0.6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r1_gamma": -1.0}, "r1_gamma is -1.0 and r1_every 8; they must be at least 0 and 1"),
        ({"r1_every": 0}, "r1_every 0"),
        ({"ema_decay": 1.0}, "ema_decay is 1.0; it must be at least 0 and below 1"),
        ({"max_shift": -1}, "max_shift is -1"),
    ],
)
def test_bad_options(options, message, networks):
    with pytest.raises(ValueError, match=message):
        GanTrainer(*networks, **options)


def test_networks_that_do_not_fit():
    with pytest.raises(ValueError, match=r"\(8, 8, 3, 0\), the discriminator takes \(8, 8, 3, 2\); they must agree"):
        GanTrainer(NesTGenerator(8, **SMALL), Discriminator(8, 2, widths=(4, 6)))
