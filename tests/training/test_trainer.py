"""The train step on one device and on two: the same numbers, whatever is clipped, accumulated or averaged."""

import functools
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import Recipe, random_mix
from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.metrics import accuracy
from keras_nest.models.base import STRETCHED_PREPROCESSING
from keras_nest.models.losses import cross_entropy, sigmoid_cross_entropy
from keras_nest.training import AdamW, Momentum, Trainer, create_strategy, distribute
from keras_nest.training.step_functions import StepFunction, first_spec
from tests import keras_models

STEPS, BATCH, CLASSES = 10, 8, 3
DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.standard_normal((STEPS, BATCH, 4, 4, 2)).astype(np.float32)
LABELS = DRAWS.integers(0, CLASSES, (STEPS, BATCH)).astype(np.int32)
PLACES = ("one_device", "mirrored")
# Adam makes a whole step of a gradient that is mere rounding; with a large epsilon it does not.
OPTIMIZERS = {
    "adamw": lambda **options: AdamW(0.01, weight_decay=0.1, epsilon=1e-3, **options),
    "momentum": lambda **options: Momentum(0.1, accumulator_dtype="bfloat16", **options),
}
# A sum in another order may round an accumulator to the next bfloat16, by 2^-8 of a step of 0.1.
TOLERANCES = {"adamw": 1e-5, "momentum": 1e-3}
AVERAGED = {"use_ema": True, "ema_momentum": 0.8}


@functools.cache
def strategy(place):
    return tf.distribute.get_strategy() if place == "one_device" else create_strategy("mirrored")


def network(dtype="float32"):
    """Two dense layers; the first has a term of the loss."""
    inputs = keras.Input(IMAGES.shape[2:])
    decay = keras.regularizers.L2(0.01)
    hidden = keras.layers.Dense(6, "tanh", kernel_regularizer=decay, dtype=dtype)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))
    keras_models.randomize(model)
    return model


def trainer_of(place="one_device", optimizer=None, model=network, compiling=(), **options):
    with strategy(place).scope():
        trainer = Trainer(model(), **options)
        trainer.compile(
            optimizer() if optimizer else Momentum(0.1), cross_entropy, weighted_metrics=[accuracy], **dict(compiling)
        )
    return trainer


def batches(place, *values):
    """Batches of a strategy; the first axis counts them."""
    return distribute(strategy(place), lambda host: tf.data.Dataset.from_tensor_slices(values))


def fit(trainer, place="one_device", images=IMAGES, labels=LABELS):
    """History of one epoch, and the weights after it."""
    history = trainer.fit(batches(place, images, labels), shuffle=False, verbose=0).history
    return history, trainer.model.get_weights()


@functools.cache
def trained(place, optimizer="adamw", averaged=False, compiling=(), **options):
    make = functools.partial(OPTIMIZERS[optimizer], **AVERAGED if averaged else {})
    return fit(trainer_of(place, make, compiling=compiling, **options), place)


def assert_same(found, expected, tolerance):
    for name, values in expected[0].items():
        assert found[0][name] == pytest.approx(values, abs=tolerance), name
    for ours, theirs in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


def farthest(found, expected):
    return max(np.abs(ours - theirs).max() for ours, theirs in zip(found[1], expected[1], strict=True))


ALL = {"clip_norm": 0.1, "accum_steps": 2, "averaged": True}


class TestSameNumbers:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("optimizer", "options"),
        [("adamw", {}), ("momentum", {"accum_steps": 2}), ("adamw", ALL)],
    )
    def test_two_replicas_are_one_device(self, optimizer, options):
        expected = trained("one_device", optimizer, **options)
        assert_same(trained("mirrored", optimizer, **options), expected, TOLERANCES[optimizer])

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_parts_are_the_whole(self, optimizer):
        assert_same(trained("one_device", optimizer, accum_steps=2), trained("one_device", optimizer), 1e-5)

    @pytest.mark.parametrize("options", [{"clip_norm": 0.1}, ALL])
    def test_options_matter(self, options):
        """Otherwise the tests above would show nothing."""
        plain = trained("one_device", **{"clip_norm": 0.1} if "averaged" in options else {})
        assert farthest(trained("one_device", **options), plain) > 10 * TOLERANCES["adamw"]


