"""A whole run at toy size: what it leaves behind, starting it again, and what its results are worth."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import keras_nest
from keras_nest import conversion
from keras_nest.cli.train import main, prepare, run
from keras_nest.data.sources import digits
from keras_nest.training.checkpoints import Checkpoints
from keras_nest.training.config import resolve
from keras_nest.training.history import read_history
from tests.data import photographs
from tests.training import runs
from tests.training.runs import CONFIG

SMALL_VIT = {"patch_size": 8, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 16}


def test_the_name_of_the_module_until_0_1():
    from keras_nest.training import main as module

    assert (module.main, module.run) == (main, run)


@pytest.mark.slow
def test_files(finished):
    workdir, metrics = finished
    assert runs.files(workdir) == runs.FILES
    assert json.loads((workdir / "metrics.json").read_text()) == metrics
    assert (workdir / "classes.txt").read_text() == "".join(f"{digit}\n" for digit in range(10))
    config = json.loads((workdir / "config.json").read_text())
    assert set(config) == {*resolve(CONFIG), "global_batch_size"}
    assert (config["seed"], config["weight_decay"], config["model"]["embedding_dim"]) == (3, 0.05, 8)
    assert config["global_batch_size"] == 64


@pytest.mark.slow
def test_it_learns(finished):
    _, metrics = finished
    assert (metrics["examples"], metrics["steps"], metrics["epochs"], metrics["seed"]) == (360, 44, 2, 3)
    # Ten classes; a run that learned nothing is at 0.1.
    assert metrics["top1"] > 0.25
    assert metrics["top1"] < metrics["top5"]


def test_history_agrees_with_the_metrics(finished):
    workdir, metrics = finished
    rows = read_history(workdir / "history.csv")
    assert [row["step"] for row in rows] == [8, 10, 16, 20, 22, 24, 30, 32, 40, 44]
    assert [row["step"] for row in rows if "eval_loss" in row] == [22, 44]
    assert [row["epoch"] for row in rows] == pytest.approx([row["step"] / 22 for row in rows])
    # The model that is kept is that of the last step.
    last = rows[-1]
    assert (last["eval_accuracy"], last["eval_top5"], last["eval_loss"]) == tuple(
        metrics[name] for name in ("top1", "top5", "loss")
    )
    assert last["seconds"] == metrics["train_seconds"]
    assert all(row["grad_norm"] > 0 and row["images_per_second"] > 0 for row in rows)


def test_tensorboard_shows_the_history(finished):
    workdir, _ = finished
    events = EventAccumulator(str(workdir / "tensorboard"), size_guidance={"tensors": 0})
    events.Reload()
    rows = read_history(workdir / "history.csv")
    for tag, column in (("train/loss", "loss"), ("eval/accuracy", "eval_accuracy")):
        shown = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events.Tensors(tag)]
        assert shown == [(row["step"], pytest.approx(row[column])) for row in rows if column in row]
    assert events.PluginTagToContent("hparams")


def test_saved_model_predicts_what_was_measured(finished):
    workdir, metrics = finished
    model = keras.models.load_model(workdir / "model.keras")
    assert model.count_params() == metrics["parameters"]
    assert not model.compiled, "the optimizer is not part of the result"
    _, test, _ = digits.load()
    logits = model(keras_nest.preprocessor(model)(test.images))
    assert np.mean(np.argmax(logits, 1) == test.labels) == pytest.approx(metrics["top1"])


def test_the_average_is_kept_and_not_the_weights(finished):
    workdir, _ = finished
    model = keras.models.load_model(workdir / "model.keras")
    last = tf.train.load_checkpoint(str(workdir / "checkpoints" / "ckpt-44"))
    names = [name for name in last.get_variable_to_shape_map() if name.startswith("model/")]
    in_training = [last.get_tensor(name) for name in names]
    for weight in model.weights:
        same_shape = [value for value in in_training if value.shape == weight.shape]
        assert same_shape
        assert not any(np.array_equal(value, weight) for value in same_shape), weight.path


def snapshot(workdir):
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_repeated(finished):
    workdir, metrics = finished
    before = snapshot(workdir)
    assert main(CONFIG, workdir) == metrics
    assert snapshot(workdir) == before


def test_another_run_is_refused(finished):
    workdir, _ = finished
    before = snapshot(workdir)
    message = r"another run \(learning_rate is 0.02 there and 0.04 here, seed is 3 there and 5 here\); choose another"
    with pytest.raises(FileExistsError, match=message):
        main({**CONFIG, "learning_rate": 0.04, "seed": 5}, workdir)
    assert snapshot(workdir) == before


def test_checkpoints_without_their_configuration_are_refused(finished, tmp_path):
    shutil.copytree(finished[0] / "checkpoints", tmp_path / "checkpoints")
    with pytest.raises(FileExistsError, match=r"holds checkpoints already, without config.json; choose another --work"):
        main(CONFIG, tmp_path)
    assert runs.files(tmp_path) == {"checkpoints"}


def test_evaluating_only_a_flax_checkpoint_of_what_was_trained_in_the_place_of_the_training(finished, tmp_path):
    workdir, metrics = finished
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").touch()
    conversion.write_checkpoint(keras.models.load_model(workdir / "model.keras"), tmp_path / "weights.msgpack")
    config = {**CONFIG, "eval_only": True, "init_checkpoint": str(tmp_path / "weights.msgpack")}
    with pytest.raises(FileExistsError, match="another run"):
        main(config, tmp_path / "run")
    evaluated = main(config, tmp_path / "run", overwrite=True)
    assert runs.files(tmp_path / "run") == {"config.json", "confusion.png", "metrics.json", "notes.txt"}
    for name in ("top1", "top5", "loss", "examples", "parameters", "seed"):
        assert evaluated[name] == metrics[name], name
    assert (evaluated["steps"], evaluated["epochs"], evaluated["train_seconds"]) == (0, 0, 0)
    assert evaluated["eval_images_per_second"] > 0


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory):
    """ViT's kind of configuration on photographs of several sizes, with a published file to start from."""
    path = tmp_path_factory.mktemp("fine_tuning")
    photographs.write_folder(path / "photos")
    source = keras_nest.create_model("ViT-Ti_16", num_classes=21, image_size=32, **SMALL_VIT)
    conversion.write_checkpoint(source, path / "ViT-Ti_16.npz", layout="pre_linen")
    config = {
        "model_name": "ViT-Ti_16",
        "model": SMALL_VIT,
        "pretrained_dir": str(path),
        "dataset": str(path / "photos"),
        "pp": {"train": "train", "test": "test", "crop": 24},
        "randerasing": {"erase_prob": 0.25},
        "mix": {"mixup_alpha": 0.8},
        "transfer": "uint8",
        "freeze": ["Transformer/encoderblock_*", "cls"],
        "dtype_policy": "mixed_bfloat16",
        "total_steps": 3,
        "warmup_steps": 1,
        "batch": 8,
        "batch_eval": 5,
        "accum_steps": 2,
        "base_lr": 0.5,
        "progress_every": 2,
        "checkpoint_every": 0,
    }
    return source, path / "run", main(config, path / "run")


