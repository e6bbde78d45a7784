"""`keras-nest evaluate` and `report`, as their user sees them."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, log_loss

from keras_nest import console
from keras_nest.cli import commands as cli
from keras_nest.data.sources.table import read_table
from keras_nest.predict import open_predictor, read_image
from tests import browser
from tests.finetune.conftest import folder, trained  # noqa: F401 - of the package that does the work
from tests.predict.conftest import NAMES, files, model  # noqa: F401 - of the package that does the work


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command in this process: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 110)

    def run_here(*words):
        code = cli.main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run_here


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Images of two of the three classes, whose order is not the model's."""
    root = tmp_path_factory.mktemp("my data")
    generator = np.random.default_rng(0)
    for name, count in (("猫", 5), ("cat, tabby", 4)):
        (root / name).mkdir()
        for number in range(count):
            pixels = generator.integers(0, 255, (20, 24 + number, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "saved_model", "tflite"])
def test_every_kind_of_file(kind, run, files, classes, tmp_path):  # noqa: F811
    """Figures, and a row for each image, as its answers give them, which are found by the names of the classes."""
    paths = sorted(classes.glob("*/*"))
    shares = open_predictor(files[kind]).probabilities([read_image(path) for path in paths])
    labels = [NAMES.index(path.parent.name) for path in paths]
    outputs = [tmp_path / name for name in ("a.json", "a.csv", "a.png", "a.html")]
    words = [word for path in outputs for word in ("--save", path)]
    code, output, errors = run("evaluate", files[kind], "--data", classes, *words)
    assert (code, errors) == (0, "")
    assert "of 9 images" in output
    found = json.loads(outputs[0].read_text())
    taken = shares.argmax(axis=1)
    assert found["top1"] == pytest.approx(np.mean(taken == labels))
    assert found["loss"] == pytest.approx(log_loss(labels, shares, labels=range(3)), rel=1e-4)
    present = sorted({*labels, *taken.tolist()})
    assert [row["name"] for row in found["classes"]] == [NAMES[k] for k in present]
    assert found["confusion"] == confusion_matrix(labels, taken, labels=present).tolist()
    rows = list(csv.DictReader(outputs[1].read_text("utf-8").splitlines()))
    assert {row["file"] for row in rows} == set(map(str, paths))
    assert sum(row["class"] == row["predicted"] for row in rows) == sum(taken == labels)
    with Image.open(outputs[2]) as picture:
        assert picture.size[0] > 400
    assert "cat, tabby" in outputs[3].read_text("utf-8")
    code, _, errors = run("evaluate", files[kind], "--data", classes, *words)
    assert (code, errors) == (2, f"error: {outputs[0]} exists already; pass --overwrite to replace it.\n")


def test_json_and_broken_files(run, files, classes, tmp_path):  # noqa: F811
    copy = shutil.copytree(classes, tmp_path / "copy")
    (copy / "猫" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    code, output, errors = run("evaluate", files["keras"], "--data", copy, "--json")
    assert code == 1
    assert "broken.jpg cannot be read as an image" in errors
    found = json.loads(output)
    assert (found["examples"], found["left_out"], found["part"]) == (9, 1, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["KERAS", "--data", "OTHER"], "OTHER has images of 'dog', which the model does not know; known are owl, "),
        (["BARE", "--data", "DATA"], "The model's classes have no names, by which those of the images could be found"),
        (["KERAS"], "Only the directory of a training tells which images to measure with; give some with --data."),
        (["RUN"], "RUN does not tell which images it was measured with; give some with --data."),
        (["KERAS", "--data", "DATA", "--save", "a.txt"], "a.txt has no suffix of a picture; it must end in one of"),
        (["KERAS", "--data", "DATA", "--batch", "0"], "--batch is 0; it must be 1 or more."),
    ],
)
def test_one_sentence(words, sentence, run, files, classes, tmp_path):  # noqa: F811
    (tmp_path / "dog").mkdir()
    shutil.copy(classes / "猫" / "0.png", tmp_path / "dog")
    names = {"OTHER": tmp_path, "DATA": classes, "KERAS": files["keras"], "BARE": files["bare"], "RUN": files["run"]}
    code, output, errors = run("evaluate", *(names.get(word, word) for word in words))
    assert (code, output) == (2, "")
    for word, path in names.items():
        sentence = sentence.replace(word, str(path))
    assert errors.startswith(f"error: {sentence}")
    assert errors.count("\n") == 1


def test_images_that_trained_the_model_are_told(run, files, classes, tmp_path):  # noqa: F811
    """Whoever measures a run with the folder it was made from would take it for better than it is."""
    workdir = shutil.copytree(files["run"], tmp_path / "run")
    rows = [f"{path},{path.parent.name},train" for path in sorted((classes / "猫").iterdir())[:3]]
    rows += [f"{path},{path.parent.name},test" for path in (classes / "猫").iterdir() if f"{path}," not in str(rows)]
    rows = [row.replace("cat, tabby", '"cat, tabby"') for row in rows]
    (workdir / "images.csv").write_text("\n".join(["file,class,part", *rows]), "utf-8")
    for path in (workdir, workdir / "model.keras"):
        code, output, _ = run("evaluate", path, "--data", classes)
        assert code == 0
        assert "3 of these; it does worse on new images" in output
    code, output, _ = run("evaluate", workdir)
    assert (code, "trained with" in output) == (0, False)