def test_stock_keras_clips_before_the_sum():
    """Why clipping is ours."""
    weights = []
    for place in PLACES:
        with strategy(place).scope():
            model = network()
            model.compile(keras.optimizers.SGD(0.1, global_clipnorm=0.1), cross_entropy)
        model.fit(batches(place, IMAGES, LABELS), shuffle=False, verbose=0)
        weights.append(({}, model.get_weights()))
    assert farthest(*weights) > 1e-3


@pytest.mark.slow
def test_several_steps_in_one_call():
    """On one device: those that are left over."""
    assert_same(trained("mirrored", compiling=(("steps_per_execution", 5),)), trained("one_device"), 1e-5)


@pytest.mark.slow
def test_batches_that_are_left_over():
    """9 batches; what Keras has no whole call for is trained on too."""
    images, labels = IMAGES[:9], LABELS[:9]
    part, results = batches("one_device", images, labels), []
    for steps in (1, 4, 16):
        trainer = trainer_of(compiling={"steps_per_execution": steps})
        measured = trainer.evaluate(part, verbose=0, return_dict=True)
        history, weights = fit(trainer, images=images, labels=labels)
        results.append(({**history, **{f"test_{name}": [value] for name, value in measured.items()}}, weights))
    for found in results[1:]:
        assert_same(found, results[0], 1e-5)


@pytest.mark.parametrize(
    ("place", "options"),
    [("mirrored", {}), ("one_device", {"steps_per_epoch": 9}), ("mirrored", {"steps_per_epoch": 9})],
)
def test_batches_that_would_be_lost_or_doubled(place, options):
    trainer, part = trainer_of(place, compiling={"steps_per_execution": 2}), batches(place, IMAGES[:9], LABELS[:9])
    with pytest.raises(ValueError, match="9 batches are no multiple of steps_per_execution, 2"):
        trainer.fit(part, verbose=0, shuffle=False, **options)


class TestChangesAfterCompiling:
    def test_a_layer_that_is_frozen_between_two_trainings_stays(self):
        trainer = trainer_of()
        fit(trainer)
        layer = trainer.model.layers[-1]
        before, layer.trainable = layer.get_weights(), False
        fit(trainer)
        for one, other in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_clipping(self):
        trainer = trainer_of(optimizer=lambda: keras.optimizers.SGD(0.1))
        fit(trainer)
        before, trainer.clip_norm = trainer.model.get_weights(), 1e-6
        fit(trainer)
        assert farthest(((), trainer.model.get_weights()), ((), before)) < 1e-5


class TestCompiledByXla:
    def test_same_numbers(self):
        compiled = trained("one_device", compiling=(("jit_compile", True),), **ALL)
        assert_same(compiled, trained("one_device", **ALL), 1e-5)

    @pytest.mark.slow
    def test_forward_and_backward_pass_of_several_replicas(self):
        compiled = trained("mirrored", compiling=(("jit_compile", True), ("steps_per_execution", 5)), **ALL)
        assert_same(compiled, trained("mirrored", **ALL), 1e-6)

    def test_what_is_compiled_of_several_replicas(self):
        trainer = trainer_of("mirrored", compiling={"jit_compile": True})
        data = batches("mirrored", IMAGES, LABELS)
        trainer.build_metrics(first_spec(strategy("mirrored"), iter(data))[1])
        run = StepFunction(trainer.train_step, strategy("mirrored"), 1, jit_compile=False, run_eagerly=False)
        graph = run.on_iterator.get_concrete_function(iter(data)).graph.as_graph_def()
        compiled = [function for function in graph.library.function if function.attr["_XlaMustCompile"].b]
        assert sum(node.op == "MatMul" for function in compiled for node in function.node_def) > 2
        assert "MatMul" not in {node.op for node in graph.node}

    def test_the_whole_step_with_static_shapes(self):
        trainer = trainer_of(compiling={"jit_compile": True}, accum_steps=2)
        data = batches("one_device", IMAGES, LABELS)
        trainer.build_metrics(data.element_spec)
        run = StepFunction(trainer.train_step, strategy("one_device"), 1, jit_compile=True, run_eagerly=False)
        graph = run.on_iterator.get_concrete_function(iter(data)).graph
        (step,) = [operation for operation in graph.get_operations() if "PartitionedCall" in operation.type]
        (body,) = [f for f in graph.as_graph_def().library.function if f.signature.name == step.get_attr("f").name]
        assert body.attr["_XlaMustCompile"].b
        assert all(tensor.shape.is_fully_defined() for tensor in step.inputs)
        # Nothing is computed beside it, but for how long the batch was waited for.
        beside = {operation.type for operation in graph.get_operations()} - {step.type}
        measuring = {"Timestamp", "Sub", "AssignAddVariableOp"}
        assert beside == {"Placeholder", "IteratorGetNext", "Identity", "NoOp"} | measuring


