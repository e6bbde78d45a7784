"""Whose directory it is, and what a new run may remove."""

import json

import pytest

from keras_nest.training import run_directory
from keras_nest.training.config import resolve

CONFIG = resolve({"model_name": "nest_tiny_s16_32", "dataset": "digits", "num_epochs": 3})
OTHER = resolve({"model_name": "nest_tiny_s16_32", "dataset": "digits", "num_epochs": 3, "seed": 4})


def test_new_or_empty_directory(tmp_path):
    run_directory.check(tmp_path, CONFIG, overwrite=False)
    run_directory.check(tmp_path / "a" / "b", CONFIG, overwrite=False)
    run_directory.claim(tmp_path / "a" / "b", CONFIG)
    written = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert written["num_epochs"] == 3
    assert written["optim_wd_ignore"] == ["pos_embedding"]


def test_broken_off_run_starts_again_with_the_same_configuration_only(tmp_path):
    run_directory.claim(tmp_path, CONFIG)
    run_directory.check(tmp_path, CONFIG, overwrite=False)
    with pytest.raises(FileExistsError, match=r"another run \(seed is 0 there and 4 here\); choose another --workdir"):
        run_directory.check(tmp_path, OTHER, overwrite=False)
    run_directory.check(tmp_path, OTHER, overwrite=True)


def test_finished_run(tmp_path):
    run_directory.claim(tmp_path, CONFIG)
    run_directory.write_json(tmp_path / "metrics.json", {})
    with pytest.raises(FileExistsError, match="holds a finished run; choose another --workdir, or pass --overwrite"):
        run_directory.check(tmp_path, CONFIG, overwrite=False)
    run_directory.check(tmp_path, CONFIG, overwrite=True)


def test_someone_else_s_model(tmp_path):
    (tmp_path / "model.keras").touch()
    with pytest.raises(FileExistsError, match="holds a model already"):
        run_directory.check(tmp_path, CONFIG, overwrite=False)


def test_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; the working directory must be a directory"):
        run_directory.check(tmp_path / "file", CONFIG, overwrite=False)


def test_claiming_removes_results_and_nothing_else(tmp_path):
    for name in (*run_directory.FILES, "notes.txt"):
        (tmp_path / name).write_text("old")
    run_directory.claim(tmp_path, CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]
    assert (tmp_path / "config.json").read_text() != "old"
