"""Which images a name means, and which part of them."""

import numpy as np
import pytest
from PIL import Image

from keras_nest.data.sources.table import Row, write_table
from keras_nest.evaluation.images import images_of_run, open_images


def write(path, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), level, np.uint8)).save(path, "PNG")


def seen(images):
    return [(image.name.rsplit("/", 1)[-1], image.label) for image in images.read(pytest.fail)]


@pytest.mark.parametrize(
    ("files", "split", "part", "labels"),
    [
        (["a/1.png", "b/2"], None, "", ("a", "b")),
        (["only/1.png"], None, "", ("only",)),
        # A class may have the name of a part.
        (["test/1.png", "val/2.png", "c/3.png"], None, "", ("c", "test", "val")),
        (["train/a/1.png", "val/a/2.png", "test/b/3.png"], None, "test", ("b",)),
        (["train/a/1.png", "val/a/2.png"], None, "val", ("a",)),
        (["test/a/1.png"], None, "test", ("a",)),
        (["train/a/1.png", "val/a/2.png", "test/b/3.png"], "train", "train", ("a",)),
        (["a/1.png", ".git/x/2.png", "__MACOSX/3.png"], None, "", ("a",)),
    ],
)
def test_folders(files, split, part, labels, tmp_path):
    for name in files:
        write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    images = open_images(str(tmp_path), split)
    assert (images.part, images.labels, len(seen(images))) == (part, labels, images.count)


def test_tables_and_what_a_run_was_measured_with(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
    rows = [Row("0.png", "a", "train"), Row("1.png", "b", "val"), Row("2.png", "a", "test"), Row("3.png", "a", "")]
    write_table(tmp_path / "images.csv", rows)
    assert seen(open_images(str(tmp_path / "images.csv"))) == [("2.png", "a")]
    assert seen(open_images(str(tmp_path / "images.csv"), "val")) == [("1.png", "b")]
    assert seen(images_of_run(tmp_path)) == [("2.png", "a")]
    (tmp_path / "metrics.json").write_text('{"part": "val"}')
    assert seen(images_of_run(tmp_path)) == [("1.png", "b")]
    with pytest.raises(ValueError, match=r"has no images in part final; its parts are train, val, test\."):
        open_images(str(tmp_path / "images.csv"), "final")


def test_a_data_set_by_name():
    images = open_images("digits")
    first, second = (image for image, _ in zip(images.read(pytest.fail), range(2), strict=False))
    assert (first.name, first.pixels.dtype, len(images.labels)) == ("image 0", np.uint8, 10)
    # Some of them again, in any order.
    again = images.find([second.name, first.name, second.name])
    assert [np.array_equal(*pair) for pair in zip(again, (second.pixels, first.pixels, second.pixels), strict=True)]
    assert np.array_equal(again[0], second.pixels)
    assert not np.array_equal(again[0], again[1])


def test_broken_files_are_told(tmp_path):
    write(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "2.png").write_bytes(b"")
    told = []
    assert len(list(open_images(str(tmp_path)).read(told.append))) == 1
    assert len(told) == 1
    assert "2.png cannot be read as an image" in told[0]


@pytest.mark.parametrize(
    ("name", "content", "part", "expected"),
    [
        ("all.csv", "path,label\n1.png,b\n", "", [("1.png", "b")]),
        ("all.tsv", "split\tpath\tlabel\nval\t1.png\tb\ntrain\t2.png\ta\n", "val", [("1.png", "b")]),
        ("all.jsonl", '{"file_name": "1.png", "label": "b"}\n{"file_name": "2.png", "label": "a"}\n', "", None),
        ("metadata.csv", "file_name,label\n2.png,a\n", "", [("2.png", "a")]),
    ],
)
def test_lists_as_people_have_them(name, content, part, expected, tmp_path):
    write(tmp_path / "1.png")
    write(tmp_path / "2.png")
    (tmp_path / name).write_text(content)
    images = open_images(str(tmp_path if name == "metadata.csv" else tmp_path / name))
    assert (images.part, seen(images)) == (part, expected or [("1.png", "b"), ("2.png", "a")])


@pytest.mark.parametrize(
    ("name", "split", "sentence"),
    [
        ("{0}/nowhere", None, r"There is no folder or table .*nowhere; images must lie as FOLDER/CLASS/image\.jpg or"),
        ("{0}/empty", None, "empty has no images with classes; images must lie as"),
        ("{0}/parts", None, r"parts has no images in part test or val or validation; its parts are train\."),
        ("{0}/parts", "test", r"parts has no images in part test; its parts are train\."),
    ],
)
def test_one_sentence(name, split, sentence, tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "parts" / "train" / "a" / "1.png")
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        open_images(name.format(tmp_path), split)