class TestDropPath:
    """On images of ones, the mean of the answers is twice the share of images that were kept."""

    STEPS, BATCH = 60, 16

    @staticmethod
    def keeping(rate=0.5):
        inputs = keras.Input((1,))
        kept = StochasticDepth(rate, seed=5)(inputs)
        return keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(kept))

    @staticmethod
    @functools.cache
    def kept(place):
        """How many images of each step were kept."""
        steps, batch = TestDropPath.STEPS, TestDropPath.BATCH
        with strategy(place).scope():
            trainer = Trainer(TestDropPath.keeping())
            trainer.compile(keras.optimizers.SGD(0.0), lambda labels, answers: answers[:, 0])
        images = np.ones((steps, batch, 1), np.float32)
        fitting = {"epochs": steps, "steps_per_epoch": 1, "shuffle": False, "verbose": 0}
        losses = trainer.fit(batches(place, images, images[..., 0]), **fitting).history["loss"]
        return np.rint(np.array(losses) * batch / 2)

    @pytest.mark.slow
    def test_replicas_draw_masks_of_their_own(self):
        """With the same mask on both, every number would be even."""
        odd = self.kept("mirrored") % 2
        assert 0.3 < odd.mean() < 0.7

    def test_losses_agree_in_expectation(self):
        """The mean of 60 steps of 16 draws has a deviation of 2 / sqrt(60) images."""
        assert not np.array_equal(self.kept("mirrored"), self.kept("one_device"))
        for place in PLACES:
            assert self.kept(place).mean() == pytest.approx(self.BATCH / 2, abs=3 * 2 / 60**0.5), place

    def test_masks_are_independent(self):
        two = strategy("mirrored")
        with two.scope():
            trainer = Trainer(self.keeping())
        answers = two.run(lambda: trainer(tf.ones((400, 1)), training=True))
        first, second = (np.array(values)[:, 0] > 0 for values in two.experimental_local_results(answers))
        # Four deviations of a share of 400.
        for share in (first.mean(), second.mean(), (first == second).mean()):
            assert share == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("place", PLACES)
class TestEvaluation:
    def test_images_of_weight_zero_are_not_there(self, place):
        """11 images in two batches of 8: the second replica gets nothing real of the second one."""
        trainer, count = trainer_of(place), 11
        images, labels = IMAGES[:2].copy(), LABELS[:2].copy()
        weights = (np.arange(2 * BATCH) < count).astype(np.float32).reshape(2, BATCH)
        images[weights == 0] = 100
        measured = trainer.evaluate(batches(place, images, labels, weights), verbose=0, return_dict=True)
        logits = trainer.model(images.reshape(-1, *images.shape[2:])[:count])
        real = labels.reshape(-1)[:count]
        loss = float(np.mean(cross_entropy(real, logits)) + sum(trainer.model.losses))
        assert measured["loss"] == pytest.approx(loss, rel=1e-6)
        assert measured["accuracy"] == pytest.approx(float(np.mean(accuracy(real, logits))), rel=1e-6)


def test_evaluation_during_training():
    trainer, part = trainer_of(), batches("one_device", IMAGES[:3], LABELS[:3])
    options = {"validation_data": part, "shuffle": False, "verbose": 0, "epochs": 2}
    history = trainer.fit(batches("one_device", IMAGES, LABELS), **options).history
    assert list(history) == ["accuracy", "grad_norm", "loss", "val_accuracy", "val_loss"]
    assert all(len(values) == 2 for values in history.values())
    measured = trainer.evaluate(part, verbose=0, return_dict=True)
    assert measured == pytest.approx({name: history[f"val_{name}"][-1] for name in ("accuracy", "loss")}, rel=1e-6)


