"""With an average of the weights: what is validated, saved, restored and kept are the same weights."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.metrics import accuracy
from keras_nest.models.losses import cross_entropy
from keras_nest.training import AdamW, Trainer, create_strategy, weight_files

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.standard_normal((16, 4, 4, 2)).astype(np.float32)
LABELS = (np.arange(16) % 3).astype(np.int32)
PLACES = ("one_device", "mirrored")


@functools.cache
def strategy(place):
    return tf.distribute.get_strategy() if place == "one_device" else create_strategy("mirrored")


def trainer_of(place="one_device", averaged=True, **options):
    """With statistics, which have no average; always the same weights."""
    keras.utils.set_random_seed(0)
    with strategy(place).scope():
        inputs = keras.Input((4, 4, 2))
        x = keras.layers.BatchNormalization()(keras.layers.Flatten()(inputs))
        trainer = Trainer(keras.Model(inputs, keras.layers.Dense(3)(x)))
        average = {"use_ema": True, "ema_momentum": 0.9} if averaged else {}
        trainer.compile(AdamW(0.1, **average, **options), cross_entropy, weighted_metrics=[accuracy])
    return trainer


def fit(trainer, epochs=3, **options):
    fitting = {"batch_size": 8, "epochs": epochs, "shuffle": False, "verbose": 0, **options}
    return trainer.fit(IMAGES, LABELS, **fitting).history


def loss_of(model, images=IMAGES):
    return float(np.mean(cross_entropy(LABELS[: len(images)], model(images))))


def assert_same(first, second):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def farthest(first, second):
    return max(np.abs(a - b).max() for a, b in zip(first.get_weights(), second.get_weights(), strict=True))


class Raw(keras.callbacks.Callback):
    """The weights that are trained, at the end of each epoch."""

    def on_epoch_end(self, epoch, logs=None):
        self.weights = self.model.model.get_weights()


class Look(keras.callbacks.Callback):
    """What callbacks measure in `fit` is the average, as what is validated."""

    def on_epoch_end(self, epoch, logs=None):
        assert self.model.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(logs["val_loss"], rel=1e-5)
        logits = self.model.predict(IMAGES, verbose=0)
        assert float(np.mean(cross_entropy(LABELS, logits))) == pytest.approx(logs["val_loss"], rel=1e-5)


@pytest.mark.parametrize("place", PLACES, scope="class")
class TestWhatIsSavedIsWhatWasMeasured:
    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        return tmp_path_factory.mktemp("saved")

    @pytest.fixture(scope="class")
    @classmethod
    def made(cls, place, folder):
        trainer, raw = trainer_of(place), Raw()
        checkpoint = keras.callbacks.ModelCheckpoint
        callbacks = [
            raw,
            *([Look()] if place == "one_device" else []),
            checkpoint(folder / "epoch_{epoch}.keras"),
            checkpoint(str(folder / "epoch_{epoch}.weights.h5"), save_weights_only=True),
            checkpoint(folder / "step.keras", save_freq=1),
        ]
        history = fit(trainer, 2, validation_data=(IMAGES, LABELS), callbacks=callbacks)
        return trainer, history, raw

    @pytest.mark.slow
    def test_models(self, made, folder):
        trainer, history, raw = made
        for epoch, loss in enumerate(history["val_loss"], 1):
            saved = keras.saving.load_model(folder / f"epoch_{epoch}.keras")
            assert loss_of(saved) == pytest.approx(loss, rel=1e-5)
        assert_same(saved, trainer.model)
        assert_same(keras.saving.load_model(folder / "step.keras"), trainer.model)
        saved.set_weights(raw.weights)
        assert farthest(saved, trainer.model) > 0.05, "otherwise this would show nothing"

    @pytest.mark.slow
    def test_weights(self, made, folder):
        _, history, _ = made
        again = trainer_of().model
        for epoch, loss in enumerate(history["val_loss"], 1):
            again.load_weights(folder / f"epoch_{epoch}.weights.h5")
            assert loss_of(again) == pytest.approx(loss, rel=1e-5)

    @pytest.mark.slow
    def test_training_is_the_same_as_without_looking(self, made, place):
        trainer, history, _ = made
        quiet = trainer_of(place)
        assert fit(quiet, 2)["loss"] == pytest.approx(history["loss"], rel=1e-6)
        assert_same(quiet.model, trainer.model)


class TestEarlyStopping:
    def test_restores_what_was_best_and_goes_on_from_it(self):
        trainer = trainer_of()
        stop = keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True, mode="max")
        history = fit(trainer, validation_data=(IMAGES, LABELS), callbacks=[stop])
        best = max(history["val_loss"])
        assert best != history["val_loss"][-1]
        assert loss_of(trainer.model) == pytest.approx(best, rel=1e-5)
        weights = trainer.get_weights()
        fit(trainer, initial_epoch=3)
        for one, other in zip(trainer.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_keras_own_callback_changes_nothing():
    plain = trainer_of()
    expected = fit(plain, validation_data=(IMAGES, LABELS))
    for swap_on_epoch, as_list in ((False, True), (True, False)):
        own, swap = trainer_of(), keras.callbacks.SwapEMAWeights(swap_on_epoch=swap_on_epoch)
        history = fit(own, validation_data=(IMAGES, LABELS), callbacks=[swap] if as_list else swap)
        for name, values in expected.items():
            assert history[name] == pytest.approx(values, rel=1e-6), name
        assert_same(own.model, plain.model)


def test_a_training_without_steps_changes_nothing():
    """Keras' averages begin with zeros."""
    trainer = trainer_of()
    before = trainer.get_weights()
    fit(trainer, epochs=2, initial_epoch=2)
    for one, other in zip(trainer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_training_that_is_broken_off_ends_with_the_average():
    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.measured = logs["val_loss"]
            raise KeyboardInterrupt

    trainer, broken = trainer_of(), Break()
    with pytest.raises(KeyboardInterrupt):
        fit(trainer, validation_data=(IMAGES, LABELS), callbacks=[broken])
    assert loss_of(trainer.model) == pytest.approx(broken.measured, rel=1e-5)
    assert trainer.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(broken.measured, rel=1e-5)


@pytest.mark.slow
def test_weights_that_are_set_are_those_that_are_measured():
    trainer = trainer_of()
    fit(trainer)
    zeros = [np.zeros_like(weight) for weight in trainer.get_weights()]
    trainer.set_weights(zeros)
    assert trainer.evaluate(IMAGES, LABELS, verbose=0)[0] == pytest.approx(np.log(3), rel=1e-5)
    fit(trainer, epochs=1, initial_epoch=1)
    assert loss_of(trainer.model) == pytest.approx(np.log(3), rel=1e-5)


class TestFilesOfWeights:
    @pytest.mark.slow
    def test_a_training_goes_on_from_a_backup_as_if_nothing_had_happened(self, tmp_path):
        class Break(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                if epoch == 1:
                    raise KeyboardInterrupt

        backup = functools.partial(keras.callbacks.BackupAndRestore, str(tmp_path / "backup"))
        with pytest.raises(KeyboardInterrupt):
            fit(trainer_of(), epochs=4, callbacks=[backup(), Break()])
        again, undisturbed = trainer_of(), trainer_of()
        history = fit(again, epochs=4, callbacks=[backup()])
        assert history["loss"] == pytest.approx(fit(undisturbed, epochs=4)["loss"][2:], rel=1e-6)
        assert_same(again.model, undisturbed.model)
        assert int(again.optimizer.iterations) == 8

    @pytest.mark.slow
    @pytest.mark.parametrize("averaged", [False, True])
    def test_between_two_trainings(self, averaged, tmp_path):
        first, second = trainer_of(averaged=averaged), trainer_of(averaged=averaged)
        fit(first)
        first.save_weights(tmp_path / "state.weights.h5")
        second.load_weights(tmp_path / "state.weights.h5")
        assert_same(first.model, second.model)
        assert fit(first)["loss"] == pytest.approx(fit(second)["loss"], rel=1e-6)
        assert_same(first.model, second.model)

    def test_of_the_model_alone(self, tmp_path):
        first, second = trainer_of(), trainer_of()
        fit(first)
        first.model.save_weights(tmp_path / "plain.weights.h5")
        fit(second, epochs=1)
        second.load_weights(tmp_path / "plain.weights.h5")
        assert_same(first.model, second.model)
        fit(second, epochs=1, initial_epoch=1)
        assert_same(first.model, second.model)

    def test_before_compiling(self, tmp_path):
        trainer = Trainer(trainer_of().model)
        trainer.save_weights(tmp_path / "plain.weights.h5")
        trainer.load_weights(tmp_path / "plain.weights.h5")


def test_keras_stores_the_optimizer_under_the_name_that_is_looked_for(tmp_path):
    """What `weight_files` relies on."""
    trainer = trainer_of()
    fit(trainer)
    weight_files.save_weights(trainer.model, trainer.optimizer, False, tmp_path / "state.weights.h5")
    assert not trainer.model.compiled
    again = trainer_of()
    assert weight_files.load_weights(again.model, again.optimizer, tmp_path / "state.weights.h5") == (True, False)
    assert int(again.optimizer.iterations) == 6
