"""Contrastive tuning: the loss of the global batch, whatever the number of replicas; a locked tower stays as it is."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.conversion.names import checkpoint_variables
from keras_nest.training import AdamW, create_strategy, distribute
from keras_nest.training.contrastive import ContrastiveTrainer
from tests import lit_models

STEPS, BATCH, WORDS = 4, 8, 11
DRAWS = np.random.default_rng(0)
PAIRS = {
    "images": DRAWS.standard_normal((STEPS, BATCH, 8, 8, 3)).astype(np.float32),
    "tokens": DRAWS.integers(0, WORDS, (STEPS, BATCH, 5)).astype(np.int32),
}
PAIRS["tokens"][:, 1] = PAIRS["tokens"][:, 0]  # one caption of two images
IMAGE = {"class_name": "VisionTransformer", "patch_size": 4, "hidden_size": 8, "num_layers": 1, "num_heads": 2}
IMAGE |= {"mlp_dim": 8, "num_classes": 6}
TEXT = {"class_name": "Bert", "vocab_size": WORDS, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
TEXT |= {"max_len": 5, "out_dim": 6}


@functools.cache
def strategy(place):
    return tf.distribute.get_strategy() if place == "one_device" else create_strategy("mirrored")


def scatter(model):
    """Weights with which every image and every text has an embedding of its own."""
    rng = np.random.default_rng(0)
    for variable in model.weights:
        variable.assign(rng.standard_normal(variable.shape))
    model.get_layer("t").t.assign([2.0])


def trainer_of(place="one_device", locked=False, optimizer=None, **options):
    with strategy(place).scope():
        model = keras_nest.LiT(IMAGE, TEXT, image_size=8)
        scatter(model)
        model.image_model.trainable = not locked
        trainer = ContrastiveTrainer(model, **options)
        trainer.compile(optimizer or AdamW(0.01, weight_decay=0.1, epsilon=1e-3))
    return trainer


def batches(place):
    return distribute(strategy(place), lambda host: tf.data.Dataset.from_tensor_slices(PAIRS))


@functools.cache
def trained(place):
    """With a locked tower and clipped gradients."""
    trainer = trainer_of(place, locked=True, clip_norm=0.1)
    before = trainer.model.get_weights()
    history = trainer.fit(batches(place), shuffle=False, verbose=0).history
    return trainer.model, before, history


def gradients_of_a_step(place):
    """What plain descent at rate 1 takes off the weights in one step, and the loss."""
    trainer = trainer_of(place, optimizer=keras.optimizers.SGD(1.0))
    before = trainer.model.get_weights()
    history = trainer.fit(batches(place), steps_per_epoch=1, shuffle=False, verbose=0).history
    changes = [old - new for old, new in zip(before, trainer.model.get_weights(), strict=True)]
    # Heads of the two towers have the same path.
    return history, dict(zip(map(id, trainer.model.weights), changes, strict=True)), trainer.model


class TestGlobalBatch:
    @pytest.mark.slow
    @pytest.mark.parametrize("place", ["one_device", "mirrored"])
    def test_loss_and_gradients_are_those_of_all_pairs(self, place):
        trainer = trainer_of()
        expected, gradients = lit_models.loss_and_gradients(trainer.model, PAIRS["images"][0], PAIRS["tokens"][0])
        history, taken, model = gradients_of_a_step(place)
        assert history["loss"][0] == pytest.approx(expected, abs=1e-5)
        gradients.pop("images")
        assert history["grad_norm"][0] == pytest.approx(
            float(tf.linalg.global_norm(list(gradients.values()))), rel=1e-4
        )
        for path, variable in checkpoint_variables(model).items():
            wanted = gradients[path.removeprefix("params/")]
            np.testing.assert_allclose(taken[id(variable)], wanted, rtol=0, atol=1e-5, err_msg=path)
        kernels = [variable for variable in model.weights if variable.path.endswith("kernel")]
        assert all(np.any(taken[id(kernel)]) for kernel in kernels), "both towers are trained"

    def test_it_is_not_the_mean_of_the_replicas_own_losses(self):
        """Else the tests above would show nothing."""
        model = trainer_of().model
        whole, _ = lit_models.loss_and_gradients(model, PAIRS["images"][0], PAIRS["tokens"][0])
        halves = [
            lit_models.loss_and_gradients(model, PAIRS["images"][0][part], PAIRS["tokens"][0][part])[0]
            for part in (slice(4), slice(4, 8))
        ]
        assert abs(np.mean(halves) - whole) > 0.01

    @pytest.mark.slow
    def test_two_replicas_train_as_one_device(self):
        one, _, expected = trained("one_device")
        two, _, found = trained("mirrored")
        for name, values in expected.items():
            assert found[name] == pytest.approx(values, abs=1e-5), name
        for ours, theirs in zip(two.get_weights(), one.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["one_device", "mirrored"])
def test_a_locked_tower_stays_bit_for_bit(place):
    model, before, _ = trained(place)
    locked = set(map(id, model.image_model.weights))
    for variable, old, new in zip(model.weights, before, model.get_weights(), strict=True):
        # What has no gradient, such as words that do not come up, decays.
        assert np.array_equal(old, new) == (id(variable) in locked), variable.path


def test_accuracy_is_the_share_of_right_texts():
    trainer = trainer_of(optimizer=keras.optimizers.SGD(0.0))
    found = trainer.evaluate(batches("one_device"), verbose=0, return_dict=True)
    shares = []
    assert np.all(PAIRS["tokens"][:, 0] == PAIRS["tokens"][:, 1])
    for images, tokens in zip(PAIRS["images"], PAIRS["tokens"], strict=True):
        outputs = trainer.model({"images": images, "tokens": tokens})
        best = np.argmax(outputs["zimg"] @ np.transpose(outputs["ztxt"]), axis=1)
        shares.append(np.mean(np.all(tokens[best] == tokens, axis=1)))
    assert found["accuracy"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_xla_on_several_replicas_is_refused():
    trainer = trainer_of("mirrored")
    with pytest.raises(ValueError, match="jit_compile=True is not for a LiT on several replicas"):
        trainer.compile("adam", jit_compile=True)


def test_other_models_are_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="Sequential has no two towers"):
        ContrastiveTrainer(model)