@pytest.mark.parametrize("place", ["one_device", "mirrored"])
def test_how_long_data_is_waited_for(place):
    """Of one device; a data set whose batches take a while, the first of which is fetched before the steps."""

    def slowly(*batch):
        pause = tf.py_function(lambda: time.sleep(0.05), [], [])
        with tf.control_dependencies([pause]):
            return tf.nest.map_structure(tf.identity, batch)

    trainer = trainer_of(place)
    assert trainer.waited is None
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    data = data.map(slowly).with_options(_without_prefetching())
    trainer.fit(
        data if place == "one_device" else distribute(strategy(place), lambda host: data), shuffle=False, verbose=0
    )
    if place == "mirrored":
        assert trainer.waited is None
    else:
        assert 2 * 0.05 <= trainer.waited < 60


def _without_prefetching():
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return options


class TestWatch:
    @pytest.mark.parametrize(("place", "places"), [("one_device", [1]), ("mirrored", [1, 6])])
    def test_where_a_nan_appears(self, place, places):
        """With two replicas, in the half of the one or the other."""
        trainer = trainer_of(place, lambda: keras.optimizers.SGD(0.1))
        weights = trainer.get_weights()
        for image in places:
            images = IMAGES.copy()
            images[7, image, 2, 2, 1] = np.nan
            trainer.set_weights(weights)
            history, _ = fit(trainer, place, images)
            assert trainer.watch.finite_steps == 7
            assert np.isnan(trainer.watch.norm)
            assert np.isnan(history["loss"][0])
            trainer.reset_metrics()
            assert trainer.watch.finite_steps == 0

    def test_labels_are_seen_too(self):
        trainer, labels = trainer_of(), np.eye(CLASSES, dtype=np.float32)[LABELS]
        labels[3, 5, 1] = np.inf
        fit(trainer, labels=labels)
        assert trainer.watch.finite_steps == 3

    def test_mean_norm(self):
        """Without metrics at every step, too."""
        trainer, quiet = trainer_of(), trainer_of()
        quiet.log_every_step = False
        options = {"steps_per_epoch": 1, "epochs": STEPS, "shuffle": False, "verbose": 0}
        norms = trainer.fit(batches("one_device", IMAGES, LABELS), **options).history["grad_norm"]
        history, _ = fit(quiet)
        assert quiet.watch.norm == pytest.approx(np.mean(norms), rel=1e-6)
        assert quiet.watch.finite_steps == STEPS
        assert history == {}


def test_what_is_left_to_do_with_the_images_is_done_in_the_step():
    """Each replica finishes and mixes its own images."""
    recipe = Recipe(STRETCHED_PREPROCESSING, mix=random_mix)
    pixels = DRAWS.integers(0, 256, (2, BATCH, 4, 4, 3)).astype(np.uint8)
    keys = DRAWS.integers(0, 2**31, (2, BATCH, 2))

    def small():
        inputs = keras.Input((4, 4, 3))
        model = keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Flatten()(inputs)))
        keras_models.randomize(model)
        return model

    def finish(sent, labels):
        images, keys = sent
        return recipe.finish(images, labels, keys, CLASSES)

    trainer = trainer_of("mirrored", model=small, prepare=finish, accum_steps=2)
    found = trainer.fit(batches("mirrored", (pixels, keys), LABELS[:2]), shuffle=False, verbose=0).history
    split = [np.split(values, 2, axis=1) for values in (pixels, keys, LABELS[:2])]
    halves = [
        [finish((p[step], k[step]), y[step]) for p, k, y in zip(*split, strict=True)] for step in range(len(pixels))
    ]
    images, labels = (np.stack([np.concatenate([half[part] for half in step]) for step in halves]) for part in (0, 1))
    assert labels.shape == (2, BATCH, CLASSES)
    expected = fit(trainer_of(model=small), images=images, labels=labels)
    assert_same((found, trainer.model.get_weights()), expected, 1e-5)


def test_mixed_precision_is_close():
    trainer = trainer_of(model=functools.partial(network, "mixed_bfloat16"))
    history, weights = fit(trainer)
    exact, exact_weights = fit(trainer_of())
    assert {variable.dtype for variable in trainer.trainable_variables} == {"float32"}
    assert history["loss"] == pytest.approx(exact["loss"], rel=1e-2)
    assert 0 < farthest(({}, weights), ({}, exact_weights)) < 0.02


