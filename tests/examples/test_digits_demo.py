"""The demonstration, as `make demo` calls it."""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_demonstration(tmp_path):
    """One run for all, since it takes a minute; `make bench` runs it as long as it is by itself."""
    command = [sys.executable, str(ROOT / "examples" / "digits_demo.py"), f"--workdir={tmp_path}", "--epochs=10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert_summary(summary, json.loads((tmp_path / "metrics.json").read_text()), tmp_path / "saved_model")
    assert summary["test_accuracy"] >= 0.99
    assert f"{summary['test_accuracy']:.2%}" in done.stdout
    assert f"{summary['max_abs_diff']:.1e}" in done.stdout
    assert str(tmp_path / "demo.png") in done.stdout
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")


def assert_summary(summary, metrics, export):
    assert (summary["seed"], summary["test_images"]) == (0, 360)
    # With the steps of the images that are left of each epoch, see keras_nest/training/plan.py.
    assert summary["epochs"] == pytest.approx(10, rel=0.01)
    assert summary["parameters"] == metrics["parameters"]
    assert 0.8e6 < summary["parameters"] < 1e6
    # Measured on the export, in another process, and still the same.
    assert summary["test_accuracy"] == pytest.approx(metrics["top1"])
    assert summary["test_accuracy"] == pytest.approx(1 - summary["test_errors"] / 360)
    assert summary["same_predictions"] is True
    assert summary["max_abs_diff"] < 1e-4
    assert summary["export_bytes"] == sum(file.stat().st_size for file in export.rglob("*") if file.is_file())
    # Weights are stored once: four bytes each, and the graph.
    variables = (export / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert 4 * summary["parameters"] <= variables < 5 * summary["parameters"]


@pytest.fixture
def demonstration(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    return importlib.import_module("digits_demo")


def command_for(demonstration, workdir, monkeypatch):
    """The training that the demonstration would start."""
    commands = []

    def started(command, check):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", started)
    demonstration.train(argparse.Namespace(workdir=workdir, seed=3, epochs=10), ["--config.weight_decay=0"])
    return commands[0]


def test_it_replaces_what_it_left_itself_and_no_other_training(demonstration, tmp_path, monkeypatch):
    assert "--overwrite" in command_for(demonstration, demonstration.WORKDIR, monkeypatch)
    (tmp_path / "metrics.json").touch()
    assert "--overwrite" not in command_for(demonstration, tmp_path, monkeypatch)
    (tmp_path / "summary.json").touch()
    assert "--overwrite" in command_for(demonstration, tmp_path, monkeypatch)


def test_options_reach_the_training(demonstration, tmp_path, monkeypatch):
    command = command_for(demonstration, tmp_path, monkeypatch)
    expected = {"--config.seed=3", "--config.num_epochs=10", "--config.warmup_epochs=2", "--config.weight_decay=0"}
    assert expected <= set(command)


def test_a_training_that_fails_ends_the_demonstration(demonstration, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda command, check: subprocess.CompletedProcess(command, 2))
    with pytest.raises(SystemExit) as stopped:
        demonstration.train(argparse.Namespace(workdir=tmp_path, seed=0, epochs=1), [])
    assert stopped.value.code == 2


def test_an_export_with_other_predictions_is_noticed(demonstration, tmp_path):
    (tmp_path / "saved_model").mkdir()
    metrics = {"parameters": 1, "train_seconds": 1.0, "seed": 0, "epochs": 1}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    labels, logits = np.array([0, 1]), np.eye(2)
    same = demonstration.summarize(tmp_path, labels, logits, logits + 1e-5)
    assert same["same_predictions"]
    assert (same["test_accuracy"], same["test_errors"]) == (1.0, 0)
    assert not demonstration.summarize(tmp_path, labels, logits, logits + 1e-3)["same_predictions"]
    other = demonstration.summarize(tmp_path, labels, logits, logits[::-1])
    assert (other["test_accuracy"], other["same_predictions"], other["max_abs_diff"]) == (0.0, False, 1.0)
