"""Tables of images: what they say, and what is refused in a sentence."""

import pathlib

import numpy as np
import pytest

from keras_nest import data
from keras_nest.data import ONLY_HOST, open_source
from keras_nest.data.sources.base import decode
from keras_nest.data.sources.table import Row, open_table, read_table, write_table
from tests.data import photographs


@pytest.fixture
def images(tmp_path):
    """Four files, one of them on its side."""
    for number, name in enumerate(("flower", "rocket", "china", "chelsea")):
        image = photographs.small(name)
        content = photographs.encoded(image, "JPEG", orientation=6) if number == 1 else photographs.encoded(image)
        (tmp_path / f"{number}.img").write_bytes(content)
    return tmp_path


def write(folder, text):
    (folder / "images.csv").write_text(text, "utf-8")
    return folder / "images.csv"


TABLE = "file,class,part\n0.img,Blüte,train\n1.img,rocket,train\n2.img,rocket,test\n3.img,Blüte,val\n"


def test_images_of_parts_with_their_labels(images):
    path = write(images, TABLE)
    source = open_source(path)
    assert (source.info.name, source.info.class_names) == (str(path), ("Blüte", "rocket"))
    assert (source.info.num_train, source.info.num_test) == (2, 1)
    train = list(source.train.in_order(ONLY_HOST))
    assert [int(example.label) for example in train] == [0, 1]
    # The second is turned as its EXIF data say, which the table does not.
    assert [decode(example).shape[:2] for example in train] == [(36, 48), (48, 36)]
    np.testing.assert_array_equal(decode(train[0]), np.asarray(photographs.small("flower").convert("RGB")))
    assert [int(example.label) for example in open_source(path, test_split="val").test.in_order(ONLY_HOST)] == [0]


def test_batches(images):
    train, test, info = data.load(write(images, TABLE), image_size=16, batch_size=2)
    assert next(iter(train))[0].shape == (2, 16, 16, 3)
    assert info.num_classes == 2
    assert len(list(test)) == 1


def test_tables_are_written_as_they_are_read(tmp_path):
    rows = [Row("a,b.jpg", 'say "x"', "train", 6, 12), Row("c.jpg", "ü", "", note="is\nempty"), Row("d", "e", "test")]
    write_table(tmp_path / "images.csv", rows)
    assert read_table(tmp_path / "images.csv").rows == rows


def test_what_was_looked_at_is_not_looked_at_again(images, monkeypatch):
    rows = [Row(str(images / f"{n}.img"), "ab"[n % 2], "train" if n < 2 else "test", 1, 5) for n in range(4)]
    monkeypatch.setattr("keras_nest.data.inspection._look", None)
    write_table(images / "images.csv", rows)
    assert open_table(images / "images.csv").info.num_train == 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "file,class\na,b\n",
            r" has no column part; its first row must name file, class \(or classes, or number\), part\.",
        ),
        ("", r" has no column file; "),
        (TABLE + ",rocket,train\n", r"^Row 6 of .*images\.csv must have a file, a class and a part\."),
        (TABLE + "4.img\n", r"^Row 6 of "),
        (
            "file,class,part,orientation\n0.img,a,train,left\n",
            r"^Row 2 of .* has an orientation or size that is no whole",
        ),
        (
            "file,class,part\n0.img,a,train\n",
            r" has no images in part test or val or validation; its parts are train\.",
        ),
        ("file,class,part\n0.img,a,train\n1.img,b,test\n", r" has test images of 'b', a class that no training image"),
        (TABLE + "none.img,rocket,train\n", r"^1 of 4 files cannot be read as images: .*none\.img"),
        ('file,class,part\n"0.img', r" cannot be read as comma-separated values in UTF-8: "),
    ],
)
def test_one_sentence(text, sentence, images):
    with pytest.raises(ValueError, match=sentence):
        open_source(write(images, text))


def test_no_table(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^There is no table of images .*none\.csv\.$"):
        open_source(str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match=r"^s3://bucket/x\.csv: TensorFlow has no file system"):
        open_source("s3://bucket/x.csv")
    with pytest.raises(ValueError, match=r"^broken is 'keep'; it must be one of"):
        open_source(pathlib.Path("images.csv"), broken="keep")
