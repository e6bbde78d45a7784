"""The demonstration, as `make demo` calls it."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOY = (
    "--epochs=1",
    "--config.per_device_batch_size=240",
    "--config.model.embedding_dim=8",
    "--config.model.num_layers_per_block=(1,1,1)",
    "--config.model.init_patch_embed_size=4",
)


def demo(*arguments, timeout=300):
    command = [sys.executable, str(ROOT / "examples" / "digits_demo.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("demo") / "run"
    done = demo(f"--workdir={workdir}", "--seed=5", *TOY)
    assert done.returncode == 0, done.stderr
    return workdir, done


def test_summary(finished):
    workdir, _ = finished
    summary = json.loads((workdir / "summary.json").read_text())
    metrics = json.loads((workdir / "metrics.json").read_text())
    assert (summary["seed"], summary["epochs"], summary["test_images"]) == (5, 1, 360)
    assert summary["parameters"] == metrics["parameters"]
    # Measured on the export, in another process, and still the same.
    assert summary["test_accuracy"] == pytest.approx(metrics["top1"])
    assert summary["test_accuracy"] == pytest.approx(1 - summary["test_errors"] / 360)
    assert summary["same_predictions"] is True
    assert summary["max_abs_diff"] < 1e-4
    files = [file for file in (workdir / "saved_model").rglob("*") if file.is_file()]
    assert summary["export_bytes"] == sum(file.stat().st_size for file in files)
    # Weights are stored once: four bytes each, and the graph.
    variables = (workdir / "saved_model" / "variables" / "variables.data-00000-of-00001").stat().st_size
    assert 4 * summary["parameters"] <= variables < 5 * summary["parameters"]


def test_table_and_picture(finished):
    workdir, done = finished
    summary = json.loads((workdir / "summary.json").read_text())
    assert f"{summary['test_accuracy']:.2%}" in done.stdout
    assert f"{summary['max_abs_diff']:.1e}" in done.stdout
    assert str(workdir / "demo.png") in done.stdout
    assert (workdir / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert done.stderr == ""


def test_it_can_be_run_again(finished):
    workdir, _ = finished
    before = (workdir / "metrics.json").stat().st_mtime_ns
    done = demo(f"--workdir={workdir}", "--seed=6", *TOY)
    assert done.returncode == 0, done.stderr
    assert json.loads((workdir / "summary.json").read_text())["seed"] == 6
    assert (workdir / "metrics.json").stat().st_mtime_ns > before


def test_other_trainings_are_safe_from_it(tmp_path):
    (tmp_path / "metrics.json").write_text("{}")
    done = demo(f"--workdir={tmp_path}", *TOY)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "metrics.json").read_text() == "{}"


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "accuracy"), [(0, 0.99), (1, 0.985), (2, 0.985), (3, 0.985), (4, 0.985)])
def test_accuracy(seed, accuracy, tmp_path):
    done = demo(f"--workdir={tmp_path}", f"--seed={seed}", timeout=900)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["test_accuracy"] >= accuracy
    assert summary["same_predictions"]
    assert 0.8e6 < summary["parameters"] < 1e6
