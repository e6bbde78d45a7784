"""Which directory is a SavedModel, and which of its numbered versions is the newest."""

import pytest

from keras_nest.exported import GRAPH, find_saved_model, numbered_versions


def write(folder):
    folder.mkdir(parents=True)
    (folder / GRAPH).touch()


def test_versions_are_numbers_and_counted_as_such(tmp_path):
    for name in ("9", "10", "2", "old", "11.tar"):
        (tmp_path / name).mkdir()
    (tmp_path / "12").touch()
    assert [version.name for version in numbered_versions(tmp_path)] == ["2", "9", "10"]
    assert numbered_versions(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("graphs", "empty", "found"),
    [(["."], [], "."), ([".", "1"], [], "."), (["9", "10", "2"], ["11"], "10"), (["old"], ["1"], None)],
)
def test_the_newest_with_a_graph(graphs, empty, found, tmp_path):
    for name in graphs:
        write(tmp_path / "model" / name) if name != "." else write(tmp_path / "model")
    for name in empty:
        (tmp_path / "model" / name).mkdir()
    assert find_saved_model(tmp_path / "model") == (found and tmp_path / "model" / found)