@pytest.mark.slow
def test_fine_tuning(fine_tuned):
    _, workdir, metrics = fine_tuned
    assert (metrics["examples"], metrics["steps"], metrics["epochs"]) == (8, 3, 3 * 8 / 16)
    rows = read_history(workdir / "history.csv")
    assert [row["step"] for row in rows] == [2, 3]
    assert [row["epoch"] for row in rows] == [1, 1.5]
    assert rows[-1]["eval_accuracy"] == metrics["top1"]
    assert runs.files(workdir) == runs.FILES
    assert {path.name for path in (workdir / "checkpoints").glob("*.index")} == {"ckpt-3.index"}
    model = keras.models.load_model(workdir / "model.keras")
    assert (model.output_shape, model.input_shape) == ((None, 4), (None, 24, 24, 3))


@pytest.mark.slow
def test_frozen_layers_stay_bit_for_bit(fine_tuned):
    source, workdir, _ = fine_tuned
    model = keras.models.load_model(workdir / "model.keras")
    before, after = ({variable.path: np.asarray(variable) for variable in m.weights} for m in (source, model))
    frozen = [path for path in after if "encoderblock" in path or path.startswith("cls")]
    assert len(frozen) == 1 + 2 * 16
    assert all(np.array_equal(before[path], after[path]) for path in frozen)
    for path in set(after) - set(frozen):
        assert before[path].shape != after[path].shape or not np.array_equal(before[path], after[path]), path


# Weights of 1e25 after the first steps, and products of them in the next.
NOT_FINITE = {"learning_rate": 1e26, "warmup_epochs": 1, "checkpoint_every_steps": 1, "ema_decay": 0, "accum_steps": 1}


