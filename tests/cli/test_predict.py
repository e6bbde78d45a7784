"""`keras-nest predict`, as its user sees it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_nest.cli import answers as answers_module
from keras_nest.cli import commands as cli
from keras_nest.cli import predict as command
from keras_nest.predict import Predictor, find_images
from tests.predict.conftest import NAMES


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """What a training leaves; of the other kinds of files, `files` of tests/predict, writing takes longer."""
    folder = tmp_path_factory.mktemp("run")
    model.save(folder / "model.keras")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES), "utf-8")
    return folder


def predict(capsys, *arguments):
    """Exit code, what was printed, and what was complained about."""
    code = cli.main(["predict", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_json(capsys, run, photos, expected):
    code, out, _ = predict(capsys, photos, "--model", run, "--json", "--top", 2, "--batch", 2)
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [str(path) for path in find_images([str(photos)])]
    for row, shares in zip(rows, expected, strict=True):
        best = np.argsort(-shares)[:2]
        assert [answer["class"] for answer in row["predictions"]] == list(best)
        assert [answer["label"] for answer in row["predictions"]] == [NAMES[k] for k in best]
        assert [answer["probability"] for answer in row["predictions"]] == pytest.approx(shares[best], abs=1e-5)


def test_table(capsys, run, photos, expected):
    code, out, _ = predict(capsys, photos / "chelsea.png", "--model", run)
    assert code == 0
    row = expected[1]
    lines = [line for line in out.splitlines() if "%" in line]
    assert len(lines) == 3, "of three classes, all"
    for line, k in zip(lines, np.argsort(-row), strict=True):
        assert NAMES[k] in line
        assert f"{row[k]:.2%}" in line
    assert "chelsea.png" in lines[0]


def test_pictures(capsys, run, photos, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "chelsea.png").write_bytes((photos / "chelsea.png").read_bytes())
    asked = [photos, tmp_path / "other", "--model", run, "--save", tmp_path / "out"]
    assert predict(capsys, *asked)[0] == 0
    names = ["astronaut.png", "chelsea-2.png", "chelsea.png", "rocket.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    pictures = [np.asarray(Image.open(tmp_path / "out" / name).convert("RGB")) for name in names]
    np.testing.assert_array_equal(pictures[1], pictures[2])
    assert (pictures[0] != pictures[2]).any()
    code, _, err = predict(capsys, *asked)
    assert (code, "astronaut.png exists already; pass --overwrite to replace it" in err) == (2, True)
    assert predict(capsys, *asked, "--overwrite")[0] == 0


def test_broken_images_are_told_and_the_others_answered(capsys, run, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"text")
    asked = [tmp_path / "broken.png", photos / "rocket.png", "--model", run, "--json"]
    code, out, err = predict(capsys, *asked)
    assert (code, len(out.splitlines())) == (1, 1)
    assert err.startswith(f"error: {tmp_path}/broken.png cannot be read as an image;")
    code, out, _ = predict(capsys, tmp_path / "broken.png", "--model", run)
    assert (code, out) == (1, "")


@pytest.fixture
def hostile(photos, tmp_path):
    """An image, a strip of 10,000 x 1 pixels, another image in a folder, and what is none."""
    fine, folder = (photos / "chelsea.png").read_bytes(), tmp_path / "hostile"
    (folder / "folder.png").mkdir(parents=True)
    contents = {"fine": fine, "empty": b"", "cut": fine[:-300], "text": b"text", "folder.png/inside": fine}
    contents["bomb"] = fine[:16] + 2 * (60_000).to_bytes(4, "big") + fine[24:]
    for name, content in contents.items():
        (folder / f"{name}.png").write_bytes(content)
    (folder / "gone.png").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.png")
    Image.fromarray(np.full((1, 10_000, 3), 99, np.uint8)).save(folder / "strip.png")
    return folder


def test_each_fault_belongs_to_its_image(capsys, run, hostile):
    assert_faults_belong_to_their_images(capsys, run, hostile)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_each_fault_belongs_to_its_image_with_other_files(capsys, files, hostile, kind):
    assert_faults_belong_to_their_images(capsys, files[kind], hostile)


def assert_faults_belong_to_their_images(capsys, model, hostile):
    code, out, err = predict(capsys, hostile, "--model", model, "--json")
    answered = [json.loads(line)["image"] for line in out.splitlines()]
    assert (code, answered) == (1, [f"{hostile}/{name}.png" for name in ("fine", "folder.png/inside", "strip")])
    told = [line.split(" ")[1].rpartition("/")[2] for line in err.splitlines()]
    assert told == ["bomb.png", "cut.png", "empty.png", "gone.png", "pipe.png", "text.png"]


class TestFaultsOfTheModel:
    @pytest.fixture
    def answers(self, monkeypatch):
        """Sets what the model says of each image, by its height; gives the sizes of the batches that it gets."""

        def set_function(function):
            sizes = []

            def probabilities(images):
                sizes.append(len(images))
                return np.stack([function(len(image)) for image in images])

            monkeypatch.setattr(command, "open_predictor", lambda *_: Predictor(probabilities, 2))
            return sizes

        return set_function

    @pytest.mark.parametrize(
        ("error", "said"),
        [
            (ValueError("no\nmore"), "no"),
            (tf.errors.InvalidArgumentError(None, None, "no\nmore"), "no"),
            (
                tf.errors.ResourceExhaustedError(None, None, "{{node}} OOM"),
                "there is not enough memory for this image.",
            ),
            (MemoryError(), "there is not enough memory for this image."),
        ],
    )
    def test_an_image_that_is_refused_does_not_take_its_batch_with_it(self, capsys, photos, answers, error, said):
        def refuse(height):
            if height == 36:
                raise error
            return [0.25, 0.75]

        answers(refuse)
        code, out, err = predict(capsys, photos, "--model", "any", "--json")
        assert (code, len(out.splitlines())) == (1, 2)
        assert err == f"error: {photos}/chelsea.png: {said}\n"

    def test_what_is_no_number_is_no_answer(self, capsys, photos, answers):
        answers(lambda height: [0.5, np.nan if height == 36 else 0.5])
        code, out, err = predict(capsys, photos, "--model", "any", "--json")
        assert (code, len(out.splitlines())) == (1, 2)
        assert err == f"error: {photos}/chelsea.png: the model does not answer with numbers (NaN or infinity).\n"

    @pytest.mark.parametrize("options", [["--json"], []])
    def test_what_was_answered_before_the_end_is_there(self, capsys, photos, answers, options, monkeypatch):
        def stop(height):
            if height == 16:
                raise KeyboardInterrupt
            return [0.25, 0.75]

        answers(stop)
        monkeypatch.chdir(photos)  # short names
        code, out, _ = predict(capsys, ".", "--model", "any", "--batch", 1, *options)
        assert code == 130
        assert [name in out for name in ("astronaut.png", "chelsea.png", "rocket.png")] == [True, True, False]

    def test_large_images_come_in_small_batches(self, capsys, photos, answers, monkeypatch):
        sizes = answers(lambda height: [0.25, 0.75])
        monkeypatch.setattr(answers_module, "MAX_PIXELS", 2 * 48 * 36)
        assert predict(capsys, photos, "--model", "any")[0] == 0
        assert sizes == [2, 1], "1,000, 1,728 and 256 pixels"


class TestNames:
    FACE = "\N{GRINNING FACE}.png"
    NAMES = (b"new\nline.png", b"[red]x[red].png", b"bytes\xff.png", FACE.encode(), b"x" * 240 + b".png")

    @pytest.fixture
    def folder(self, photos, tmp_path):
        for name in self.NAMES:
            with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
                file.write((photos / "rocket.png").read_bytes())
        return tmp_path

    def test_all_are_in_the_table(self, capsys, run, folder, monkeypatch):
        monkeypatch.chdir(folder)
        code, out, _ = predict(capsys, ".", "--model", run, "--top", 1)
        lines = [line.strip() for line in out.splitlines()]
        assert code == 0
        for shown in (r"new\nline.png", "[red]x[red].png", r"bytes\udcff.png", self.FACE):
            assert any(line.startswith(f"{shown} ") for line in lines)
        assert sum(line.split(" ")[0].count("x") for line in lines) >= 240, "in several lines"

    @pytest.mark.slow
    def test_all_are_answered_where_the_locale_knows_ascii_alone(self, run, folder):
        """In one process, started as `python -m keras_nest` is: as rows of JSON, and as a table."""
        script = (
            "import runpy, sys\nfor options in (['--json'], []):\n"
            f"    sys.argv = ['keras_nest', 'predict', '.', '--model', {str(run)!r}, '--top', '1', *options]\n"
            "    try:\n        runpy.run_module('keras_nest', run_name='__main__')\n"
            "    except SystemExit as ended:\n        assert not ended.code\n"
        )
        ascii_alone = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, cwd=folder, env=os.environ | ascii_alone)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        rows, table = lines[: len(self.NAMES)], b"\n".join(lines[len(self.NAMES) :])
        assert {os.fsencode(json.loads(line)["image"]) for line in rows} == set(self.NAMES)
        assert all(name in table for name in (rb"new\nline", b"[red]x", rb"bytes\udcff", rb"\U0001f600"))

    def test_each_has_a_picture_of_its_own(self, capsys, run, photos, tmp_path):
        names = ["a/x.png", "b/x.png", "x-2.png", "X.png", f"{'y' * 250}.png"]
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes((photos / "rocket.png").read_bytes())
        asked = [tmp_path / name for name in names]
        assert predict(capsys, *asked, "--model", run, "--save", tmp_path / "out")[0] == 0
        written = {path.name.lower() for path in (tmp_path / "out").iterdir()}
        assert written == {"x.png", "x-2.png", "x-2-2.png", "x-3.png", f"{'y' * 200}.png"}

    def test_no_picture_replaces_an_image(self, capsys, run, photos, tmp_path):
        image = tmp_path / "x.png"
        image.write_bytes((photos / "rocket.png").read_bytes())
        code, _, err = predict(capsys, image, "--model", run, "--save", tmp_path, "--overwrite")
        assert (code, "x.png is one of the images; save the pictures in another folder" in err) == (2, True)
        assert image.read_bytes() == (photos / "rocket.png").read_bytes()

    def test_a_picture_that_cannot_be_written_costs_no_answer(self, capsys, run, photos, tmp_path, monkeypatch):
        def fail(path, *_):
            raise PermissionError(f"{path.name} cannot be written to")

        monkeypatch.setattr(answers_module, "save_picture", fail)
        code, out, err = predict(capsys, photos, "--model", run, "--save", tmp_path, "--json")
        assert (code, len(out.splitlines()), len(err.splitlines())) == (1, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "0"], "--top is 0; it must be 1 or more"),
        (["--batch", "-1"], "--batch is -1; it must be 1 or more"),
        (["nowhere.png"], "There is no image nowhere.png"),
        (["--labels", "nowhere.txt"], "There is no file of class names nowhere.txt"),
    ],
)
def test_bad_input(capsys, run, photos, arguments, message):
    code, out, err = predict(capsys, photos / "rocket.png", *arguments, "--model", run)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
