"""What a user may type as the name of a checkpoint."""

import os
import shutil

import numpy as np
import pytest

from keras_nest import conversion
from keras_nest.conversion.sources import locate
from tests.golden import loading

PUBLISHED = loading.FOLDER / "checkpoint_tiny"
FLAX_FILE = str(PUBLISHED / "ckpt-39.flax")


@pytest.mark.parametrize(
    "name",
    ["", "ckpt.39", "ckpt-39", "ckpt-39.flax", "ckpt-39.index", "ckpt-39.data-00000-of-00001", "checkpoint"],
)
def test_every_name_of_the_published_directory(name):
    assert locate(f"{PUBLISHED}/{name}") == FLAX_FILE


def test_relative_names(monkeypatch):
    monkeypatch.chdir(PUBLISHED)
    for name in (".", "ckpt.39", "ckpt-39.index", "checkpoint"):
        assert os.path.samefile(locate(name), FLAX_FILE)


def test_the_newest_is_what_the_text_file_says(tmp_path):
    for number in (8, 9, 10):
        shutil.copy(FLAX_FILE, tmp_path / f"ckpt-{number}.flax")
    assert locate(str(tmp_path)).endswith("ckpt-10.flax")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-9"\nall_model_checkpoint_paths: "ckpt-10"\n')
    assert locate(str(tmp_path)).endswith("ckpt-9.flax")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "ckpt-77"\n')
    assert locate(str(tmp_path)).endswith("ckpt-10.flax")
    assert locate(str(tmp_path / "ckpt.8")).endswith("ckpt-8.flax")


def test_all_kinds_hold_the_same_tensors(tmp_path):
    published = conversion.read_checkpoint(PUBLISHED)
    same = [conversion.read_checkpoint(loading.FOLDER / "checkpoint_tiny.npz")]
    conversion.orbax_directory.write_orbax(published, tmp_path / "orbax")
    same.append(conversion.read_checkpoint(tmp_path / "orbax"))
    shutil.copy(FLAX_FILE, tmp_path / "any_name")
    same.append(conversion.read_checkpoint(tmp_path / "any_name"))
    for tree in same:
        assert set(tree) == set(published)
        for path, value in published.items():
            np.testing.assert_array_equal(tree[path], value)


def test_orbax_step_directories(tmp_path):
    conversion.orbax_directory.write_orbax(conversion.read_checkpoint(PUBLISHED), tmp_path / "7" / "default")
    (tmp_path / "7" / "_CHECKPOINT_METADATA").write_text("{}")
    assert len(conversion.read_checkpoint(tmp_path / "7")) == 73


def test_tensorflow_paths():
    path = f"file://{FLAX_FILE}"
    progress = []
    tree = conversion.read_checkpoint(path, lambda done, size: progress.append((done, size)))
    assert len(tree) == 73
    assert progress[-1] == (os.path.getsize(FLAX_FILE),) * 2
    assert len(conversion.read_checkpoint(f"file://{loading.FOLDER / 'checkpoint_tiny.npz'}")) == 73


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no checkpoint .*nowhere"),
        ("nowhere/ckpt.3", "no checkpoint"),
        ("checkpoint_tiny/ckpt.38", "no ckpt-38.flax .*holds ckpt-39.flax"),
        ("checkpoint_tiny/model.npz", "no checkpoint"),
        ("", "holds no checkpoint"),
    ],
)
def test_missing(name, words):
    with pytest.raises(FileNotFoundError, match=words):
        conversion.read_checkpoint(loading.FOLDER / name)


def test_damaged_files_are_named(tmp_path):
    (tmp_path / "broken.flax").write_bytes((PUBLISHED / "ckpt-39.flax").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"broken\.flax cannot be read: it is truncated"):
        conversion.read_checkpoint(tmp_path / "broken.flax")
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="truncated"):
        conversion.read_checkpoint(tmp_path / "empty")
