"""Training that keeps its best weights and stops when nothing becomes better."""

import json
import shutil

import keras
import numpy as np
import pytest

from keras_nest.cli.train import main
from keras_nest.training.best import Best
from keras_nest.training.experiment import _with_another_evaluation
from keras_nest.training.history import History, read_history
from tests.training import runs

EVALUATED = {"eval_every_steps": 4, "checkpoint_every_steps": 4, "log_loss_every_steps": 0}
# The rate is so high that nothing is learned: the weights of the start stay the best for long.
HOPELESS = {**runs.CONFIG, **EVALUATED, "learning_rate": 5.0, "patience": 2, "grad_clip_max_norm": 1.0}
HOPELESS |= {"augment": {"type": "none"}, "mix": {}, "accum_steps": 1}
HOPELESS["model"] = {**HOPELESS["model"], "num_layers_per_block": (1,), "stochastic_depth_drop": 0.0}


@pytest.fixture
def model():
    built = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")])
    yield built
    keras.utils.clear_session(free_memory=False)


def test_the_best_weights_are_kept(model, tmp_path):
    best = Best(tmp_path, model, patience=20)
    assert not best.is_over(100)
    best.restore()  # nothing to restore yet
    measured = {10: (0.5, 1.0), 20: (0.7, 2.0), 30: (0.7, 1.5), 40: (0.7, 1.6), 50: (0.6, 0.1)}
    for step, (accuracy, loss) in measured.items():
        model.set_weights([np.full((1, 1), step)])
        best.update(step, {"accuracy": accuracy, "loss": loss})
        assert best.is_over(step) == (step == 50)
    assert best.record == {"step": 30, "accuracy": 0.7, "loss": 1.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best-30.weights.h5", "best.json"]
    best.restore()
    assert model.get_weights()[0] == 30
    again = Best(tmp_path, model, patience=20)
    assert again.record == best.record
    (tmp_path / "best-30.weights.h5").unlink()
    assert Best(tmp_path, model, patience=20).record == {}


@pytest.mark.slow
def test_a_training_stops_and_goes_on_where_it_was(tmp_path):
    metrics = main(HOPELESS, tmp_path / "run")
    rows = read_history(tmp_path / "run" / "history.csv")
    evaluated = {0: None} | {row["step"]: (row["eval_accuracy"], -row["eval_loss"]) for row in rows}
    best = metrics["best_step"]
    assert metrics["steps"] == best + 8 < 44
    assert metrics["steps"] == rows[-1]["step"]
    assert metrics["epochs"] == pytest.approx(metrics["steps"] / 22)
    if best:
        assert metrics["top1"] == pytest.approx(evaluated[best][0])
    assert metrics["top1"] >= max(accuracy for accuracy, _ in list(evaluated.values())[1:]) - 1e-6
    record = json.loads((tmp_path / "run" / "checkpoints" / "best.json").read_text())
    assert (record["step"], record["accuracy"]) == (best, pytest.approx(metrics["top1"]))
    # Killed behind the last checkpoint, before the results were written.
    shutil.copytree(tmp_path / "run", tmp_path / "killed")
    for name in ("metrics.json", "model.keras"):
        (tmp_path / "killed" / name).unlink()
    shutil.rmtree(tmp_path / "run")
    again = main(HOPELESS, tmp_path / "killed")
    assert runs.without_timing(again) == runs.without_timing(metrics)


@pytest.mark.slow
def test_a_training_ends_with_its_time(tmp_path):
    """At the last evaluation within it, and at the first in any case, and does not go on when it is started again."""
    config = {**HOPELESS, "patience": None, "ema_decay": 0.0, "minutes": 1e-6}
    metrics = main(config, tmp_path)
    assert metrics["steps"] == 4
    (row,) = read_history(tmp_path / "history.csv")
    assert row["eval_accuracy"] == pytest.approx(metrics["top1"])
    for name in ("metrics.json", "model.keras"):
        (tmp_path / name).unlink()
    assert runs.without_timing(main(config, tmp_path)) == runs.without_timing(metrics)
    with pytest.raises(ValueError, match=r"^minutes is 0; it must be a number above 0\.$"):
        main({**config, "minutes": 0}, tmp_path)


def test_a_training_ends_before_an_evaluation_that_would_be_too_late():
    history = History(None, None, 0)
    for step, seconds in enumerate((10.0, 25.0)):
        history.append({"step": step, "seconds": seconds, "eval_loss": 1.0})
    history.append({"step": 2, "seconds": 27.0})
    assert _with_another_evaluation(history) == 27 + 15


@pytest.mark.parametrize("patience", [0, -1, 1.5])
def test_patience_is_a_number_of_evaluations(patience, tmp_path):
    with pytest.raises(ValueError, match=rf"^patience is {patience}; it must be a positive whole number\.$"):
        main({**runs.CONFIG, "patience": patience}, tmp_path)


@pytest.mark.parametrize("weights", [(1.0, 2.0), (0.0, *[1.0] * 9), "balanced", 3])
def test_class_weights_are_one_for_each_class(weights, tmp_path):
    with pytest.raises(ValueError, match=r"it must be a number above 0 for each of the 10 classes of digits\.$"):
        main({**runs.CONFIG, "class_weights": weights}, tmp_path)
