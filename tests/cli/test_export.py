"""The exporters' command line."""

import contextlib
import io
import pathlib
import re
import runpy
import sys

import numpy as np
import pytest

from keras_nest import console
from keras_nest.cli import commands as cli
from keras_nest.cli import export as exporter
from keras_nest.predict import open_predictor
from tests.export import toys


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What a training run leaves."""
    folder = tmp_path_factory.mktemp("run")
    toys.build("mixer").save(folder / "model.keras")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in toys.CLASS_NAMES), "utf-8")
    (folder / "metrics.json").write_text('{"top1": 0.75, "examples": 360}')
    (folder / "config.json").write_text('{"dataset": "digits", "loss": "sigmoid"}')
    return folder


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `keras-nest export` in this process: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 110)

    def run_here(*arguments):
        code = cli.main(["export", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run_here


def test_as_a_module(tmp_path, monkeypatch, capsys):
    """In this process; modules as processes of their own: tests/compatibility/test_surface.py."""
    monkeypatch.setattr(sys, "argv", ["export", "nest_tiny", "--format", "saved_model", "--output", f"{tmp_path}/out"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("export", run_name="__main__")
    told, errors = capsys.readouterr()
    assert (ended.value.code, told) == (2, "")
    (sentence,) = errors.splitlines()
    remedy = "add its weights (--weights CHECKPOINT, weights=…)."
    assert sentence == f"error: nest_tiny is the name of a model, not a trained one; {remedy}"
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def models(workdir, tmp_path_factory):
    """Where a run was published, and what was told; read only."""
    output, told = tmp_path_factory.mktemp("published") / "models", io.StringIO()
    with contextlib.redirect_stdout(told), pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.console, "width", 110)
        command = ["export", workdir, "--format", "saved_model", "--output", output, "--archive"]
        assert cli.main([*map(str, command)]) == 0
    return output, told.getvalue()


@pytest.mark.slow
def test_a_run_is_published(models):
    output, told = models
    for row in (r"written .*models/1 ", r"archive .*models/1\.tar\.gz", r"class names +│ 7 ", r"size .* MiB"):
        assert re.search(row, told.replace("\n", " ")), row
    assert re.search(r"serving_bytes +│ image_bytes -> classes, labels, logits, probabilities, scores", told)
    assert sorted(path.name for path in output.iterdir()) == ["1", "1.tar.gz"]
    card = (output / "1/README.md").read_text("utf-8")
    for fact in ("| dataset | digits |", "| examples | 360 |", "| top1 | 0.75 |", "Käuzchen"):
        assert fact in card


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", {}),
        ("--archive", {"archive": True}),
        ("--overwrite --activation softmax", {"overwrite": True, "activation": "softmax"}),
        ("--head none --no-warm-up", {"head": "none", "warm_up": False}),
        ("--labels names.txt", {"class_names": tuple("abcdefg")}),
        ("--optimize cpu --precision bfloat16", {"optimize": "cpu", "precision": "bfloat16"}),
    ],
)
def test_options_are_handed_on(run, models, workdir, tmp_path, monkeypatch, arguments, expected):
    """What they do is in test_versions.py."""
    given = {}

    def publish(model, directory, overwrite, **options):
        given.update(options, overwrite=overwrite)
        return models[0] / "1"

    monkeypatch.setattr(exporter, "publish", publish)
    monkeypatch.chdir(tmp_path)
    pathlib.Path("names.txt").write_text("\n".join("abcdefg"))
    assert run(workdir, "--format", "saved_model", "--output", "out", *arguments.split())[0] == 0
    defaults = {"head": "classifier", "activation": "sigmoid", "warm_up": None, "archive": False, "overwrite": False}
    defaults |= {"vocab": None, "optimize": None, "precision": None}
    metrics = {"dataset": "digits", "top1": 0.75, "examples": 360}
    assert given == {**defaults, "class_names": toys.CLASS_NAMES, "metrics": metrics, **expected}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["saved_model", "--batch-size", "2"], "--batch-size has no meaning for --format saved_model; leave it out."),
        (["tflite", "--batch-size", "0"], "batch_size is 0; it must be at least 1."),
        *(
            (
                [kind, "--head", "none", "--activation", "softmax"],
                "--activation is of scores, and --head none leaves an embedding; leave one of them out.",
            )
            for kind in ("saved_model", "tflite", "onnx")
        ),
        (["web", "--head", "none"], "--head has no meaning for --format web; leave it out."),
        (["tflite", "--input-type", "uint8"], "--input-type has no meaning for --format tflite; leave it out."),
        (
            ["saved_model", "--activation", "none"],
            "--activation none has no meaning for --format saved_model, which has logits beside the probabilities; "
            "leave it out.",
        ),
        (["tflite", "--no-warm-up"], "--no-warm-up has no meaning for --format tflite; leave it out."),
        (
            ["saved_model", "--vocab", "v.txt"],
            "--vocab has no meaning for a model without texts; leave it out.",
        ),
        (["saved_model", "--labels", "missing.txt"], "There is no file of class names missing.txt."),
    ],
)
def test_wrong_options_are_one_sentence(run, workdir, tmp_path, arguments, sentence):
    code, told, errors = run(workdir, "--output", tmp_path / "out", "--format", *arguments)
    assert (code, told, errors) == (2, "", f"error: {sentence}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["m.keras"], ["m.keras", "--format", "saved_model"], ["--format", "jpeg"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["export", *arguments])
    assert stopped.value.code == 2
    assert "usage: keras-nest export" in capsys.readouterr().err


# TFLite's converter raises these about itself.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")
class TestTFLite:
    def test_files_and_a_table(self, run, workdir, tmp_path, monkeypatch):
        monkeypatch.setattr(exporter, "_CALIBRATION_IMAGES", 8)
        monkeypatch.setattr(exporter, "_REPORT_IMAGES", 8)
        code, told, _ = run(
            *(workdir, "--format", "tflite", "--output", tmp_path, "--precision", "float32,int8"),
            *("--representative", "digits", "--batch-size", "2"),
        )
        assert code == 0
        precisions = ("float32", "int8")
        files = {f"{precision}.{kind}" for precision in precisions for kind in ("tflite", "json")}
        assert {path.name for path in tmp_path.iterdir()} == files
        for precision in precisions:
            assert re.search(rf"│ {precision} +│ +[\d.]+ +│ [\d.e+-]+ +│ [\d.]+% .*│ \d+ of \d+ ops", told), precision
        # A file of a run that was trained with a sigmoid answers with it, too.
        images = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
        answers = [open_predictor(source).probabilities(images) for source in (workdir, tmp_path / "float32.tflite")]
        np.testing.assert_allclose(*answers, atol=1e-5)

    def test_an_embedder_has_no_activation(self, run, tmp_path, monkeypatch):
        """Nobody asked for one, whatever the loss of its run says. Its file is in tests/export/test_tflite.py."""
        given = []
        monkeypatch.setattr(exporter, "to_tflite", lambda *_, **options: given.append(options["activation"]) or [])
        toys.build("mixer", num_classes=0).save(tmp_path / "model.keras")
        (tmp_path / "config.json").write_text('{"loss": "sigmoid"}')
        code, _, errors = run(tmp_path, "--format", "tflite", "--output", tmp_path / "out", "--precision", "float32")
        assert (code, errors, given) == (0, "", [None])

    def test_int8_needs_images(self, run, workdir, tmp_path):
        code, _, errors = run(workdir, "--format", "tflite", "--output", tmp_path / "out", "--precision", "int8")
        assert code == 2
        assert errors.startswith("error: ")
        assert not (tmp_path / "out").exists()


def test_a_file_of_stock_layers(run, workdir, tmp_path):
    """Not under the name of a training's model, which it would replace."""
    code, told, _ = run(workdir, "--format", "keras", "--output", tmp_path)
    assert code == 0
    assert re.search(r"written .*stock\.keras ", told.replace("\n", " "))
    assert [path.name for path in tmp_path.iterdir()] == ["stock.keras"]
    assert run(workdir, "--format", "keras", "--output", tmp_path / "mine.keras")[0] == 0
    assert (tmp_path / "mine.keras").is_file()


def test_an_onnx_file(run, workdir, tmp_path, monkeypatch):
    """What the file is worth is in test_onnx.py."""
    given = {}

    def write(model, path, overwrite, **options):
        given.update(options)
        return path.write_bytes(bytes(2**20)) and path

    monkeypatch.setattr("keras_nest.cli.export.to_onnx", write)
    code, told, _ = run(workdir, "--format", "onnx", "--output", tmp_path, "--head", "none", "--input-type", "uint8")
    assert code == 0
    assert (given["head"], given["input_type"], given["activation"]) == ("none", "uint8", None)
    assert given["class_names"] == toys.CLASS_NAMES
    assert given["metrics"]["top1"] == 0.75
    assert re.search(r"written .*model\.onnx .*size .* 1\.0 MiB", told.replace("\n", " "))
