"""Lists of images and captions."""

import pytest

from keras_nest.data.sources.pairs import read_pairs


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "photos" / name).write_bytes(b"image")
    return tmp_path


def write(folder, text, name="captions.csv", encoding="utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("captions.csv", "image,caption\nphotos/a.jpg,a dog\nphotos/b.jpg,a cat\nphotos/a.jpg,Hund\n"),
        (
            "captions.txt",
            '\ufeffimage,caption\r\nphotos/a.jpg,"a\ndog"\r\nphotos/b.jpg,a cat\r\nphotos/a.jpg, Hund \r\n',
        ),
        ("metadata.csv", "id,file_name,text\n1,photos/a.jpg,a dog\n\n2,photos/b.jpg,a cat\n3,photos/a.jpg,Hund\n"),
        ("pairs.tsv", "title\tfilepath\na dog\tphotos/a.jpg\na cat\tphotos/b.jpg\nHund\tphotos/a.jpg\n"),
    ],
)
def test_kinds_of_lists(folder, name, text):
    table = write(folder, text, name)
    pairs = read_pairs(table)
    assert pairs.texts == ("a dog", "a cat", "Hund")
    assert [image.name for image in pairs.images] == ["a.jpg", "b.jpg", "a.jpg"]
    assert {image.name: texts for image, texts in pairs.captions.items()} == {
        "a.jpg": ["a dog", "Hund"],
        "b.jpg": ["a cat"],
    }
    assert name == "pairs.tsv" or read_pairs(folder) == pairs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "begins with the columns ; it needs 'image' and 'caption'"),
        ("picture,words\na,b\n", "begins with the columns picture, words; it needs 'image' and 'caption'"),
        ("image,caption\n", "has no rows"),
        ("image,caption\nphotos/a.jpg\n", "Line 2 of .* has 1 columns"),
        ("image,caption\nphotos/a.jpg,a dog, running\n", "Line 2 of .* has 3 columns, more than its first line"),
        ("image;caption\nphotos/a.jpg;a dog\n", "begins with the columns image;caption; it needs"),
        ("image,caption\nphotos/a.jpg,\n", "Line 2 of .* lacks the image or the caption"),
        ('image,caption\nphotos/a.jpg,"a dog', "cannot be read as comma-separated values"),
    ],
)
def test_what_is_wrong_with_a_list_is_told(folder, text, message):
    with pytest.raises(ValueError, match=message):
        read_pairs(write(folder, text))


def test_empty_columns_at_the_end_do_not_count(folder):
    assert read_pairs(write(folder, "image,caption\nphotos/a.jpg,a dog,,\n")).texts == ("a dog",)


def test_missing_files_are_told(folder):
    with pytest.raises(FileNotFoundError, match=r"none of captions\.csv, captions\.txt, metadata\.csv"):
        read_pairs(folder)
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_pairs(folder / "no.csv")
    write(folder, "image,caption\nphotos/a.jpg,a dog\nphotos/c.jpg,a cow\nphotos/c.jpg,Kuh\n")
    with pytest.raises(FileNotFoundError, match=r"names 1 images that are not there, such as .*photos/c.jpg"):
        read_pairs(folder)


def test_other_encodings_are_told(folder):
    with pytest.raises(ValueError, match="in UTF-8"):
        read_pairs(write(folder, "image,caption\nphotos/a.jpg,Hündin\n", encoding="latin-1"))
