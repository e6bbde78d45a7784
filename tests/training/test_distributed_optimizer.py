"""Keras' own `fit` with our optimizers: on two replicas as on one device, whatever is clipped or accumulated."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.training import AdamW, DistributedOptimizer, Momentum, Trainer, WarmupDecay, create_strategy

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.standard_normal((48, 5)).astype(np.float32)
LABELS = DRAWS.integers(0, 3, 48)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PLACES = ("one_device", "mirrored")
AVERAGE = {"use_ema": True, "ema_momentum": 0.8}
# With a large epsilon, Adam makes no whole step of a gradient that is mere rounding.
STOCK = functools.partial(keras.optimizers.Adam, 0.05, epsilon=1e-3)
OPTIMIZERS = {
    "adamw": functools.partial(AdamW, 0.05, weight_decay=0.1, epsilon=1e-3, **AVERAGE),
    "momentum": functools.partial(Momentum, 0.1),
    "wrapped": lambda **options: DistributedOptimizer(STOCK(**AVERAGE), **options),
}
CHANGES = [{"clip_norm": 0.05}, {"accum_steps": 3}, {"clip_norm": 0.05, "accum_steps": 3}]


@functools.cache
def strategy(place):
    return tf.distribute.get_strategy() if place == "one_device" else create_strategy("mirrored")


def network():
    """Always the same weights; rows of the embedding that come again have sparse gradients."""
    keras.utils.set_random_seed(0)
    words = keras.Input((5,))
    embedded = keras.layers.Embedding(4, 3)(keras.ops.cast(keras.ops.abs(words), "int32") % 4)
    x = keras.layers.Concatenate()([words, keras.layers.Flatten()(embedded)])
    return keras.Model(words, keras.layers.Dense(3)(x))


def compiled(optimizer, place="one_device"):
    with strategy(place).scope():
        model = network()
        model.compile(optimizer(), LOSS, jit_compile=False)
    return model


def fit(model, batch_size=8, **options):
    return model.fit(
        IMAGES, LABELS, **{"batch_size": batch_size, "epochs": 1, "shuffle": False, "verbose": 0} | options
    )


@functools.cache
def trained(optimizer, place="one_device", batch_size=8, **options):
    model = compiled(functools.partial(OPTIMIZERS[optimizer], **options), place)
    return fit(model, batch_size).history, model.get_weights()


def farthest(found, expected):
    return max(np.abs(one - other).max() for one, other in zip(found[1], expected[1], strict=True))


class TestSameNumbers:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("optimizer", "options"),
        [("adamw", CHANGES[2]), ("momentum", CHANGES[1]), ("wrapped", CHANGES[0])],
        ids=str,
    )
    def test_two_replicas_are_one_device(self, optimizer, options):
        found, expected = trained(optimizer, "mirrored", **options), trained(optimizer, **options)
        assert farthest(found, expected) < 1e-5
        assert found[0]["loss"] == pytest.approx(expected[0]["loss"], rel=1e-5)

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("optimizer", "options"), [("adamw", CHANGES[2]), ("momentum", CHANGES[1]), ("wrapped", CHANGES[2])], ids=str
    )
    def test_steps_that_are_accumulated_are_one_of_the_whole_batch(self, optimizer, options):
        """The average, too: one of updates, not of steps between which no weight moves."""
        whole = trained(optimizer, batch_size=24, **(options | {"accum_steps": 1}))
        assert farthest(trained(optimizer, **options), whole) < 1e-5

    @pytest.mark.parametrize(
        ("optimizer", "options"),
        [("adamw", CHANGES[2]), ("momentum", CHANGES[1]), ("wrapped", CHANGES[0]), ("wrapped", CHANGES[2])],
        ids=str,
    )
    def test_options_matter(self, optimizer, options):
        """Otherwise the tests above would show nothing."""
        assert farthest(trained(optimizer, **options), trained(optimizer)) > 1e-3


@pytest.mark.parametrize("option", [{"clipnorm": 0.05}, {"clipvalue": 0.01}, {"global_clipnorm": 0.05}], ids=str)
def test_what_keras_clips_is_clipped_after_the_sum(option):
    models = [compiled(functools.partial(Momentum, 0.1, **option), place) for place in PLACES]
    assert farthest(*(({}, (fit(model), model.get_weights())[1]) for model in models)) < 1e-5


def test_the_norm_is_that_of_keras():
    """On one device, where that is right; of a clipped mean of gradients, too."""
    stock = compiled(lambda: STOCK(global_clipnorm=0.05, gradient_accumulation_steps=3))
    fit(stock)
    assert farthest(trained("wrapped", **CHANGES[2]), ({}, stock.get_weights())) > 0
    plain = compiled(lambda: DistributedOptimizer(STOCK(), **CHANGES[2]))
    fit(plain)
    np.testing.assert_allclose(plain.get_weights()[1], stock.get_weights()[1], atol=1e-5)


@pytest.mark.parametrize(
    "make", [Momentum, lambda rate, **options: DistributedOptimizer(keras.optimizers.SGD(rate), **options)]
)
def test_updates_are_counted(make):
    """By the schedule, too."""
    rates, seen = WarmupDecay(0.1, steps_per_epoch=2, num_epochs=4), []
    schedule = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(float(model.optimizer.learning_rate))
    )
    model = compiled(functools.partial(make, rates, accum_steps=3))
    fit(model, callbacks=[schedule])
    assert int(model.optimizer.iterations) == 2
    assert seen == pytest.approx([float(rates(step)) for step in (0, 0, 1, 1, 1, 2)])


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "wrapped"])
def test_a_saved_model_goes_on_as_if_nothing_had_happened(tmp_path, optimizer):
    """In the middle of a sum of gradients."""
    model = compiled(functools.partial(OPTIMIZERS[optimizer], clip_norm=0.05, accum_steps=4))
    fit(model)
    assert int(model.optimizer.iterations) == 1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        fit(each)
    assert int(loaded.optimizer.iterations) == 3
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(loaded.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


class TestTheWrapper:
    def test_callbacks_set_the_rate_of_the_inner_optimizer(self):
        model = compiled(lambda: DistributedOptimizer("sgd"))
        fit(model, callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch: 0.25)])
        assert float(model.optimizer.inner_optimizer.learning_rate) == 0.25

    @pytest.mark.slow
    def test_keras_callback_swaps_the_average(self):
        model = compiled(OPTIMIZERS["wrapped"])
        history = fit(model, validation_data=(IMAGES, LABELS), callbacks=[keras.callbacks.SwapEMAWeights(True)])
        assert model.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(history.history["val_loss"][0], rel=1e-5)

    @pytest.mark.slow
    def test_in_a_trainer(self):
        found = {}
        for place in PLACES:
            with strategy(place).scope():
                trainer = Trainer(network(), accum_steps=2)
                trainer.compile(OPTIMIZERS["wrapped"](clip_norm=0.05, accum_steps=3), LOSS)
            fit(trainer)
            found[place] = ({}, trainer.get_weights())
        assert farthest(found["mirrored"], found["one_device"]) < 1e-5
        assert farthest(found["one_device"], trained("wrapped", **CHANGES[2])) < 1e-5


class TestRefused:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: AdamW(clip_norm=-1.0), "clip_norm is -1.0; it must be positive, or None"),
            (lambda: Momentum(accum_steps=0), "accum_steps is 0; it must be 1 or more"),
            (lambda: AdamW(clip_norm=1.0, global_clipnorm=1.0), "clip_norm and global_clipnorm are the same"),
            (lambda: AdamW(accum_steps=2, gradient_accumulation_steps=2), "both accumulate; give accum_steps"),
            (lambda: DistributedOptimizer(AdamW()), "AdamW takes clip_norm and accum_steps itself"),
            (lambda: DistributedOptimizer(STOCK(clipnorm=1.0)), "has clipnorm, .*; use clip_norm"),
            (lambda: DistributedOptimizer(STOCK(global_clipnorm=1.0)), "has global_clipnorm, .*; use clip_norm"),
            (lambda: DistributedOptimizer(STOCK(clipvalue=1.0)), "has clipvalue, .*; use clip_norm"),
            (lambda: DistributedOptimizer(STOCK(gradient_accumulation_steps=2)), "a strategy breaks; use accum_steps"),
            (
                lambda: DistributedOptimizer(STOCK(loss_scale_factor=2.0)),
                "scales the loss, .*LossScaleOptimizer, outermost",
            ),
            (lambda: DistributedOptimizer(keras.optimizers.LossScaleOptimizer(STOCK())), "scales the loss"),
        ],
    )
    def test_arguments(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_keras_own_accumulation_under_a_strategy(self):
        with strategy("mirrored").scope(), pytest.raises(ValueError, match="fails under a strategy; use accum_steps"):
            AdamW(gradient_accumulation_steps=2).build(network().trainable_variables)

    @pytest.mark.parametrize("options", [{"clip_norm": 1.0}, {"accum_steps": 2}])
    def test_clipping_in_two_places(self, options):
        with pytest.raises(ValueError, match="give clip_norm to the optimizer, which clips what it accumulated"):
            Trainer(network(), clip_norm=1.0).compile(AdamW(**options), LOSS)

    def test_float8(self):
        model = keras.layers.Dense(16)
        model.build((None, 16))
        model.quantize("float8")
        with pytest.raises(ValueError, match="float8 trains on one replica and without accum_steps only"):
            AdamW(accum_steps=2).build(model.trainable_variables)
        AdamW(clip_norm=1.0).build(model.trainable_variables)