def test_arrays_and_a_last_batch_that_is_smaller():
    images, labels = IMAGES.reshape(-1, 4, 4, 2)[:20], LABELS.reshape(-1)[:20]
    trainer = trainer_of()
    history = trainer.fit(images, labels, batch_size=8, shuffle=False, verbose=0, epochs=3).history
    assert history["loss"][-1] < history["loss"][0]
    measured = trainer.evaluate(images, labels, batch_size=8, verbose=0)
    loss = float(np.mean(cross_entropy(labels, trainer.model(images))) + sum(trainer.model.losses))
    assert measured[0] == pytest.approx(loss, rel=1e-6)


def test_data_of_unknown_length():
    """Keras says that it came to an end, once."""
    trainer, options = trainer_of(), tf.data.Options()
    # What tunes a data set that came to an end may hold up the program for a minute, when it is thrown away.
    options.autotune.enabled = False
    data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).filter(lambda images, labels: True)
    with pytest.warns(UserWarning, match="ran out of data"):
        history = trainer.fit(data.with_options(options), shuffle=False, verbose=0).history
    assert_same((history, trainer.model.get_weights()), fit(trainer_of()), 1e-6)


def test_what_is_saved_is_the_inner_model(tmp_path):
    trainer = trainer_of()
    trainer.save(tmp_path / "model.keras")
    trainer.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert (type(loaded), loaded.compiled) == (type(trainer.model), False)
    np.testing.assert_array_equal(loaded(IMAGES[0]), trainer(IMAGES[0]))
    other = keras.models.clone_model(trainer.model)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(IMAGES[0]), trainer(IMAGES[0]))


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"accum_steps": 0}, "accum_steps is 0; it must be 1 or more"),
            ({"clip_norm": -1.0}, "clip_norm is -1.0; it must be positive, or None"),
        ],
    )
    def test_arguments(self, options, message):
        with pytest.raises(ValueError, match=message):
            Trainer(network(), **options)

    @pytest.mark.parametrize(
        ("optimizer", "message"),
        [
            (lambda: keras.optimizers.AdamW(clipnorm=1.0), "The optimizer has clipnorm, which .*; use clip_norm"),
            (
                lambda: keras.optimizers.AdamW(global_clipnorm=1.0),
                "The optimizer has global_clipnorm, which .*; use clip_norm",
            ),
            (lambda: keras.optimizers.AdamW(clipvalue=1.0), "The optimizer has clipvalue, which .*; use clip_norm"),
            (lambda: AdamW(gradient_accumulation_steps=2), "has gradient_accumulation_steps, .*; use accum_steps"),
            (lambda: AdamW(loss_scale_factor=2.0), "The optimizer scales the loss, .*LossScaleOptimizer, outermost"),
            (lambda: keras.optimizers.LossScaleOptimizer(AdamW()), "scales the loss, .*LossScaleOptimizer, outermost"),
        ],
    )
    def test_options_of_the_optimizer(self, optimizer, message):
        with pytest.raises(ValueError, match=message):
            trainer_of(optimizer=optimizer)

    @pytest.mark.parametrize(
        ("loss", "label"),
        [(cross_entropy, -1), (sigmoid_cross_entropy, CLASSES), ("sparse_categorical_crossentropy", 1000)],
    )
    def test_labels_that_are_no_class(self, loss, label):
        trainer = Trainer(network())
        trainer.compile(Momentum(0.1), loss)
        images, labels = IMAGES[0], LABELS[0].copy()
        labels[3] = label
        with pytest.raises(ValueError, match=f"{label}.*; they must be from 0 to 2, as there are 3 classes"):
            trainer.fit(images, labels, verbose=0)
        with pytest.raises(ValueError, match=f"{label}.*; they must be from 0 to 2, as there are 3 classes"):
            trainer.evaluate(images, labels, verbose=0)

    def test_labels_between_two_classes(self):
        with pytest.raises(ValueError, match=r"The loss takes classes, and among the labels is 0.5"):
            trainer_of().fit(IMAGES[0], np.full(BATCH, 0.5), verbose=0)

    def test_a_last_batch_that_does_not_come_out(self):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="batch cannot be divided by accum_steps, 2; drop what"
        ):
            trainer_of(accum_steps=2).fit(*(v.reshape(-1, *v.shape[2:])[:23] for v in (IMAGES, LABELS)), 4, verbose=0)

    def test_parts_that_do_not_come_out(self):
        with pytest.raises(ValueError, match="batch of 8 images cannot be divided by accum_steps, 3"):
            fit(trainer_of(accum_steps=3))
