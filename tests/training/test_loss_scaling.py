"""Models in float16: the loss is scaled, and what overflows on one replica is skipped on all."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.cli.train import main
from keras_nest.models.losses import cross_entropy
from keras_nest.training import AdamW, DistributedOptimizer, LossScaleOptimizer, Momentum, SharpnessAware, Trainer
from keras_nest.training.stopping import Stopped
from tests import families
from tests.training import runs
from tests.training.test_trainer import BATCH, IMAGES, LABELS, batches, network, strategy

SCALE = 2.0**15
AVERAGE = {"use_ema": True, "ema_momentum": 0.8}
OPTIMIZERS = {
    "adamw": functools.partial(AdamW, 0.01, epsilon=1e-3, **AVERAGE),
    "in parts": functools.partial(Momentum, 0.1, accum_steps=2, clip_norm=0.1),
    "wrapped": lambda: DistributedOptimizer(keras.optimizers.SGD(0.1), clip_norm=0.1),
    "stock": functools.partial(keras.optimizers.SGD, 0.1),
}
EVEN = np.ones(LABELS.shape, np.float32)
# The second replica's half of the third batch has gradients that float16 does not hold, times the scale.
TOO_LARGE = EVEN.copy()
TOO_LARGE[2, BATCH // 2 :] = 1e4


def trainer_of(place, optimizer, dtype="mixed_float16", **options):
    with strategy(place).scope():
        trainer = Trainer(network(dtype), **options)
        trainer.compile(optimizer(), cross_entropy)
    return trainer


def fit(trainer, place, weights=EVEN):
    trainer.fit(batches(place, IMAGES, LABELS, weights), shuffle=False, verbose=0)
    return trainer


def number(variable):
    return float(variable.value.numpy())


@functools.cache
def trained(place, optimizer, dtype="mixed_float16", too_large=False, **options):
    trainer = trainer_of(place, OPTIMIZERS[optimizer], dtype, **options)
    return fit(trainer, place, TOO_LARGE if too_large else EVEN)


def farthest(one, other):
    pairs = zip(one.model.get_weights(), other.model.get_weights(), strict=True)
    return max(np.abs(ours - theirs).max() for ours, theirs in pairs)


class TestTrainer:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_it_learns_what_float32_does(self, optimizer):
        half = trained("one_device", optimizer)
        assert isinstance(half.optimizer, LossScaleOptimizer)
        assert farthest(half, trained("one_device", optimizer, "float32")) < 2e-3
        assert number(half.optimizer.dynamic_scale) == SCALE

    @pytest.mark.slow
    @pytest.mark.parametrize("optimizer", ["adamw", "in parts", "stock"])
    def test_what_overflows_on_one_replica_is_skipped_on_all(self, optimizer):
        one, two = trained("one_device", optimizer, too_large=True), trained("mirrored", optimizer, too_large=True)
        assert farthest(two, one) < 2e-3
        assert farthest(two, trained("one_device", optimizer)) > 2e-3
        for trainer in (one, two):
            assert number(trainer.optimizer.dynamic_scale) == SCALE / 2
            # Of ten steps.
            assert number(trainer.optimizer.iterations) == (4 if optimizer == "in parts" else 9)
            assert number(trainer.optimizer.step_counter) == 7
            # The mean of those that count.
            assert np.isfinite(trainer.watch.norm)
            assert trainer.watch.finite_steps == 10

    @pytest.mark.slow
    def test_parts_and_sharpness(self):
        options = {"accum_steps": 2, "sharpness": SharpnessAware(0.05), "clip_norm": 0.2}
        half, whole = (trained("one_device", "adamw", dtype, **options) for dtype in ("mixed_float16", "float32"))
        assert farthest(half, whole) < 2e-3

    def test_the_scale_grows(self):
        trainer = trainer_of("one_device", lambda: LossScaleOptimizer(Momentum(0.1), 8.0, dynamic_growth_steps=4))
        fit(trainer, "one_device")
        assert (number(trainer.optimizer.dynamic_scale), number(trainer.optimizer.step_counter)) == (32.0, 2)

    def test_what_no_scale_helps_is_told(self):
        trainer = trainer_of("one_device", lambda: LossScaleOptimizer(Momentum(0.1), initial_scale=4.0))
        fit(trainer, "one_device", np.full_like(EVEN, 1e9))
        # Two lower the scale to 1.
        assert trainer.watch.finite_steps == 2

    def test_files(self, tmp_path):
        trainer = trained("one_device", "adamw", too_large=True)
        keras.saving.save_model(trainer, tmp_path / "trainer.keras")
        again = keras.saving.load_model(tmp_path / "trainer.keras", {"cross_entropy": cross_entropy})
        assert number(again.optimizer.dynamic_scale) == SCALE / 2
        for one, other in zip(again.optimizer.variables, trainer.optimizer.variables, strict=True):
            np.testing.assert_array_equal(one, other)


class TestPlainFit:
    """Keras' own train step."""

    @staticmethod
    @functools.cache
    def fitted(place):
        keras.utils.set_random_seed(0)
        with strategy(place).scope():
            model = families.vit(num_layers=1, dtype="mixed_float16")
            model.compile(Momentum(0.1, clip_norm=0.1))
        images = np.random.default_rng(0).standard_normal((4, BATCH, 16, 16, 3)).astype(np.float32)
        data = tf.data.Dataset.from_tensor_slices((images, LABELS[:4], 100 * TOO_LARGE[:4] - 99))
        model.fit(data, shuffle=False, verbose=0)
        return model

    @pytest.mark.slow
    def test_under_a_strategy(self):
        assert isinstance(self.fitted("mirrored").optimizer, LossScaleOptimizer)
        one, two = self.fitted("one_device"), self.fitted("mirrored")
        for ours, theirs in zip(two.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3)
        assert number(one.optimizer.iterations) == number(two.optimizer.iterations) == 3
        assert number(one.optimizer.dynamic_scale) == number(two.optimizer.dynamic_scale) == SCALE / 2

    def test_what_keras_puts_around_an_optimizer_is_refused_under_a_strategy(self):
        with strategy("mirrored").scope():
            model = network("mixed_float16")
            model.compile(keras.optimizers.LossScaleOptimizer(AdamW()), "mse")
            with pytest.raises(ValueError, match=r"first replica alone; compile with training.LossScaleOptimizer"):
                model.optimizer.build(model.trainable_variables)

    @pytest.mark.slow
    def test_on_one_device_it_is_the_same(self):
        weights = []
        for wrapper in (keras.optimizers.LossScaleOptimizer, LossScaleOptimizer):
            model = network("mixed_float16")
            model.compile(wrapper(AdamW(0.01, accum_steps=2)), cross_entropy)
            fit(model, "one_device", TOO_LARGE)
            weights.append(model.get_weights())
        for one, other in zip(*weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_a_run_goes_on_bit_for_bit(tmp_path):
    config = {**runs.CONFIG, "dtype_policy": "mixed_float16", "num_epochs": 1}
    main(config, tmp_path / "undisturbed")
    with runs.signaled(*runs.in_step(13)), pytest.raises(Stopped):
        main(config, tmp_path / "run")
    main(config, tmp_path / "run")
    runs.assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "run" / "checkpoints" / "ckpt-22"))]
    states = {name: tf.train.load_variable(str(tmp_path / "run" / "checkpoints" / "ckpt-22"), name) for name in names}
    assert SCALE in [
        float(value) for value in states.values() if np.shape(value) == () and not isinstance(value, bytes)
    ]
