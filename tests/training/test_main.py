"""A whole run at toy size: what it leaves behind, and that the seed decides everything."""

import json

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest.data.sources import digits
from keras_nest.training import report
from keras_nest.training.experiment import prepare
from keras_nest.training.main import main
from tests.data import photographs

CONFIG = {
    "model_name": "nest_tiny_s16_32",
    "model": {
        "image_size": 16,
        "init_patch_embed_size": 4,
        "embedding_dim": 8,
        "num_heads": 2,
        "num_layers_per_block": (1, 1),
        "stochastic_depth_drop": 0.2,
        "preprocessing": {"mean": [0.3] * 3, "std": [0.3] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"},
    },
    "dataset": "digits",
    "augment": {"type": "shift", "max_shift": 4},
    "num_epochs": 2,
    "per_device_batch_size": 64,
    "learning_rate": 0.02,
    "seed": 3,
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "first"
    return workdir, main(CONFIG, workdir)


def weights(workdir):
    return keras.models.load_model(workdir / "model.keras").get_weights()


def test_files(finished):
    workdir, metrics = finished
    names = ["config.json", "curves.png", "history.csv", "metrics.json", "model.keras"]
    assert sorted(path.name for path in workdir.iterdir()) == names
    assert json.loads((workdir / "metrics.json").read_text()) == metrics
    config = json.loads((workdir / "config.json").read_text())
    assert (config["seed"], config["weight_decay"], config["model"]["embedding_dim"]) == (3, 0.05, 8)


def test_it_learns(finished):
    _, metrics = finished
    assert metrics["examples"] == 360
    # Ten classes; a run that learned nothing is at 0.1.
    assert metrics["top1"] > 0.25
    assert metrics["top1"] < metrics["top5"]


def test_history_agrees_with_the_metrics(finished):
    workdir, metrics = finished
    rows = report.read_history(workdir / "history.csv")
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["step"] for row in rows] == [22, 44]
    # The model that is kept is that of the last epoch.
    assert rows[-1]["eval_accuracy"] == pytest.approx(metrics["top1"])
    assert rows[-1]["eval_loss"] == pytest.approx(metrics["loss"], rel=1e-4)
    assert rows[-1]["seconds"] == pytest.approx(metrics["train_seconds"])


def test_saved_model_predicts_what_was_measured(finished):
    workdir, metrics = finished
    model = keras.models.load_model(workdir / "model.keras")
    assert model.count_params() == metrics["parameters"]
    assert not model.compiled, "the optimiser is not part of the result"
    _, test, _ = digits.load()
    logits = model(keras_nest.preprocessor(model)(test.images))
    assert np.mean(np.argmax(logits, 1) == test.labels) == pytest.approx(metrics["top1"])


def test_same_seed_same_result_other_seed_another(finished, tmp_path):
    workdir, metrics = finished
    keras.utils.set_random_seed(99)
    again = main(CONFIG, tmp_path / "again")
    timing = ("train_seconds",)
    assert {k: v for k, v in again.items() if k not in timing} == {k: v for k, v in metrics.items() if k not in timing}
    for first, second in zip(weights(workdir), weights(tmp_path / "again"), strict=True):
        np.testing.assert_array_equal(first, second)
    main({**CONFIG, "seed": 4}, tmp_path / "other")
    pairs = zip(weights(workdir), weights(tmp_path / "other"), strict=True)
    assert any(not np.allclose(first, second) for first, second in pairs)


def test_a_finished_run_is_not_replaced_in_silence(finished):
    workdir, _ = finished
    before = {path.name: path.read_bytes() for path in workdir.iterdir()}
    with pytest.raises(FileExistsError, match="--overwrite"):
        main(CONFIG, workdir)
    assert {path.name: path.read_bytes() for path in workdir.iterdir()} == before


def test_rates_are_those_of_a_batch_of_256(tmp_path):
    experiment = prepare({**CONFIG, "min_learning_rate": 0.004}, tmp_path)
    config = experiment.schedule.get_config()
    assert (config["learning_rate"], config["min_learning_rate"]) == (0.02 * 64 / 256, 0.004 * 64 / 256)
    assert (config["steps_per_epoch"], config["num_epochs"]) == (22, 2)


def test_images_reach_the_model_normalised_and_in_its_size(tmp_path):
    experiment = prepare({**CONFIG, "augment": {"type": "none"}}, tmp_path)
    images, labels = next(iter(experiment.test))
    _, test, _ = digits.load()
    expected = keras_nest.preprocessor(experiment.model)(test.images[:64])
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(labels, test.labels[:64])
    assert images.shape == (64, 16, 16, 3)
    # The darkest pixel is at (0 - mean) / std.
    assert float(keras.ops.min(images)) == pytest.approx(-1, abs=1e-5)


def test_mixed_images_from_class_folders(tmp_path):
    """The papers' own fields, on photographs of several sizes."""
    photographs.write_folder(tmp_path / "photos")
    stages = {"augment": {"type": "randaugment"}, "randerasing": {"erase_prob": 0.25}, "mix": {"mixup_alpha": 0.8}}
    change = {"dataset": str(tmp_path / "photos"), "per_device_batch_size": 5, "num_epochs": 1, **stages}
    metrics = main({**CONFIG, **change}, tmp_path / "run")
    assert metrics["examples"] == 8
    row = report.read_history(tmp_path / "run" / "history.csv")[-1]
    assert row["eval_accuracy"] == pytest.approx(metrics["top1"])


def test_parts_and_size_of_fine_tuning(tmp_path):
    """`pp` of ViT names the images to train on, those to test on, and their size."""
    photographs.write_folder(tmp_path / "photos")
    (tmp_path / "photos" / "train").rename(tmp_path / "photos" / "most")
    change = {"dataset": str(tmp_path / "photos"), "per_device_batch_size": 5, "augment": {"type": "none"}}
    small = {"patch_size": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
    pp = {"train": "most", "test": "test", "crop": 24}
    experiment = prepare({**CONFIG, **change, "model_name": "ViT-Ti_16", "model": small, "pp": pp}, tmp_path / "run")
    images, _ = next(iter(experiment.train))
    assert images.shape == (5, 24, 24, 3)
    assert experiment.model.input_shape == (None, 24, 24, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_name": "nest_tiy"}, "no model 'nest_tiy'; did you mean"),
        ({"model": {"embeding_dim": 8}}, "no field 'embeding_dim'; did you mean embedding_dim"),
        ({"dataset": "cifer10"}, "There is no directory and no data set 'cifer10'; did you mean"),
        ({"per_device_batch_size": 2000}, "A batch of 2000 cannot be filled from 1437 training images"),
        ({"learning_rate_schedule": "step"}, "learning_rate_schedule is 'step'"),
        ({"warmup_epochs": 2}, "warmup_epochs is 2; it must be less than num_epochs, 2"),
        ({"optim": "sgd"}, "optim is 'sgd'"),
        ({"augment": {"type": "mix"}}, "augment.type is 'mix'"),
    ],
)
def test_wrong_configurations_leave_nothing_behind(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        main({**CONFIG, **change}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
