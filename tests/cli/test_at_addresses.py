"""Commands whose models, images, names and outputs lie at addresses, as their users see them."""

import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from keras_nest import console, create_model, outputs
from keras_nest.cli import commands as cli
from keras_nest.predict import find_images
from tests.predict.conftest import NAMES, SMALL


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """Directory, and its address."""
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path / "cache"))
    outputs._check_writable.cache_clear()
    (tmp_path / "bucket").mkdir()
    return tmp_path / "bucket", f"file://{tmp_path}/bucket"


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command in this process: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 400)  # paths of tests are long

    def run_here(*arguments):
        code = cli.main(list(map(str, arguments)))
        return code, *capsys.readouterr()

    return run_here


def shares_of(output):
    """Image -> probabilities by class, of `predict --json`."""
    rows = map(json.loads, output.splitlines())
    return {row["image"]: {each["label"]: each["probability"] for each in row["predictions"]} for row in rows}


def shares_in(table):
    """The percentages in a table, whose columns are as wide as its paths."""
    return re.findall(r"\d+\.\d+%", table)


@pytest.mark.parametrize("kind", ["run", "keras", "versions", "tflite"])
def test_models(kind, run, files, photos, expected):
    code, output, errors = run("predict", photos, "--model", f"file://{files[kind]}", "--json")
    assert (code, errors) == (0, "")
    for found, shares in zip(shares_of(output).values(), expected, strict=True):
        assert found == pytest.approx(dict(zip(NAMES, shares, strict=True)), abs=1e-5)


def test_images_and_names(run, files, photos, bucket):
    """A folder with folders in it, and one of its images by itself."""
    folder, address = bucket
    shutil.copytree(photos, folder / "a/b")
    (folder / "a/notes.txt").write_text("x")
    (folder / "names.txt").write_text("1\n2\n3\n")
    words = ("predict", f"{address}/a", f"{address}/a/b/rocket.png", "--json", "--labels", f"{address}/names.txt")
    code, output, errors = run(*words, "--model", files["bare"])
    assert (code, errors) == (0, "")
    assert list(shares_of(output)) == [f"{address}/a/b/{path.name}" for path in sorted(photos.iterdir())]
    there, here = (run("predict", place, "--model", files["keras"])[1] for place in (f"{address}/a", photos))
    assert shares_in(there) == shares_in(here)
    (folder / "a/b/rocket.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, _, errors = run("predict", f"{address}/a", "--model", files["keras"])
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith(f"error: {address}/a/b/rocket.png cannot be read as an image")


def test_what_is_not_there(run, files, bucket):
    for words in ((f"{bucket[1]}/x", "--model", files["keras"]), (f"{bucket[1]}/*.png", "--model", files["keras"])):
        code, _, errors = run("predict", *words)
        assert code == 2
        assert errors.startswith(f"error: There is no image {words[0]}; it must be a file, or a folder with files")


@pytest.mark.parametrize("command", ["info {}", "export {} --format keras --output x", "predict PHOTO --model {}"])
def test_no_model_is_there(command, run, photos):
    words = command.replace("PHOTO", str(photos / "rocket.png")).format("file:///none").split()
    code, _, errors = run(*words)
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: There is no model file:///none; give a .keras file, the directory of a finished")


def test_what_is_told_names_the_address(run, files, bucket, model):
    """And not the copy of what lies there."""
    folder, address = bucket
    shutil.copytree(files["run"], folder / "run")
    code, _, errors = run("evaluate", f"{address}/run")
    assert code == 2
    assert errors == (f"error: {address}/run does not tell which images it was measured with; give some with --data.\n")
    model.save_weights(folder / "x.weights.h5")
    with pytest.raises(
        ValueError, match=f"^{address}/x.weights.h5 does not fit 'nest_tiny_s196_224.: PatchEmbedding_0"
    ):
        create_model("nest_tiny", weights=f"{address}/x.weights.h5", **SMALL | {"embedding_dim": 4})


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_pictures(command, run, files, photos, bucket):
    folder, address = bucket
    words = (command, photos / "rocket.png", "--model", files["keras"], "--save", f"{address}/x")
    code, _, errors = run(*words)
    assert (code, errors) == (0, "")
    with Image.open(folder / "x/rocket.png") as picture:
        assert picture.size[0] > 100
    assert run(*words) == (2, "", f"error: {address}/x/rocket.png exists already; pass --overwrite to replace it.\n")
    assert run(*words, "--overwrite")[0] == 0
    assert [path.name for path in folder.rglob("*")] == ["x", "rocket.png"]


def test_figures(run, files, photos, bucket):
    folder, address = bucket
    data = folder.parent / "data" / "owl"
    shutil.copytree(photos, data)
    saved = [word for suffix in ("json", "csv", "html") for word in ("--save", f"{address}/x.{suffix}")]
    words = ("evaluate", f"file://{files['run']}", "--data", data.parent, *saved)
    code, output, errors = run(*words)
    assert (code, errors) == (0, "")
    assert f"file://{files['run']} on {data.parent}" in output
    assert json.loads((folder / "x.json").read_text())["examples"] == 3
    rows = list(csv.DictReader((folder / "x.csv").read_text("utf-8").splitlines()))
    assert {row["file"] for row in rows} == set(map(str, find_images([str(data)])))
    assert f"file://{files['run']}" in (folder / "x.html").read_text("utf-8")
    assert run(*words) == (2, "", f"error: {address}/x.json exists already; pass --overwrite to replace it.\n")


@pytest.mark.parametrize("name", ["x.keras", "x.weights.h5"])
def test_converted(name, run, files, bucket, model):
    folder, address = bucket
    code, output, _ = run("convert", files["keras"], f"{address}/{name}")
    assert code == 0
    assert f"{address}/{name}" in "".join(output.split())
    start = time.time()
    code, _, errors = run("convert", files["keras"], f"{address}/{name}")
    assert (code, errors) == (
        2,
        f"error: {address}/{name} exists already; pass overwrite=True (--overwrite) to replace it.\n",
    )
    assert time.time() - start < 1
    again = type(model).from_config(model.get_config())
    again.load_weights(folder / name) if name.endswith("h5") else None
    assert (folder / name).stat().st_size > 1000
    assert [path.name for path in folder.iterdir()] == [name]
    if name.endswith("h5"):
        assert all(map(np.array_equal, again.get_weights(), model.get_weights()))


@pytest.mark.slow
def test_from_the_command_line(files, photos, bucket, tmp_path):
    """In processes of their own, from another directory."""
    folder, address = bucket

    def keras_nest(*words):
        command = [pathlib.Path(sys.executable).with_name("keras-nest"), *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"COLUMNS": "300"}
        )
        assert "keras-nest-" not in done.stdout + done.stderr, "only addresses are told"
        return done

    words = ("export", f"file://{files['run']}", "--format", "saved_model", "--output", f"{address}/models")
    for number in (1, 2):
        done = keras_nest(*words)
        assert (done.returncode, done.stderr) == (0, "")
        # Long paths are folded inside their cell.
        assert f"{address}/models/{number}" in re.sub(r"[\s│]", "", done.stdout)
    assert sorted(path.name for path in (folder / "models").iterdir()) == ["1", "2"]
    done = keras_nest("predict", photos / "rocket.png", "--model", f"{address}/models", "--json")
    assert set(shares_of(done.stdout)[str(photos / "rocket.png")]) == set(NAMES)
    assert not list(tmp_path.glob("file:*"))
