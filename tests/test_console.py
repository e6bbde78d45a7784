"""What commands print, wherever it goes."""

import io
import json
import os
import sys

import pytest

from keras_nest.console import print_json, printable, run

NAMES = ["photo.png", "ü 猫 😀.png", "bytes\udcff.png", "new\nline.png", "\x1b[31mred.png", "[red]a[/red].png"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("name", NAMES)
def test_json_is_one_valid_line_in_every_encoding(monkeypatch, encoding, name):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, encoding, write_through=True))
    print_json({"image": name})
    (line,) = content.getvalue().decode(encoding).splitlines()
    assert json.loads(line) == {"image": name}


def test_printable_text_stays_and_the_rest_is_escaped():
    assert [printable(name) for name in NAMES] == [
        "photo.png",
        "ü 猫 😀.png",
        "bytes\\udcff.png",
        "new\\nline.png",
        "\\x1b[31mred.png",
        "[red]a[/red].png",
    ]


def test_what_the_locale_cannot_write_is_escaped(monkeypatch):
    content = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(content, "ascii", write_through=True))
    assert run(lambda: print("猫")) == 0
    assert content.getvalue() == b"\\u732b\n"


def test_nobody_reads_any_more(monkeypatch):
    ends = os.pipe()
    os.close(ends[0])
    monkeypatch.setattr(sys, "stdout", os.fdopen(ends[1], "w"))
    assert run(lambda: print("line", flush=True)) == 141
    sys.stdout.close()
