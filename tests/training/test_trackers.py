"""Weights & Biases and MLflow, in the place of which stand modules with their functions."""

import sys
import types

import pytest

from keras_nest.cli.train import main
from keras_nest.training import trackers
from keras_nest.training.experiment import Experiment
from tests.training import runs

CONFIG = {**runs.CONFIG, "num_epochs": 1, "accum_steps": 1, "mix": {}, "ema_decay": 0.0}


class Server:
    """What either of them was told, by run: parameters, rows, and how often it was ended."""

    def __init__(self):
        self.runs, self.is_down = {}, False

    def begin(self, run_id, name, config):
        if self.is_down:
            raise RuntimeError("nobody is\nlogged in")
        run_id = run_id or f"run{len(self.runs)}"
        self.runs.setdefault(run_id, {"name": name, "config": dict(config), "rows": {}, "summary": {}, "ended": 0})
        return run_id

    def log(self, run_id, values, step=None):
        if self.is_down:
            raise RuntimeError("no network")
        where = self.runs[run_id]["rows"].setdefault(step, {}) if step else self.runs[run_id]["summary"]
        where.update(values)

    def end(self, run_id):
        self.runs[run_id]["ended"] += 1


def fake_wandb(server):
    def init(project, name, id, resume, config):
        assert (project, resume) == ("keras_nest", "allow")
        run_id = server.begin(id, name, config)
        return types.SimpleNamespace(
            id=run_id,
            define_metric=lambda name, step_metric: None,
            log=lambda values: server.log(run_id, values, values["step"]),
            summary=types.SimpleNamespace(update=lambda values: server.log(run_id, values)),
            finish=lambda: server.end(run_id),
        )

    return types.SimpleNamespace(init=init)


def fake_mlflow(server):
    class MlflowClient:
        def get_experiment_by_name(self, name):
            assert name == "keras_nest"

        def create_experiment(self, name):
            return "7"

        def create_run(self, experiment_id, run_name):
            assert experiment_id == "7"
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=server.begin(None, run_name, {})))

        def log_batch(self, run_id, metrics=(), params=()):
            assert all(len(value) <= 500 for _, value in params)
            server.runs[run_id]["config"].update(params)
            for key, value, milliseconds, step in metrics:
                assert milliseconds > 1e12
                server.log(run_id, {key: value}, step)

        def update_run(self, run_id, status):
            assert run_id in server.runs

        def set_terminated(self, run_id):
            server.end(run_id)

    entities = types.SimpleNamespace(Param=lambda *param: param, Metric=lambda *metric: metric)
    return types.SimpleNamespace(MlflowClient=MlflowClient, entities=entities)


@pytest.fixture(params=[fake_wandb, fake_mlflow], ids=["wandb", "mlflow"])
def tracked(request, monkeypatch):
    """Name of one of them, and its server."""
    server, name = Server(), request.param.__name__.removeprefix("fake_")
    monkeypatch.setitem(sys.modules, name, module := request.param(server))
    monkeypatch.setitem(sys.modules, "mlflow.entities", getattr(module, "entities", None))
    return name, server


@pytest.mark.slow
def test_a_training_tells_all_of_its_history(tracked, tmp_path):
    name, server = tracked
    metrics = main({**CONFIG, "log": name}, tmp_path / "digits")
    ((run_id, run),) = server.runs.items()
    assert (tmp_path / "digits" / "tracking.txt").read_text() == f"{run_id}\n"
    assert run["name"] == "digits"
    assert str(run["config"]["model.embedding_dim"]) == "8"
    rows = runs.read_history(tmp_path / "digits" / "history.csv")
    assert list(run["rows"]) == [row["step"] for row in rows]
    for row in rows:
        assert run["rows"][row["step"]]["train/loss"] == pytest.approx(row["loss"])
    last = run["rows"][rows[-1]["step"]]
    assert last["eval/accuracy"] == pytest.approx(rows[-1]["eval_accuracy"])
    assert run["summary"]["final/top1"] == metrics["top1"]
    assert run["ended"] == 2


def test_the_run_of_a_directory_goes_on(tracked, tmp_path):
    name, server = tracked
    for step in (1, 2):
        tracker = trackers.open_tracker(name, tmp_path, {"seed": 3})
        tracker.log({"train/loss": 0.5}, step)
        tracker.close()
    ((_, run),) = server.runs.items()
    assert (list(run["rows"]), run["ended"], str(run["config"]["seed"])) == ([1, 2], 2, "3")


def test_what_it_does_not_take_ends_no_training(tracked, tmp_path, caplog):
    name, server = tracked
    tracker = trackers.open_tracker(name, tmp_path, {})
    server.is_down = True
    tracker.log({"train/loss": 0.5}, 1)
    tracker.log({"train/loss": 0.4}, 2)
    assert caplog.messages == [f"{name} does not take all of the run, which its directory has: no network"]
    (tmp_path / "tracking.txt").unlink()
    with pytest.raises(OSError, match=f"{name} does not take this run: nobody is logged in"):
        trackers.open_tracker(name, tmp_path, {})


@pytest.mark.slow
def test_a_server_that_is_gone_at_the_end_changes_no_result(tracked, tmp_path, monkeypatch, caplog):
    name, server = tracked
    monkeypatch.setattr(Experiment, "_fit", lambda *_: setattr(server, "is_down", True) or 0)
    metrics = main({**CONFIG, "log": name}, tmp_path / "digits")
    assert metrics["examples"] == 360
    assert (tmp_path / "digits" / "metrics.json").exists()
    assert f"{name} does not take" in caplog.text


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_without_the_package_nothing_is_written(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ModuleNotFoundError, match=f"log={name} hands the history to {name}, which is not installed: pip install {name}"
    ):
        main({**CONFIG, "log": name}, tmp_path / "run")
    assert not (tmp_path / "run").exists()
