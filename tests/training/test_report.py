"""Numbers and files of a run."""

import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.training import WarmupDecay, report

ROWS = [{column: float(epoch + place) for place, column in enumerate(report.COLUMNS)} for epoch in (1, 2, 3)]


def identity_model(classes):
    """Answers with its input."""
    inputs = keras.Input((classes,))
    return keras.Model(inputs, keras.layers.Identity()(inputs))


def batches(logits, labels, size=4):
    return tf.data.Dataset.from_tensor_slices((np.float32(logits), np.int32(labels))).batch(size)


def test_evaluation_by_hand():
    logits = np.zeros((6, 8))
    labels = [0, 1, 2, 3, 4, 5]
    logits[range(6), labels] = 3
    logits[4, :3] = 5  # three ahead: among the first five, not the first
    logits[5, :5] = 5  # five ahead: not among them
    metrics = report.evaluate(identity_model(8), batches(logits, labels))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert metrics["top1"] == pytest.approx(4 / 6)
    assert metrics["top5"] == pytest.approx(5 / 6)
    assert metrics["loss"] == pytest.approx(-np.log(probabilities[range(6), labels]).mean(), rel=1e-6)
    assert metrics["examples"] == 6


def test_batches_do_not_change_the_result():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(23, 10)), rng.integers(0, 10, 23)
    whole, parts = (report.evaluate(identity_model(10), batches(logits, labels, size)) for size in (23, 5))
    assert whole == pytest.approx(parts)


def test_answers_of_nan_are_wrong():
    metrics = report.evaluate(identity_model(8), batches(np.full((3, 8), np.nan), [0, 1, 2]))
    assert metrics["top1"] == metrics["top5"] == 0
    assert np.isnan(metrics["loss"])


def test_history_round_trip(tmp_path):
    report.write_history(tmp_path / "history.csv", ROWS)
    assert (tmp_path / "history.csv").read_text().splitlines()[0] == ",".join(report.COLUMNS)
    assert report.read_history(tmp_path / "history.csv") == ROWS


def test_recorder_notes_what_keras_measured():
    rates = WarmupDecay(0.1, steps_per_epoch=3, num_epochs=2, warmup_epochs=1)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rates), loss, metrics=["accuracy"])
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 2)).astype(np.float32), rng.integers(0, 2, 12)
    recorder = report.Recorder(rates, images_per_epoch=12)
    history = model.fit(x, y, 4, epochs=2, validation_data=(x, y), callbacks=[recorder], verbose=0).history
    assert [row["epoch"] for row in recorder.rows] == [1, 2]
    assert [row["step"] for row in recorder.rows] == [3, 6]
    for column, name in (("loss", "loss"), ("eval_loss", "val_loss"), ("eval_accuracy", "val_accuracy")):
        assert [row[column] for row in recorder.rows] == history[name]
    # The rate of the last update: the end of the warm-up, then the end of the decay.
    assert [row["learning_rate"] for row in recorder.rows] == pytest.approx([0.1, 0.0])
    assert 0 < recorder.rows[0]["seconds"] < recorder.rows[1]["seconds"] == recorder.seconds
    assert all(row["images_per_second"] > 0 for row in recorder.rows)


def test_curves(tmp_path):
    report.write_curves(tmp_path / "curves.png", ROWS)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_curves_are_left_out_without_matplotlib(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    report.write_curves(tmp_path / "curves.png", ROWS)
    assert "pip install keras-nest[demo]" in caplog.text
    assert not list(tmp_path.iterdir())