def test_no_run_to_report(run, tmp_path):
    code, _, errors = run("report", tmp_path)
    assert code == 2
    assert errors == f"error: {tmp_path} is no directory of a finished training; it holds no metrics.json.\n"


@pytest.fixture(scope="module")
def tuned(trained, folder, tmp_path_factory):  # noqa: F811
    """Directory of a fine-tuning of the head alone, with a temperature."""
    workdir = tmp_path_factory.mktemp("runs") / "tuned"
    words = ["finetune", folder, "--model", trained, "--workdir", workdir, "--blocks", 0, "--calibrate", "--seed", 3]
    assert cli.main([str(word) for word in words]) == 0
    return workdir


@pytest.mark.slow
class TestAFineTuning:
    def test_the_same_figures_as_in_training(self, tuned, run):
        metrics = json.loads((tuned / "metrics.json").read_text())
        code, output, _ = run("evaluate", tuned, "--json")
        found = json.loads(output)
        assert code == 0
        for name in ("top1", "top5", "loss", "examples"):
            assert found[name] == pytest.approx(metrics[name], rel=1e-4), name
        theirs = {row["name"]: row for row in metrics["classes"]}
        assert [row for row in found["classes"] if row != theirs[row["name"]]] == []
        val = json.loads(run("evaluate", tuned, "--split", "val", "--json")[1])
        assert [val[name] for name in ("top1", "loss")] == pytest.approx(
            [metrics["val"][name] for name in ("top1", "loss")], rel=1e-4
        )

    def test_an_export_has_the_temperature(self, tuned, run, tmp_path):
        """And its card names neither the trainer's disk nor the list of images."""
        temperature = json.loads((tuned / "metrics.json").read_text())["temperature"]
        assert temperature != 1
        images = [read_image(row.file) for row in read_table(tuned / "images.csv").rows if row.part == "test"]
        ours = open_predictor(tuned).probabilities(images)
        for words in (["saved_model"], ["tflite", "--precision", "float32"]):
            assert run("export", tuned, "--format", *words, "--output", tmp_path / words[0])[0] == 0
        exports = (tmp_path / "saved_model" / "1", next((tmp_path / "tflite").glob("*.tflite")))
        for path in exports:
            np.testing.assert_allclose(open_predictor(path).probabilities(images), ours, atol=1e-5)
        with np.load(tuned / "probe.npz") as head:
            kernel = open_predictor and head["kernel"] / temperature
        loaded = tuned / "model.keras"
        assert np.allclose(_head(loaded)[0], kernel)
        card = (exports[0] / "README.md").read_text("utf-8")
        assert "| dataset | my photos |" in card
        assert str(tuned.parent) not in card

    @browser.needs_chromium()
    def test_the_report(self, tuned, run):
        assert (tuned / "report.html").is_file()
        (tuned / "report.html").unlink()
        code, output, _ = run("report", tuned)
        assert (code, output) == (0, f"The report is {tuned / 'report.html'}.\n")
        with browser.page((tuned / "report.html").as_uri(), 400) as seen:
            assert browser.overflow(seen) == []
            top1 = json.loads((tuned / "metrics.json").read_text())["top1"]
            assert seen.inner_text(".headline").replace("\u00a0", " ").split()[0] == f"{100 * top1:.1f}"
            # Of each image, what the model sees, and where it looks.
            assert seen.evaluate("[...document.querySelectorAll('.pictures')].every(p => p.children.length == 2)")


def _head(path):
    import keras_nest

    opened = keras_nest.open_model(path).model
    return opened.get_layer(opened.HEAD[-1]).get_weights()


@pytest.mark.parametrize("measured", ["top1", "map"])
def test_a_list_tells_what_the_training_was_measured_by(measured, run, files, classes, tmp_path):  # noqa: F811
    """A comma is part of a name where each image has one class, though each class is told for itself."""
    workdir = shutil.copytree(files["run"], tmp_path / "run")
    (workdir / "config.json").write_text('{"loss": "sigmoid"}')
    (workdir / "metrics.json").write_text(json.dumps({measured: 0.5}))
    rows = [f'"{path}","{path.parent.name}"' for path in sorted(classes.glob("*/*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["file,label", *rows]), "utf-8")
    words = ("evaluate", workdir, "--data", tmp_path / "list.csv", "--json")
    code, output, errors = run(*words, *(["--task", "single-label"] if measured == "map" else []))
    assert errors == ""
    assert (code, "top1" in json.loads(output)) == (0, True)
    if measured == "map":
        code, _, errors = run(*words)
        assert (code, "has images of 'cat'" in errors) == (2, True)
        code, _, errors = run("evaluate", workdir, "--data", classes)
        assert (code, "or take --task single-label." in errors) == (2, True)
