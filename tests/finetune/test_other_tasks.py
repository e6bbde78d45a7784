"""Several labels and numbers, from a list to a model that answers right in every form."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.cli import commands as cli
from keras_nest.cli import train
from keras_nest.predict import open_predictor, read_image
from tests.finetune import squares
from tests.finetune.conftest import trained  # noqa: F401 - of the package that does the work


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("squares")
    squares.write(folder)
    squares.write(folder / "new", 30, seed=1)
    return folder


@pytest.fixture
def run(capsys):
    """Runs a command: its output."""

    def run_here(*words):
        assert cli.main(list(map(str, words))) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return run_here


def finetune(run, data, task, model, workdir, *words):
    shown = run("finetune", data, "--task", task, "--model", model, "--workdir", workdir, *words)
    return shown, json.loads((workdir / "metrics.json").read_text())


def evaluate(run, model, *words):
    found = json.loads(run("evaluate", model, *words, "--json"))
    return {name: value for name, value in found.items() if name not in ("model", "classes")}, found


@pytest.mark.slow
def test_several_labels(run, trained, folder, tmp_path):  # noqa: F811
    workdir, new = tmp_path / "run", folder / "new" / "squares.csv"
    shown, metrics = finetune(
        run, folder / "squares.csv", "multi-label", trained, workdir, "--blocks", 0, "--calibrate"
    )
    assert "mean average precision" in shown
    assert metrics["map"] > 0.75  # by chance 0.4
    names = tuple(squares.COLORS)
    assert [row["name"] for row in metrics["classes"]] == list(names)

    # The same figures by another way, on the same images and on new ones.
    _, again = evaluate(run, workdir)
    for name in ("map", "exact", "macro_f1", "loss"):
        assert again[name] == pytest.approx(metrics[name], abs=1e-4)
    run("evaluate", workdir, "--data", new, "--save", tmp_path / "rows.csv", "--save", tmp_path / "page.html")
    with (tmp_path / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 30
    told = {f"{folder}/new/{file}": "|".join(found) for file, found, _ in squares.write(tmp_path / "same", 30, seed=1)}
    assert {row["file"]: row["classes"] for row in rows} == told
    page = (tmp_path / "page.html").read_text()
    assert "best F1 on the validation images" in page
    assert "mean average precision" in page
    assert "none of the classes" in (workdir / "report.html").read_text() + page

    # Each class for itself, wherever the model goes: beside the directory of the run, and as a SavedModel.
    image = read_image(folder / "new" / "0.png")
    (shares,) = open_predictor(workdir).probabilities([image])
    copied = shutil.copy(workdir / "model.keras", tmp_path / "copied.keras")
    np.testing.assert_allclose(open_predictor(copied).probabilities([image])[0], shares, atol=1e-6)
    assert keras_nest.open_model(copied).model.task == "multi-label"
    run("export", copied, "--format", "saved_model", "--output", tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved" / "1")).signatures["serving_bytes"]
    outputs = served(image_bytes=tf.constant([(folder / "new" / "0.png").read_bytes()]))
    np.testing.assert_allclose(outputs["probabilities"][0], shares, atol=1e-5)
    np.testing.assert_allclose(keras.ops.sigmoid(outputs["logits"])[0], shares, atol=1e-5)
    known, _ = evaluate(run, workdir, "--data", new)
    exported, _ = evaluate(
        run, tmp_path / "saved", "--data", new, "--task", "multi-label", "--labels", workdir / "classes.txt"
    )
    assert exported["map"] == pytest.approx(known["map"], abs=1e-4)


@pytest.mark.slow
def test_numbers(run, trained, folder, tmp_path):  # noqa: F811
    workdir, new = tmp_path / "run", folder / "new" / "brightness.csv"
    words = ("--epochs", 2, "--augment", "none", "--learning-rate", 1e-3)
    shown, metrics = finetune(run, folder / "brightness.csv", "regression", trained, workdir, *words)
    assert "mean error" in shown
    assert metrics["r2"] > 0.8  # of a constant 0
    assert metrics["steps"] > 0

    _, again = evaluate(run, workdir)
    for name in ("mae", "rmse", "r2"):
        assert again[name] == pytest.approx(metrics[name], rel=1e-3)
    found, _ = evaluate(run, workdir, "--data", new)
    assert found["mae"] < 20  # of 20 to 200

    # In its own unit, wherever the model goes.
    image = read_image(folder / "new" / "0.png")
    ((number,),) = open_predictor(workdir).answers([image])
    assert abs(number - squares.write(tmp_path / "same", 1, seed=1)[0][2]) < 50
    copied = shutil.copy(workdir / "model.keras", tmp_path / "copied.keras")
    assert open_predictor(copied).answers([image])[0, 0] == pytest.approx(number, rel=1e-5)
    with pytest.raises(ValueError, match=r"^The model gives numbers and no probabilities; ask for Predictor\.answers"):
        open_predictor(copied).probabilities([image])
    answers = json.loads(run("predict", folder / "new" / "0.png", "--model", workdir, "--json"))
    assert answers["values"] == {"brightness": pytest.approx(number, rel=1e-5)}
    run("export", copied, "--format", "saved_model", "--output", tmp_path / "saved")
    served = tf.saved_model.load(str(tmp_path / "saved" / "1")).signatures["serving_bytes"]
    outputs = served(image_bytes=tf.constant([(folder / "new" / "0.png").read_bytes()]))
    assert set(outputs) == {"values"}
    assert outputs["values"][0, 0].numpy() == pytest.approx(number, rel=1e-4)
    run("export", copied, "--format", "tflite", "--precision", "float32", "--output", tmp_path / "lite")
    for exported in (tmp_path / "saved", tmp_path / "lite" / "float32.tflite"):
        assert evaluate(run, exported, "--data", new, "--task", "regression")[0]["mae"] == pytest.approx(
            found["mae"], rel=1e-2
        )

    # What is evaluated from a file is in the same unit.
    config = json.loads((workdir / "config.json").read_text())
    config = {name: value for name, value in config.items() if name != "global_batch_size"}
    config |= {
        "init_checkpoint": str(workdir),
        "eval_only": True,
        "reinit_head": None,
        "pp": {"train": "train", "test": "test"},
    }
    measured = train.main(config, tmp_path / "measured")
    assert measured["mae"] == pytest.approx(metrics["mae"], rel=1e-3)
