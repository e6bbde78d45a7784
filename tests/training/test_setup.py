"""What is ready before the first step: data, model, optimizer."""

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest.cli.train import prepare
from keras_nest.data import ONLY_HOST
from keras_nest.data.sources import digits
from keras_nest.predict import read_image
from keras_nest.training.optimizers import reference_path
from tests.data import photographs
from tests.training import runs
from tests.training.runs import CONFIG

PLAIN = {**CONFIG, "augment": {"type": "none"}, "mix": {}, "ema_decay": 0.0}
SMALL_VIT = {"patch_size": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
OF_VIT = {
    "model_name": "ViT-Ti_16",
    "model": SMALL_VIT,
    "dataset": "digits",
    "pp": {"crop": 24},
    "total_steps": 40,
    "warmup_steps": 4,
    "batch": 16,
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Prepares each configuration once; nothing may be trained."""
    ready = {}

    def once(config):
        if repr(config) not in ready:
            ready[repr(config)] = prepare(config, tmp_path_factory.mktemp("prepared"))
        return ready[repr(config)]

    return once


def first(batches):
    return next(iter(batches))


def test_test_images_reach_the_model_normalized_and_in_its_size(prepared):
    experiment = prepared(CONFIG)
    images, labels, weights = first(experiment.test(ONLY_HOST))
    _, test, _ = digits.load()
    np.testing.assert_array_equal(images, keras_nest.preprocessor(experiment.model)(test.images[:64]))
    np.testing.assert_array_equal(labels, test.labels[:64])
    np.testing.assert_array_equal(weights, np.ones(64))
    assert images.shape == (64, 16, 16, 3)
    # The darkest pixel is at (0 - mean) / std.
    assert float(keras.ops.min(images)) == pytest.approx(-1, abs=1e-5)


def test_too_many_epochs_are_told(prepared):
    assert prepared(CONFIG).description.endswith("epochs, on the CPU.")
    told = prepared({**OF_VIT, "total_steps": 90_000}).description
    assert "90,000 steps of 16 images, 1002 epochs, on the CPU. Each of the 1,437 images comes up 1,002 times" in told


@pytest.mark.slow
def test_the_seed_decides_weights_and_images(prepared, tmp_path):
    one, other = prepared(OF_VIT), prepare({**OF_VIT, "seed": 4}, tmp_path / "other")
    keras.utils.set_random_seed(99)
    same = prepare(OF_VIT, tmp_path / "same")
    batches = [first(experiment.train(ONLY_HOST)) for experiment in (one, same, other)]
    for first_values, same_values, other_values in zip(*batches, strict=True):
        np.testing.assert_array_equal(first_values, same_values)
        assert not np.array_equal(first_values, other_values)
    for path in ("embedding/kernel", "Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel"):
        first_weights, same_weights, other_weights = (
            next(np.asarray(w) for w in experiment.model.weights if w.path == path) for experiment in (one, same, other)
        )
        np.testing.assert_array_equal(first_weights, same_weights)
        assert not np.array_equal(first_weights, other_weights)


def test_what_travels_as_uint8_is_finished_on_the_device(prepared, tmp_path):
    """Whichever way, the train step sees the same images and labels."""
    as_floats = prepared(OF_VIT)
    as_bytes = prepare({**OF_VIT, "transfer": "uint8"}, tmp_path / "bytes")
    assert as_floats.trainer.prepare is None
    (images, keys), classes = first(as_bytes.train(ONLY_HOST))
    assert images.dtype == "uint8"
    finished, labels = as_bytes.trainer.prepare((images, keys), classes)
    expected_images, expected_labels = first(as_floats.train(ONLY_HOST))
    np.testing.assert_array_equal(labels, expected_labels)
    # On the way pixels are whole numbers; the fraction of a level is cut off.
    lost = 0.5 * 255 * (expected_images - finished)
    assert -1e-3 < np.min(lost) <= np.max(lost) < 1.001
    assert np.max(lost) > 0.9


NO_SIZE = {**PLAIN, "model": {field: value for field, value in CONFIG["model"].items() if field != "image_size"}}


@pytest.mark.parametrize(
    ("config", "change", "size"),
    [
        (PLAIN, {"input_size": 32}, (16, 16)),
        (NO_SIZE, {"input_size": 16}, (16, 16)),
        (NO_SIZE, {}, (32, 32)),
        (OF_VIT, {}, (24, 24)),
        (OF_VIT, {"model": {**SMALL_VIT, "image_size": (16, 32)}}, (16, 32)),
    ],
)
def test_size_of_images(config, change, size, prepared):
    """That of the model, else that of the images, else the published one."""
    experiment = prepared({**config, **change})
    assert experiment.model.image_size == size
    assert first(experiment.train(ONLY_HOST))[0].shape[1:3] == size


@pytest.mark.parametrize("classes", [0, 4, 1000])
def test_a_model_of_other_classes_than_the_data(classes, tmp_path):
    """Labels beyond the last class have no loss, and answers beyond it were left out of the accuracy."""
    config = {**PLAIN, "model": {**PLAIN["model"], "num_classes": classes}}
    with pytest.raises(ValueError, match=f"The model has {classes} classes, digits 10; leave model.num_classes out"):
        prepare(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_parts_of_a_data_set(tmp_path):
    """`pp` of ViT names the images to train on and those to test on."""
    photographs.write_folder(tmp_path / "photos")
    (tmp_path / "photos" / "train").rename(tmp_path / "photos" / "most")
    pp = {"train": "most", "test": "test", "crop": 24}
    change = {"dataset": str(tmp_path / "photos"), "pp": pp, "batch": 8, "batch_eval": 3}
    experiment = prepare({**OF_VIT, **change}, tmp_path / "run")
    assert (experiment.info.num_train, experiment.info.num_test) == (16, 8)
    assert experiment.model.num_classes == 4
    assert first(experiment.train(ONLY_HOST))[0].shape == (8, 24, 24, 3)
    assert first(experiment.test(ONLY_HOST))[0].shape == (3, 24, 24, 3)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        prepare({**OF_VIT, **change, "pp": {**pp, "test": "nowhere"}}, tmp_path / "other")


def test_training_images_are_kept_reduced(tmp_path):
    photographs.write_folder(tmp_path / "photos")
    fields = {**PLAIN, "dataset": str(tmp_path / "photos"), "per_device_batch_size": 4}
    experiment = prepare({**fields, "cache_side": 16}, tmp_path / "run")
    assert first(experiment.train(ONLY_HOST))[0].shape == (4, 16, 16, 3)
    kept = list((tmp_path / "run" / "converted").glob("*.bmp"))
    assert {read_image(path).shape for path in kept} == {(16, 21, 3)}
    experiment.model.save(tmp_path / "model.keras")
    evaluated = {**fields, "cache_side": 16, "eval_only": True, "init_checkpoint": str(tmp_path / "model.keras")}
    prepare(evaluated, tmp_path / "evaluated")  # which keeps none
    with pytest.raises(
        ValueError, match=r"^cache_side is 15, and images of 16 pixels are made of what is kept; it must"
    ):
        prepare({**fields, "cache_side": 15}, tmp_path / "small")


class TestOptimizer:
    def test_of_nest(self, tmp_path):
        change = {
            "grad_clip_max_norm": 0.5,
            "weight_decay": 0.1,
            "optim_wd_ignore": ("pos_embedding", "bias"),
            "ema_decay": 0.5,
        }
        trainer = prepare({**PLAIN, **change}, tmp_path).trainer
        optimizer = trainer.optimizer
        assert (type(optimizer).__name__, optimizer.weight_decay) == ("AdamW", 0.1)
        assert (trainer.clip_norm, trainer.accum_steps) == (0.5, 2)
        assert (optimizer.use_ema, optimizer.ema_momentum) == (True, 0.5)
        assert float(optimizer.learning_rate) == pytest.approx(0.02 * 64 / 256, rel=1e-2)
        spared = {reference_path(v) for v in trainer.model.trainable_variables if not optimizer._use_weight_decay(v)}
        assert spared
        assert all("pos_embedding" in path or "bias" in path for path in spared)

    def test_of_vit(self, prepared):
        trainer = prepared(OF_VIT).trainer
        optimizer = trainer.optimizer
        assert (type(optimizer).__name__, optimizer.momentum, optimizer.nesterov) == ("Momentum", 0.9, False)
        assert optimizer.accumulator_dtype == "bfloat16"
        assert (trainer.clip_norm, trainer.accum_steps, trainer.sharpness) == (1.0, 8, None)
        assert optimizer.use_ema is False
        assert float(optimizer.learning_rate) == 0, "the first step of the warm-up"

    def test_sharpness(self, tmp_path):
        change = {"sam_rho": 0.6, "gsam_rho_min": 0.1, "gsam_alpha": 0.4}
        of_nest = prepare({**PLAIN, **change, "min_learning_rate": 0.004}, tmp_path / "nest").trainer.sharpness
        assert (of_nest.rho, of_nest.rho_min, of_nest.alpha) == (0.6, 0.1, 0.4)
        assert (of_nest.max_rate, of_nest.min_rate) == (0.02 / 4, 0.004 / 4)
        of_vit = prepare({**OF_VIT, **change}, tmp_path / "vit").trainer.sharpness
        assert (of_vit.max_rate, of_vit.min_rate) == (0.03, 0.0)


@pytest.mark.parametrize(("change", "same"), [({}, False), ({"ema_decay": 0.0}, True)])
def test_an_average_has_a_model_of_its_own(change, same, prepared):
    experiment = prepared({**CONFIG, **change})
    assert (experiment.model is experiment.trainer.model) == same
    assert experiment.model.get_config() == experiment.trainer.model.get_config()


def test_precision(tmp_path):
    experiment = prepare({**OF_VIT, "dtype_policy": "mixed_bfloat16", "ema_decay": 0.5}, tmp_path)
    assert all(model.config["dtype"] == "mixed_bfloat16" for model in (experiment.model, experiment.trainer.model))
    assert keras.config.dtype_policy().name == "float32"


def test_in_words(prepared):
    sentence = prepared(CONFIG).description
    assert sentence == (
        "Training nest_tiny_s16_32 (2,858 parameters) on digits: 44 steps of 64 images, 2 epochs, on the CPU."
    )


def test_the_directory_is_claimed(tmp_path):
    prepare(OF_VIT, tmp_path / "run")
    assert runs.files(tmp_path / "run") == {"config.json"}
    with pytest.raises(FileExistsError, match="another run"):
        prepare({**OF_VIT, "seed": 5}, tmp_path / "run")
    assert prepare({**OF_VIT, "seed": 5}, tmp_path / "run", overwrite=True).config.seed == 5


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
@pytest.mark.slow
def test_a_model_that_shall_put_out_probabilities_trains_alike(loss, tmp_path):
    config = {**OF_VIT, "loss": loss, "accum_steps": 1}
    plain = prepare(config, tmp_path / "plain")
    ending = prepare({**config, "model": {**SMALL_VIT, "classifier_activation": loss}}, tmp_path / "ending")
    images, labels = first(plain.train(ONLY_HOST))
    losses = []
    for trainer in (plain.trainer, ending.trainer):
        trainer.log_every_step = True
        history = trainer.fit(images, labels, batch_size=16, epochs=8, shuffle=False, verbose=0).history
        losses.append(history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert losses[0][-1] < losses[0][0]
    assert ending.model.classifier_activation == loss


def test_probabilities_of_another_loss_are_refused(tmp_path):
    config = {**OF_VIT, "model": {**SMALL_VIT, "classifier_activation": "sigmoid"}}
    sentence = r"^model.classifier_activation is 'sigmoid' and loss is 'softmax', which is of softmax prob"
    with pytest.raises(ValueError, match=sentence):
        prepare(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
