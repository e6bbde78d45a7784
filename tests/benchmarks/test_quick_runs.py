"""Each benchmark runs at toy size, prints its table and writes it; how long anything takes is not tested."""

import csv
import importlib
import json
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image

from benchmarks import cores, cross_validation, finetune, input_pipeline
from keras_nest.cli.parser import build_parser


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "candidates", "more"),
    [
        ("forward", {"Keras, graph", "Keras, XLA", "Flax, jax.jit"}, ["--batch", "2"]),
        ("conversion", {"NumPy reads the bytes", "conversion: read, assign, save"}, []),
    ],
)
def test_quick_run(name, candidates, more, tmp_path, capsys):
    importlib.import_module(f"benchmarks.{name}").main(["--quick", "--results", str(tmp_path), *more])
    assert_table(name, candidates, tmp_path, capsys.readouterr().out)


@pytest.mark.slow
def test_quick_run_of_the_input_pipeline(tmp_path, capsys, monkeypatch):
    """With the threads and the cores of this process, which other tests need."""
    limited = []
    monkeypatch.setattr(input_pipeline, "_use_one_core", lambda: limited.append(1))
    input_pipeline.main(["--quick", "--results", str(tmp_path)])
    assert limited
    assert_table("input_pipeline", {"read", "randaugment", "mix"}, tmp_path, capsys.readouterr().out)


def test_models_of_a_fold():
    models = {name: make() for name, make in cross_validation.MODELS.items()}
    assert {name: model.output_shape for name, model in models.items()} == dict.fromkeys(models, (None, 4))
    assert all(model.count_params() > 50_000 for model in models.values())


@pytest.mark.slow
def test_memory_of_a_fold(monkeypatch, capsys):
    """Of a toy, and without forgetting all models, which those of other tests would not survive."""
    forgotten = []
    monkeypatch.setattr(keras.backend, "clear_session", lambda: forgotten.append(1))
    monkeypatch.setitem(cross_validation.MODELS, "ViT", flat)
    cross_validation.main(["--of", "ViT", "--folds", "4", "--collect"])
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"parameters", "variables", "growth"}
    assert (found["parameters"], found["variables"]) == (3 * 32**2 * 4 + 4, 2)
    assert len(forgotten) == 4


def flat():
    return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])


def test_quick_run_of_fine_tuning(tmp_path, monkeypatch, capsys):
    """What the command does with these words, and the metrics that it leaves: tests/cli/test_finetune.py."""
    asked = []

    def execute(command, **_):
        options = build_parser().parse_args(command[3:])
        workdir, start = pathlib.Path(options.workdir), pathlib.Path(options.model)
        asked.append((len(list(pathlib.Path(options.folder, "train").iterdir())), start.suffix))
        assert start.exists()
        workdir.mkdir()
        measured = {"top1": 0.5, "examples": 30, "train_seconds": 1.0, "steps": 2}
        (workdir / "metrics.json").write_text(json.dumps(measured))

    monkeypatch.setattr(finetune.subprocess, "run", execute)
    finetune.main(["--quick", "--results", str(tmp_path)])
    assert asked == [(10, ".keras"), (6, ""), (6, ".keras")]
    assert "crops of each of six photographs" in capsys.readouterr().out
    with (tmp_path / "finetune.csv").open(newline="") as file:
        rows = {row["candidate"]: row for row in csv.DictReader(file)}
    assert list(rows) == [finetune.PRETRAINED, finetune.SCRATCH]
    for row in rows.values():
        assert (row["test images"], row["mean accuracy %"], row["median steps"]) == ("30", "50.0", "2")
        assert row["lowest"] == row["highest"] == "50.0"


def test_crops_of_two_parts_share_no_pixel(tmp_path):
    """Each cell of the photograph has a color of its own."""
    colors = np.arange(finetune.CELLS**2, dtype=np.uint8).reshape(finetune.CELLS, -1) * 16
    photograph = Image.fromarray(np.kron(colors, np.ones((50, 60), np.uint8))).convert("RGB")
    finetune.write(tmp_path, {"one": photograph}, finetune.PARTS, 3, seed=0)
    found = {}
    for part, count in finetune.PARTS.items():
        crops = [np.unique(Image.open(file)).tolist() for file in (tmp_path / part / "one").iterdir()]
        assert [len(crop) for crop in crops] == [1] * 3 * count
        found[part] = {color for (color,) in crops}
    assert {part: len(found[part]) for part in found} == finetune.PARTS
    assert len(set().union(*found.values())) == finetune.CELLS**2


def assert_table(name, candidates, folder, shown):
    with (folder / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert candidates <= {row["candidate"] for row in rows}
    for candidate in candidates:
        assert candidate.split(",")[0].split(":")[0] in shown
    medians = [float(value) for row in rows for column, value in row.items() if column.startswith("median")]
    assert medians
    assert min(medians) > 0


def test_cores(capsys):
    """The formula by hand: 312e12 / 2 operations a second, and 6 for each of a billion multiply-adds."""
    speed = cores.step_speed(312e12, 1e9, 0.5)
    assert speed == pytest.approx(26_000)
    assert cores.cores(speed, 400) == 65
    cores.main(["--images-per-core", "400", "--images-per-step-second", "26001"])
    assert capsys.readouterr().out == "66 cores, of 400 images/s each.\n"
    cores.main(["--images-per-core", "100"])
    table = capsys.readouterr().out
    assert all(name in table for name in (*cores.PEAKS, *cores.MODELS))
    assert "40% of the peak, which is assumed." in table
