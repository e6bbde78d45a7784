"""Lists and texts that take far more memory than they have bytes: rows of nothing, lines without end."""

import os
import tracemalloc

import pytest

from keras_nest import places
from keras_nest.class_names import read_class_names
from keras_nest.conversion.augreg_index import augreg
from keras_nest.data.prompts import read_templates
from keras_nest.data.sources.pairs import read_pairs
from keras_nest.data.sources.table import read_table
from keras_nest.finetune.metadata import list_images, read_records
from keras_nest.tokenizers import read_pieces
from keras_nest.training.history import read_history

AUGREG = "ds,final_val,filename,adapt_ds,adapt_resolution,adapt_final_val,adapt_filename\n"


def read_list(path):
    return list_images(read_records(str(path)))


# Name of the file, what it begins with, rows that say nothing, and who reads it.
LISTS = {
    "table": ("table.csv", "file,class,part\na.png,cat,train\n", "\n", read_table),
    "records": ("records.csv", "file,label\na.png,cat\n", ",\n", read_list),
    "records in JSON": ("records.jsonl", '{"file": "a.png", "label": "cat"}\n', "\n", read_list),
    "pairs": ("pairs.csv", "image,caption\na.png,a cat\n", ",\n", read_pairs),
    "history": ("history.csv", "step,loss\n1,2.5\n", "\n", read_history),
}
TEXTS = {
    "classes": ("classes.txt", "owl\n", "\n", lambda path: read_class_names(path, 1)),
    "templates": ("templates.txt", "a {}\n", "\n", read_templates),
    "index": ("index.csv", AUGREG, ",,,,,,\n", augreg),
}


@pytest.fixture(autouse=True)
def image(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")


@pytest.mark.parametrize(("name", "text", "empty", "read"), LISTS.values(), ids=LISTS)
def test_empty_rows_take_no_memory(tmp_path, name, text, empty, read):
    (tmp_path / name).write_text(text + 20_000 * empty)
    tracemalloc.start()
    try:
        assert read(tmp_path / name)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * (tmp_path / name).stat().st_size + 300_000


@pytest.mark.parametrize(("name", "text", "empty", "read"), (LISTS | TEXTS).values(), ids=LISTS | TEXTS)
def test_too_many_lines(tmp_path, monkeypatch, name, text, empty, read):
    monkeypatch.setattr(places, "MAX_LINES", 1000)
    (tmp_path / name).write_text(text + 1000 * empty)
    with pytest.raises(ValueError, match=rf"{name} (has more than 1,000 lines|cannot be read as a history)"):
        read(tmp_path / name)


def test_there_may_be_any_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "MAX_LINES", 10)
    (tmp_path / "pairs.csv").write_text("image,caption\n" + 50 * f"a.png,{' '.join(12 * ['a cat'])}\n")
    assert len(read_pairs(tmp_path / "pairs.csv").texts) == 50


@pytest.mark.parametrize(("name", "text", "empty", "read"), (LISTS | TEXTS).values(), ids=LISTS | TEXTS)
def test_a_line_without_end(tmp_path, name, text, empty, read):
    (tmp_path / name).write_text(text + "," * 1_000_001)
    with pytest.raises(ValueError, match=rf"Line \d of .*{name} is too long|{name} cannot be read as a history"):
        read(tmp_path / name)


def test_a_vocabulary_of_empty_lines(tmp_path):
    (tmp_path / "vocab.txt").write_text("[CLS]\n" + "\n" * 600_000)
    with pytest.raises(ValueError, match=r"vocab\.txt has more than 600,000 pieces"):
        read_pieces(tmp_path / "vocab.txt")


def test_a_history_that_has_no_end(tmp_path):
    os.mkfifo(tmp_path / "history.csv")
    with pytest.raises(ValueError, match=r"history\.csv cannot be read as a history"):
        read_history(tmp_path / "history.csv")


def test_lines_are_those_of_a_spreadsheet(tmp_path):
    """All ends of lines, a mark of the order of bytes, and ends inside of quotation marks."""
    (tmp_path / "pairs.csv").write_bytes('\ufeffimage,caption\r\na.png,"a\ncat"\r"a.png",b\n'.encode())
    assert read_pairs(tmp_path / "pairs.csv").texts == ("a cat", "b")