@pytest.fixture(scope="module")
def not_finite(tmp_path_factory):
    path = tmp_path_factory.mktemp("not_finite")
    return runs.write_config(path / "config.py", {**CONFIG, **NOT_FINITE}), path / "run"


@pytest.mark.slow
def test_not_finite_is_one_sentence_that_names_step_and_checkpoint(not_finite, capsys):
    flag, workdir = not_finite
    with pytest.raises(SystemExit) as ended:
        run(["train_keras.py", flag, f"--workdir={workdir}"])
    assert ended.value.code == 1
    good = tf.train.latest_checkpoint(str(workdir / "checkpoints"))
    step = int(good.rsplit("-", 1)[1]) + 1
    assert capsys.readouterr().err == (
        f"error: At step {step} the loss, its gradient or a weight was infinite or not a number. The last good "
        f"checkpoint is {good}; a lower learning rate, a longer warm-up or clipping may help.\n"
    )
    assert runs.files(workdir) == {"config.json", "history.csv", "checkpoints", "tensorboard"}


@pytest.mark.slow
def test_the_last_good_checkpoint_is_finite_and_can_be_gone_on_from(not_finite):
    _, workdir = not_finite
    good = tf.train.load_checkpoint(str(workdir / "checkpoints"))
    values = [good.get_tensor(name) for name in good.get_variable_to_shape_map() if name.startswith("model/")]
    assert len(values) > 30
    assert all(np.isfinite(value).all() for value in values)
    rows = read_history(workdir / "history.csv")
    assert all(np.isfinite(list(row.values())).all() for row in rows)
    trainer = prepare({**CONFIG, **NOT_FINITE}, workdir).trainer
    assert Checkpoints(workdir / "checkpoints", trainer).restore() == rows[-1]["step"]
    assert all(np.isfinite(variable).all() for variable in trainer.optimizer.variables)


@pytest.mark.slow
def test_damaged_checkpoints_are_one_sentence(not_finite, capsys):
    flag, workdir = not_finite
    for path in (workdir / "checkpoints").glob("*.index"):
        path.write_bytes(b"")
    with pytest.raises(SystemExit) as ended:
        run(["train_keras.py", flag, f"--workdir={workdir}"])
    assert ended.value.code == 1
    assert (
        capsys.readouterr().err
        == f"error: No checkpoint in {workdir}/checkpoints can be read; --overwrite starts anew.\n"
    )


def test_profile_of_the_model_alone(tmp_path, capsys):
    flag = runs.write_config(tmp_path / "config.py", {**CONFIG, "log_model_profile": 2})
    run(["train_keras.py", flag, f"--workdir={tmp_path / 'run'}"])
    printed = capsys.readouterr().out
    model = keras_nest.create_model("nest_tiny_s16_32", num_classes=10, **CONFIG["model"])
    for value in (model.count_params(), keras_nest.profiling.count_macs(model)):
        assert f"{value:,}" in printed
    assert "Training" not in printed
    assert runs.files(tmp_path / "run") == {"config.json"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_name": "nest_tiy"}, "no model 'nest_tiy'; did you mean"),
        ({"model": {"embeding_dim": 8}}, "no field 'embeding_dim'; did you mean embedding_dim"),
        ({"dataset": "cifer10"}, "There is no directory and no data set 'cifer10'; did you mean"),
        ({"per_device_batch_size": 2000}, "A batch of 2000 cannot be filled from 1437 training images"),
        ({"learning_rate_schedule": "step"}, "learning_rate_schedule is 'step'"),
        ({"warmup_epochs": 2}, "warmup_epochs is 2; it must be less than num_epochs, 2"),
        ({"optim": "sgd2"}, "optim is 'sgd2'"),
        ({"augment": {"type": "mix"}}, "augment.type is 'mix'"),
        ({"freeze": "Encoder"}, "freeze names 'Encoder', which no layer has"),
        ({"eval_only": True}, "eval_only needs weights"),
        ({"grad_clip_max_norm": -1}, "grad_clip_max_norm is -1"),
        ({"sam_rho": -0.1}, "sam_rho is -0.1; it must be a number, 0 or more"),
        ({"ema_decay": 1.5}, "ema_decay is 1.5; it must be at least 0"),
        ({"seed": -1}, "seed is -1; it must be"),
    ],
)
def test_wrong_configurations_leave_nothing_behind(change, message, tmp_path):
    with pytest.raises(ValueError, match=message) as refused:
        main({**CONFIG, **change}, tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()
