"""`keras-nest predict`, as its user sees it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_nest import cli
from keras_nest.predict import find_images
from tests.predict.conftest import NAMES


def predict(capsys, *arguments):
    """Exit code, what was printed, and what was complained about."""
    code = cli.main(["predict", *map(str, arguments)])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_json(capsys, files, photos, expected):
    code, out, _ = predict(capsys, photos, "--model", files["run"], "--json", "--top", 2, "--batch", 2)
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [str(path) for path in find_images([str(photos)])]
    for row, shares in zip(rows, expected, strict=True):
        best = np.argsort(-shares)[:2]
        assert [answer["class"] for answer in row["predictions"]] == list(best)
        assert [answer["label"] for answer in row["predictions"]] == [NAMES[k] for k in best]
        assert [answer["probability"] for answer in row["predictions"]] == pytest.approx(shares[best], abs=1e-5)


def test_table(capsys, files, photos, expected):
    code, out, _ = predict(capsys, photos / "chelsea.png", "--model", files["saved_model"])
    assert code == 0
    row = expected[1]
    lines = [line for line in out.splitlines() if "%" in line]
    assert len(lines) == 3, "of three classes, all"
    for line, k in zip(lines, np.argsort(-row), strict=True):
        assert NAMES[k] in line
        assert f"{row[k]:.2%}" in line
    assert "chelsea.png" in lines[0]


def test_pictures(capsys, files, photos, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "chelsea.png").write_bytes((photos / "chelsea.png").read_bytes())
    asked = [photos, tmp_path / "other", "--model", files["run"], "--save", tmp_path / "out"]
    assert predict(capsys, *asked)[0] == 0
    names = ["astronaut.png", "chelsea-2.png", "chelsea.png", "rocket.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    pictures = [np.asarray(Image.open(tmp_path / "out" / name).convert("RGB")) for name in names]
    np.testing.assert_array_equal(pictures[1], pictures[2])
    assert (pictures[0] != pictures[2]).any()
    code, _, err = predict(capsys, *asked)
    assert (code, "astronaut.png exists already; pass --overwrite to replace it" in err) == (2, True)
    assert predict(capsys, *asked, "--overwrite")[0] == 0


def test_broken_images_are_told_and_the_others_answered(capsys, files, photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"text")
    asked = [tmp_path / "broken.png", photos / "rocket.png", "--model", files["run"], "--json"]
    code, out, err = predict(capsys, *asked)
    assert (code, len(out.splitlines())) == (1, 1)
    assert err.startswith(f"error: {tmp_path}/broken.png cannot be read as an image;")
    code, out, _ = predict(capsys, tmp_path / "broken.png", "--model", files["run"])
    assert (code, out) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--top", "0"], "--top is 0; it must be 1 or more"),
        (["--batch", "-1"], "--batch is -1; it must be 1 or more"),
        (["nowhere.png"], "There is no image nowhere.png"),
        (["--labels", "nowhere.txt"], "There is no file of class names nowhere.txt"),
    ],
)
def test_bad_input(capsys, files, photos, arguments, message):
    code, out, err = predict(capsys, photos / "rocket.png", *arguments, "--model", files["run"])
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.slow
def test_from_the_shell(files, photos):
    command = [sys.executable, "-m", "keras_nest.cli", "predict", str(photos), "--model", str(files["tflite"])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert all(name in done.stdout for name in (*NAMES, "chelsea.png"))
