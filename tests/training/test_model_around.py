"""A Trainer is an ordinary Keras model: what users call, what callbacks do, and what files hold."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.training import AdamW, DistributedOptimizer, Momentum, SharpnessAware, Trainer, create_strategy
from tests import families

DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.standard_normal((16, 4)).astype(np.float32)
LABELS = (np.arange(16) % 3).astype(np.int32)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
PLACES = ("one_device", "mirrored")
FITTING = {"batch_size": 8, "shuffle": False, "verbose": 0}


@functools.cache
def strategy(place):
    return tf.distribute.get_strategy() if place == "one_device" else create_strategy("mirrored")


def network():
    """Always the same weights."""
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(6, "tanh"), keras.layers.Dense(3)], name="network")


def trainer_of(place="one_device", optimizer=None, model=network, compiling=(), **options):
    with strategy(place).scope():
        trainer = Trainer(model(), **options)
        trainer.compile(optimizer() if optimizer else Momentum(0.1), LOSS, metrics=["accuracy"], **dict(compiling))
    return trainer


def averaging():
    return AdamW(0.05, use_ema=True, ema_momentum=0.8)


def assert_same(first, second, tolerance=0.0):
    for one, other in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("place", PLACES)
class TestSingleBatches:
    @pytest.mark.slow
    def test_train_on_batch(self, place):
        by_batch, by_fit = trainer_of(place), trainer_of(place)
        logs = [by_batch.train_on_batch(IMAGES, LABELS, return_dict=True) for _ in range(3)]
        history = by_fit.fit(IMAGES, LABELS, **{**FITTING, "batch_size": 16}, epochs=3).history
        assert [each["loss"] for each in logs] == pytest.approx(history["loss"], rel=1e-5)
        assert_same(by_batch, by_fit, 1e-6)

    def test_test_and_predict_on_batch(self, place):
        trainer = trainer_of(place)
        measured = trainer.test_on_batch(IMAGES, LABELS, return_dict=True)
        evaluated = trainer.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
        assert measured == pytest.approx(evaluated, rel=1e-6)
        np.testing.assert_allclose(trainer.predict_on_batch(IMAGES), trainer.model(IMAGES), atol=1e-6)

    def test_weights_of_a_batch(self, place):
        trainer, weights = trainer_of(place), np.array([1.0] * 8 + [0.0] * 8, np.float32)
        measured = trainer.test_on_batch(IMAGES, LABELS, weights, return_dict=True)
        assert measured["loss"] == pytest.approx(float(LOSS(LABELS[:8], trainer.model(IMAGES[:8]))), rel=1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("with_labels", [False, True])
def test_predict_on_data_sets(place, with_labels):
    values = (IMAGES, LABELS, np.ones(16, np.float32)) if with_labels else IMAGES
    trainer, data = trainer_of(place), tf.data.Dataset.from_tensor_slices(values).batch(8)
    np.testing.assert_allclose(trainer.predict(data, verbose=0), trainer.model(IMAGES), atol=1e-6)


class TestFilesOfWeights:
    @pytest.mark.parametrize(
        ("place", "optimizer"),
        [
            pytest.param("mirrored", averaging, marks=pytest.mark.slow),
            ("one_device", lambda: DistributedOptimizer("adam", accum_steps=3)),
        ],
    )
    def test_a_checkpoint_is_loaded_into_trainer_and_model(self, tmp_path, place, optimizer):
        path = str(tmp_path / "epoch_{epoch}.weights.h5")
        first, again = trainer_of(place, optimizer), trainer_of(place, optimizer)
        saving = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
        first.fit(IMAGES, LABELS, **FITTING, epochs=4, callbacks=[saving])
        again.load_weights(path.format(epoch=2))
        inner = network()
        inner.load_weights(path.format(epoch=2))
        again.fit(IMAGES, LABELS, **FITTING, epochs=4, initial_epoch=2)
        assert_same(first, again, 1e-6)
        assert np.any(inner.get_weights()[0] != first.get_weights()[0])
        inner.load_weights(path.format(epoch=4))
        assert_same(inner, first.model)
        compiled = network()
        compiled.compile(optimizer() if optimizer else Momentum(0.1), LOSS)
        compiled.optimizer.build(compiled.trainable_variables)
        compiled.load_weights(path.format(epoch=4))
        assert_same(compiled, first.model)

    def test_the_state_of_another_optimizer_is_left_out_with_a_warning(self, tmp_path):
        first, other = trainer_of(optimizer=averaging), trainer_of()
        first.fit(IMAGES, LABELS, **FITTING)
        first.save_weights(tmp_path / "adamw.weights.h5")
        with pytest.warns(UserWarning, match="state of another optimizer than Momentum.*the weights are loaded"):
            other.load_weights(tmp_path / "adamw.weights.h5")
        assert_same(first, other)

    @pytest.mark.parametrize("options", [{}, {"max_shard_size": 1.0}])
    def test_files_without_a_place_for_the_optimizer_are_refused(self, tmp_path, options):
        path = tmp_path / ("weights.weights.json" if options else "weights.h5")
        with pytest.raises(ValueError, match=r"in one file ….weights.h5, not in .*weights"):
            trainer_of().save_weights(path, **options)


@pytest.mark.slow
def test_backup_in_the_midst_of_an_epoch(tmp_path):
    """One at its end: tests/training/test_trainer_averages.py."""

    class Break(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = functools.partial(keras.callbacks.BackupAndRestore, str(tmp_path / "backup"), save_freq=2)
    with pytest.raises(KeyboardInterrupt):
        trainer_of(optimizer=averaging).fit(IMAGES, LABELS, **FITTING, epochs=4, callbacks=[backup(), Break()])
    again = trainer_of(optimizer=averaging)
    again.fit(IMAGES, LABELS, **FITTING, epochs=4, callbacks=[backup()])
    # Keras begins the epoch of a backup anew; with one in its midst it is trained on twice.
    assert int(again.optimizer.iterations) >= 8


class TestSwappingCallback:
    def test_of_a_list_of_keras(self):
        """`CallbackList` is what Keras makes of them; some pass it themselves."""
        own, plain = trainer_of(optimizer=averaging), trainer_of(optimizer=averaging)
        callbacks = keras.callbacks.CallbackList(
            [keras.callbacks.SwapEMAWeights()], add_history=True, model=own, epochs=2, verbose=0
        )
        own.fit(IMAGES, LABELS, **FITTING, epochs=2, callbacks=callbacks)
        plain.fit(IMAGES, LABELS, **FITTING, epochs=2)
        assert_same(own, plain)

    def test_of_an_evaluation_after_single_batches(self):
        """The average is kept beside the weights then, as in Keras."""
        trainer = trainer_of(optimizer=averaging)
        for _ in range(3):
            trainer.train_on_batch(IMAGES, LABELS)
        raw = trainer.evaluate(IMAGES, LABELS, verbose=0)
        averaged = trainer.evaluate(IMAGES, LABELS, verbose=0, callbacks=[keras.callbacks.SwapEMAWeights()])
        assert raw != averaged
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
        assert trainer.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(averaged, rel=1e-5)


@pytest.mark.parametrize("auto_scale_loss", [False, True])
def test_scaling_of_the_loss_has_nothing_to_do(auto_scale_loss):
    assert type(trainer_of(compiling={"auto_scale_loss": auto_scale_loss}).optimizer) is Momentum


def two_towers(outputs):
    """Two inputs and two outputs, as lists or as dictionaries."""
    keras.utils.set_random_seed(0)
    left, right = keras.Input((4,), name="left"), keras.Input((2,), name="right")
    both = keras.layers.Concatenate()([keras.layers.Dense(3)(left), right])
    classes, size = keras.layers.Dense(3, name="classes")(both), keras.layers.Dense(1, name="size")(both)
    if outputs is dict:
        return keras.Model({"left": left, "right": right}, {"classes": classes, "size": size})
    return keras.Model([left, right], [classes, size])


def structured(kind, weighted):
    """Inputs, targets and weights of such a model."""
    inputs = {"left": IMAGES, "right": IMAGES[:, :2]}
    targets = {"classes": LABELS, "size": IMAGES[:, :1]}
    weights = {"classes": np.linspace(0, 1, 16, dtype=np.float32), "size": np.ones(16, np.float32)}
    values = (inputs, targets, weights) if weighted else (inputs, targets)
    return values if kind is dict else tuple(list(each.values()) for each in values)


@pytest.mark.parametrize(
    ("kind", "weighted", "place"),
    [pytest.param(dict, True, "mirrored", marks=pytest.mark.slow), (list, False, "one_device")],
)
def test_several_inputs_and_outputs(kind, weighted, place):
    """In micro-batches, as Keras' own training of the model on the whole batch."""
    losses, weights = {"classes": LOSS, "size": "mse"}, {"classes": 1.0, "size": 0.5}
    metrics = {"classes": ["accuracy"], "size": ["mae"]}
    arguments = [each if kind is dict else list(each.values()) for each in (losses, weights, metrics)]
    with strategy(place).scope():
        trainer = Trainer(two_towers(kind), accum_steps=2)
        trainer.compile(keras.optimizers.SGD(0.1), *arguments)
    stock = two_towers(kind)
    stock.compile(keras.optimizers.SGD(0.1), *arguments)
    inputs, targets, *rest = structured(kind, weighted)
    fitting = {**FITTING, "epochs": 2, **({"sample_weight": rest[0]} if rest else {})}
    found = trainer.fit(inputs, targets, **fitting).history
    expected = stock.fit(inputs, targets, **fitting).history
    assert_same(trainer, stock, 1e-6)
    assert found.keys() - {"grad_norm"} == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-5), name
    measured = trainer.evaluate(inputs, targets, verbose=0, return_dict=True)
    assert measured == pytest.approx(stock.evaluate(inputs, targets, verbose=0, return_dict=True), rel=1e-5)
    batch = tf.nest.map_structure(lambda values: values[:8], (inputs, targets))
    assert len(trainer.train_on_batch(*batch)) == len(expected) + 1
    for one, other in zip(
        *(keras.tree.flatten(m.predict(inputs, verbose=0)) for m in (trainer, trainer.model)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-6)


class TestOfWhatModels:
    def test_a_sequential_that_is_built_later_is_refused_before_it_is_trained(self):
        trainer = Trainer(keras.Sequential([keras.layers.Dense(3)]))
        with pytest.raises(ValueError, match=r"layer 'dense.*' of 'sequential.*' is not built; begin .* keras.Input"):
            trainer.compile("sgd", LOSS)
        trainer.model.build((None, 4))
        trainer.compile("sgd", LOSS)
        trainer.fit(IMAGES, LABELS, **FITTING)

    def test_a_subclass_around_built_layers(self):
        class Subclass(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = network()

            def call(self, x, training=None):
                return self.inner(x, training=training)

        trainer, expected = trainer_of(model=Subclass, accum_steps=2), trainer_of()
        trainer.fit(IMAGES, LABELS, **FITTING)
        expected.fit(IMAGES, LABELS, **FITTING)
        assert_same(trainer, expected, 1e-6)

    def test_nothing_to_train(self):
        model = network()
        model.trainable = False
        trainer = trainer_of(model=lambda: model)
        assert trainer.evaluate(IMAGES, LABELS, verbose=0)
        with pytest.raises(ValueError, match="nothing to train"):
            trainer.fit(IMAGES, LABELS, **FITTING)


class TestClones:
    def test_a_clone_is_a_trainer_of_a_clone(self):
        trainer = trainer_of(clip_norm=0.5, accum_steps=2, sharpness=SharpnessAware(0.05))
        clone = keras.models.clone_model(trainer)
        assert type(clone) is Trainer
        assert (clone.clip_norm, clone.accum_steps, clone.sharpness) == (0.5, 2, SharpnessAware(0.05))
        assert clone.model is not trainer.model
        assert clone.get_config() == trainer.get_config()
        clone.set_weights(trainer.get_weights())
        clone.compile(Momentum(0.1), LOSS, metrics=["accuracy"])
        for each in (clone, trainer):
            each.fit(IMAGES, LABELS, **FITTING)
        assert_same(clone, trainer, 1e-6)

    def test_what_a_step_does_first_cannot_be_cloned(self):
        trainer = trainer_of(prepare=lambda images, labels: (images, labels))
        with pytest.raises(ValueError, match=r"with prepare has no configuration; save or clone trainer.model"):
            keras.models.clone_model(trainer)

    def test_frozen_layers_of_our_models_stay_frozen(self):
        model = families.vit()
        model.get_layer("Transformer").blocks[0].trainable = False
        clone = keras.models.clone_model(Trainer(model))
        assert [v.trainable for v in clone.model.variables] == [v.trainable for v in model.variables]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "clip_norm"), [(averaging, 0.5), (lambda: DistributedOptimizer("adam", accum_steps=3), None)]
)
def test_a_saved_trainer_goes_on_with_its_optimizer(tmp_path, optimizer, clip_norm):
    trainer = trainer_of(optimizer=optimizer, clip_norm=clip_norm, accum_steps=2)
    trainer.fit(IMAGES, LABELS, **FITTING)
    keras.saving.save_model(trainer, tmp_path / "trainer.keras")
    loaded = keras.saving.load_model(tmp_path / "trainer.keras")
    assert type(loaded) is Trainer
    assert (loaded.clip_norm, loaded.accum_steps) == (trainer.clip_norm, 2)
    for each in (loaded, trainer):
        each.fit(IMAGES, LABELS, **FITTING, epochs=2, initial_epoch=1)
    assert_same(loaded, trainer)
    for one, other in zip(loaded.optimizer.variables, trainer.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


@functools.cache
def trained(**compiling):
    """Clipped, accumulated and averaged."""
    options = {"clip_norm": 0.1, "accum_steps": 2, "use_ema": True, "ema_momentum": 0.8}
    trainer = trainer_of(optimizer=lambda: Momentum(0.1, **options), compiling=compiling)
    trainer.fit(IMAGES, LABELS, **{**FITTING, "batch_size": 4}, epochs=2)
    trainer.train_on_batch(IMAGES, LABELS)
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize(
    "compiling", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 3}], ids=str
)
def test_ways_of_running(compiling):
    found, expected = trained(**compiling), trained()
    assert_same(found, expected, 1e-6)
    assert found.evaluate(IMAGES, LABELS, verbose=0) == pytest.approx(expected.evaluate(IMAGES, LABELS, verbose=0))
    np.testing.assert_allclose(found.predict(IMAGES, verbose=0), expected.predict(IMAGES, verbose=0), atol=1e-6)
