"""Whose directory it is, and what a new run may remove."""

import json
import pathlib

import pytest

from keras_nest.training import run_directory
from keras_nest.training.config import resolve

FIELDS = {"model_name": "nest_tiny_s16_32", "dataset": "digits", "num_epochs": 3, "model": {"num_heads": (1, 2)}}
CONFIG = run_directory.as_json(resolve(FIELDS))
OTHER = {**CONFIG, "seed": 4}


def test_new_or_empty_directory(tmp_path):
    run_directory.check(tmp_path, CONFIG, overwrite=False)
    run_directory.check(tmp_path / "a" / "b", CONFIG, overwrite=False)
    run_directory.claim(tmp_path / "a" / "b", CONFIG, overwrite=False)
    written = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert written == CONFIG
    assert (written["num_epochs"], written["model"]["num_heads"]) == (3, [1, 2])


def test_run_goes_on_with_the_same_configuration_only(tmp_path):
    run_directory.claim(tmp_path, CONFIG, overwrite=False)
    run_directory.check(tmp_path, CONFIG, overwrite=False)
    message = r"another run \(seed is 0 there and 4 here\); choose another --workdir, or pass --overwrite to replace it"
    with pytest.raises(FileExistsError, match=message):
        run_directory.check(tmp_path, OTHER, overwrite=False)
    run_directory.check(tmp_path, OTHER, overwrite=True)


def test_every_field_that_differs_is_told(tmp_path):
    run_directory.claim(tmp_path, {**CONFIG, "old": 1}, overwrite=False)
    with pytest.raises(FileExistsError, match=r"model is {'num_heads': \[1, 2\]} there and {} here, old is 1 there"):
        run_directory.check(tmp_path, {**CONFIG, "model": {}}, overwrite=False)


@pytest.mark.parametrize(("name", "content"), [("model.keras", "a model"), ("checkpoints", "checkpoints")])
def test_results_of_nobody(name, content, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError, match=f"holds {content} already, without config.json; choose another"):
        run_directory.check(tmp_path, CONFIG, overwrite=False)
    run_directory.check(tmp_path, CONFIG, overwrite=True)


def test_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()
    for overwrite in (False, True):
        with pytest.raises(NotADirectoryError, match="is a file; the working directory must be a directory"):
            run_directory.check(tmp_path / "file", CONFIG, overwrite)


def test_address_in_place_of_a_directory():
    with pytest.raises(ValueError, match="gs:/bucket/run is an address and no path of this machine; give a path here"):
        run_directory.check(pathlib.Path("gs://bucket/run"), CONFIG, False)


def test_results(tmp_path):
    assert run_directory.results(tmp_path) is None
    run_directory.write_json(tmp_path / "metrics.json", {"top1": 0.5})
    assert run_directory.results(tmp_path) == {"top1": 0.5}


def fill(workdir):
    """Everything that a run writes, something half-written, and something of the user's."""
    for name in (*run_directory.FILES, "notes.txt", ".partial-0123abcd-model.keras"):
        (workdir / name).write_text("{}")
    for name in (run_directory.CHECKPOINTS, run_directory.BOARD):
        (workdir / name).mkdir()
        (workdir / name / "file").touch()
    (workdir / run_directory.CHECKPOINTS / "ckpt-8_temp").mkdir()


def test_going_on_removes_nothing_but_what_is_half_written(tmp_path):
    fill(tmp_path)
    run_directory.claim(tmp_path, CONFIG, overwrite=False)
    kept = {*run_directory.FILES, run_directory.CHECKPOINTS, run_directory.BOARD, "notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert [path.name for path in (tmp_path / run_directory.CHECKPOINTS).iterdir()] == ["file"]


def test_overwriting_removes_results_and_nothing_else(tmp_path):
    fill(tmp_path)
    run_directory.claim(tmp_path, CONFIG, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "notes.txt"}
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIG
