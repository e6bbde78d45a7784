"""Class folders of real photographs: labels, pixels, sizes; names and files that go wrong."""

import logging
import os
import shutil
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data.image_files import decodable
from keras_nest.data.sources.base import DatasetInfo, Example, Host, IndexedExamples, decode
from keras_nest.data.sources.folder import open_folder
from tests.data.photographs import CLASSES, encoded, full_size, noisy, small, write_folder
from tests.data.test_decoding import ORIENTATIONS, jpeg_upright, pillow

CLASS_NAMES = tuple(sorted(CLASSES))
CHECKED = ["refuse", "skip"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Four training and two test images of each of four classes; not to be changed."""
    return write_folder(tmp_path_factory.mktemp("photographs") / "photographs")


@pytest.fixture
def folder(photographs, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(photographs, tmp_path / "folder")


def read(examples):
    """All contents, labels and orientations."""
    values = [tuple(value.numpy() for value in example) for example in examples.in_order(Host())]
    return Example(*zip(*values, strict=True))


def pixels(examples):
    return [decode(example).numpy() for example in examples.in_order(Host())]


def classes(folder, **files):
    """Writes `folder/{train,test}/CLASS/` for the files of each class, by name."""
    for split in ("train", "test"):
        for class_name, names in files.items():
            (folder / split / class_name).mkdir(parents=True)
            for name, content in names.items():
                (folder / split / class_name / name).write_bytes(content)
    return folder


class TestContent:
    @pytest.mark.parametrize("broken", [*CHECKED, "unchecked"])
    def test_sizes_labels_and_bytes(self, photographs, broken):
        source = open_folder(photographs, broken=broken)
        assert source.info == DatasetInfo(str(photographs), CLASS_NAMES, (None, None, 3), 16, 8)
        for split, examples, count in (("train", source.train, 4), ("test", source.test, 2)):
            contents, labels, orientations = read(examples)
            files = [path for path in sorted((photographs / split).rglob("*")) if path.is_file()]
            assert len(examples) == len(files)
            assert list(contents) == [file.read_bytes() for file in files]
            assert labels == tuple(n for n in range(4) for _ in range(count))
            assert set(orientations) == {1}

    def test_pixels(self, photographs):
        images = pixels(open_folder(photographs).train)
        for image, path in zip(images, sorted((photographs / "train").rglob("*.*")), strict=True):
            content = path.read_bytes()
            is_png = path.suffix == ".png"
            np.testing.assert_array_equal(image, pillow(content) if is_png else tf.io.decode_jpeg(content, channels=3))
            assert image.shape == (36, 48, 3)

    def test_full_size(self, tmp_path):
        photograph = full_size("china")
        source = open_folder(classes(tmp_path, a={"a.png": encoded(photograph, compress_level=1)}))
        np.testing.assert_array_equal(pixels(source.train)[0], photograph)

    def test_orientations_of_all_formats(self, tmp_path):
        files = {
            f"{o}.{format}": encoded(small("rocket"), format, o) for o in ORIENTATIONS for format in ("jpeg", "png")
        }
        examples = open_folder(classes(tmp_path, a=files)).train
        assert read(examples).orientation == tuple(np.repeat(ORIENTATIONS, 2))
        for (name, content), image in zip(files.items(), pixels(examples), strict=True):
            upright = pillow(content) if name.endswith("png") else jpeg_upright(content, int(name[0]))
            np.testing.assert_array_equal(image, upright)

    def test_unchecked_images_are_taken_as_stored(self, tmp_path):
        classes(tmp_path, a={"a.png": encoded(small("rocket"), "PNG", 6)})
        np.testing.assert_array_equal(pixels(open_folder(tmp_path, broken="unchecked").train)[0], small("rocket"))

    @pytest.mark.parametrize(
        ("offset", "content"),
        [(0, b"XX"), (4, b"\xff" * 4), (13, b"\2"), (13, b"\5"), (19, b"\0"), (19, b"\x09")],
        ids=["byte order", "place", "text", "fraction", "0", "9"],
    )
    def test_meaningless_exif_data_count_as_upright(self, tmp_path, offset, content):
        file = encoded(small("rocket"), "JPEG", 6)
        start = file.index(b"Exif\0\0MM") + 6 + offset
        classes(tmp_path, a={"a.jpg": file, "b.jpg": file[:start] + content + file[start + len(content) :]})
        assert read(open_folder(tmp_path).train).orientation == (6, 1)

    def test_exif_data_that_pillow_cannot_open(self, tmp_path):
        classes(tmp_path, a={"a.png": encoded(small("rocket"), "PNG", exif=b"XX" + bytes(30))})
        assert read(open_folder(tmp_path).train).orientation == (1,)

    def test_exif_data_that_lack_their_end(self, tmp_path):
        file = encoded(small("rocket"), "JPEG", 6)
        count = file.index(b"Exif\0\0MM") + 14
        classes(tmp_path, a={"a.jpg": file[:count] + b"\0\2" + file[count + 2 :]})
        # Pillow warns, and an error of its warning would hide the orientation.
        assert read(open_folder(tmp_path).train).orientation == (6,)


class TestNames:
    def test_odd_names(self, tmp_path):
        names = ["#[a]*?.png", "%20.JPG", "a b.JPEG", "a.b.Png", "ü ñ.bmp", "名前.gif"]
        formats = {"jpg": "JPEG"}
        files = {}
        for n, name in enumerate(names):
            suffix = name.rpartition(".")[2].lower()
            files[name] = encoded(noisy(small("flower"), n), formats.get(suffix, suffix))
        source = open_folder(classes(tmp_path / "mit Leerzeichen, ü", **{"Ü a": files, "b.c": files, "Z": files}))
        assert source.info.class_names == ("Z", "b.c", "Ü a")
        assert read(source.train).content == tuple(map(decodable, files.values())) * 3

    def test_other_files_are_ignored(self, folder):
        for name in ("README.txt", ".hidden.jpg", "._001.jpg", "Thumbs.db", "a.jpg.part", "jpg", "a.jxl"):
            for place in ("", "train", "train/pet"):
                (folder / place / name).write_bytes(b"no image")
        for name in (".cache", "__MACOSX", "@eaDir"):
            (folder / "train" / name).mkdir()
            (folder / "train/pet" / name).mkdir()
            shutil.copy(folder / "train/pet/000.jpg", folder / "train/pet" / name)
        (folder / "train/pet/deeper").mkdir()
        shutil.copy(folder / "train/pet/000.jpg", folder / "train/pet/deeper")
        assert open_folder(folder).info == DatasetInfo(str(folder), CLASS_NAMES, (None, None, 3), 16, 8)

    def test_links(self, photographs, tmp_path):
        (tmp_path / "train").mkdir()
        (tmp_path / "train/a").symlink_to(photographs / "train/pet")
        (tmp_path / "test/a").mkdir(parents=True)
        (tmp_path / "test/a/b.png").symlink_to(photographs / "test/pet/005.png")
        assert open_folder(tmp_path).info.num_train == 4
        (tmp_path / "test/a/gone.png").symlink_to(tmp_path / "nowhere")
        with pytest.raises(ValueError, match=r"1 of 6 files cannot be read as images: .*/test/a/gone.png\."):
            open_folder(tmp_path)

    def test_the_path_may_be_relative_and_end_in_a_slash(self, photographs, monkeypatch):
        monkeypatch.chdir(photographs.parent)
        source = open_folder("photographs/")
        assert source.info.name == "photographs/"
        assert len(pixels(source.test)) == 8

    @pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
    def test_a_name_that_is_no_text(self, folder):
        shutil.copy(folder / "train/pet/000.jpg", os.fsencode(folder / "train/pet/a") + b"\xff.jpg")
        with pytest.raises(
            ValueError, match=r"train/pet holds the name b'a\\xff.jpg', which is not UTF-8; rename it\.$"
        ):
            open_folder(folder)


class TestSplits:
    @pytest.mark.parametrize("name", ["val", "validation"])
    def test_other_names_of_the_test_split(self, folder, name):
        (folder / "test").rename(folder / name)
        assert open_folder(folder).info.num_test == 8

    def test_the_first_of_several(self, folder):
        for name in ("val", "validation"):
            shutil.copytree(folder / "test/pet", folder / name / "pet")
        assert open_folder(folder).info.num_test == 8
        (folder / "test").rename(folder / "holdout")
        (folder / "val/pet/005.png").unlink()
        assert open_folder(folder).info.num_test == 1
        assert open_folder(folder, test_split="validation").info.num_test == 2
        swapped = open_folder(folder, train_split="holdout", test_split="train").info
        assert (swapped.num_train, swapped.num_test) == (8, 16)

    def test_missing_directory(self, tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"no directory .*/absent; it is to hold images as SPLIT/CLASS/image"
        ):
            open_folder(tmp_path / "absent")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"train_split": "training"}, "has no sub-directory training; images must lie as SPLIT/CLASS/image.jpg"),
            ({"test_split": "val"}, "has no sub-directory val; images must lie"),
        ],
    )
    def test_missing_split(self, photographs, options, message):
        with pytest.raises(FileNotFoundError, match=message):
            open_folder(photographs, **options)

    def test_missing_default_split(self, folder):
        (folder / "test").rename(folder / "testing")
        with pytest.raises(FileNotFoundError, match="has no sub-directory test or val or validation;"):
            open_folder(folder)

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_images_without_class_folders(self, folder, split):
        (folder / split).rename(folder / "deep")
        shutil.copytree(folder / "deep/pet", folder / split)
        with pytest.raises(
            ValueError, match=rf"/{split} has no images \(.jpg, .*\) in class folders; they must lie as S"
        ):
            open_folder(folder)


class TestClasses:
    def test_the_test_split_may_lack_classes(self, folder):
        shutil.rmtree(folder / "test/person")
        shutil.rmtree(folder / "test/flower")
        (folder / "test/flower").mkdir()
        source = open_folder(folder)
        assert source.info.class_names == CLASS_NAMES
        assert read(source.test).label == (2, 2, 3, 3)

    def test_a_class_of_the_test_split_alone(self, folder):
        (folder / "test/person").rename(folder / "test/Person")
        with pytest.raises(ValueError, match=r"/test has classes that the training images lack: Person\.$"):
            open_folder(folder)

    @pytest.mark.parametrize("broken", [*CHECKED, "unchecked"])
    def test_classes_without_images(self, folder, broken):
        for name in ("cat", "dog"):
            (folder / "train" / name).mkdir()
        (folder / "train/cat/cat.txt").touch()
        message = r"/train has classes without images: cat, dog\. Add images or remove the folders\."
        with pytest.raises(ValueError, match=message):
            open_folder(folder, broken=broken)

    @pytest.mark.parametrize(("count", "end"), [(10, ""), (12, " and 2 more")])
    def test_many_names_are_not_all_told(self, folder, count, end):
        for n in range(count):
            (folder / f"train/{n:02}").mkdir()
        with pytest.raises(ValueError, match=rf"without images: 00, 01, .* 08, 09{end}\."):
            open_folder(folder)


def cut_off():
    """Files that lack an end, by format and share that is left."""
    formats = {
        "jpg": encoded(full_size("chelsea").resize((80, 60)), "JPEG"),
        "progressive.jpg": encoded(small("chelsea"), "JPEG", progressive=True),
        "cmyk.jpg": encoded(small("chelsea").convert("CMYK"), "JPEG"),
        "png": encoded(small("chelsea")),
        "bmp": encoded(small("chelsea"), "BMP"),
        "gif": encoded(small("chelsea"), "GIF")[:-2],  # the last bytes say that no more parts and frames follow
    }
    for suffix, content in formats.items():
        for length in (0, 1, 3, 20, len(content) // 10, len(content) // 2, len(content) * 99 // 100, len(content) - 1):
            yield f"{length:05}.{suffix}", content[:length]


class TestBroken:
    BROKEN = ("empty.png", "text.jpg", "cut.jpg", "cut.tiff", "cut.webp")

    @pytest.fixture
    def broken_folder(self, folder):
        """Five broken files: four of pets, one of them for testing, and one of a place."""
        image = small("chelsea")
        contents = (
            b"",
            b"no image",
            encoded(image, "JPEG")[:-200],
            encoded(image, "TIFF")[:-200],
            encoded(image, "WEBP")[:-200],
        )
        places = ("train/pet", "train/pet", "train/place", "test/pet", "train/pet")
        for place, name, content in zip(places, self.BROKEN, contents, strict=True):
            (folder / place / name).write_bytes(content)
        return folder

    def test_refused(self, broken_folder):
        with pytest.raises(ValueError, match=r"^5 of 29 files cannot be read as images: ") as refused:
            open_folder(broken_folder)
        message = str(refused.value)
        assert message.endswith('broken="skip" in Python.')
        assert "--config.broken=skip in a training, --broken skip of" in message
        assert [name for name in self.BROKEN if name not in message] == []
        assert f"{broken_folder}/train/pet/empty.png, " in message

    def test_left_out(self, broken_folder, photographs, caplog):
        with caplog.at_level(logging.WARNING):
            source = open_folder(broken_folder, broken="skip")
        assert (source.info.num_train, source.info.num_test) == (16, 8) == (len(source.train), len(source.test))
        whole = open_folder(photographs)
        assert (read(source.train), read(source.test)) == (read(whole.train), read(whole.test))
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith("5 of 29 files cannot be read as images: ")
        assert record.getMessage().endswith(". They are left out.")
        assert [name for name in self.BROKEN if name not in record.getMessage()] == []

    def test_nothing_is_said_about_whole_files(self, photographs, caplog):
        open_folder(photographs, broken="skip")
        assert caplog.records == []

    def test_unchecked(self, broken_folder, caplog):
        source = open_folder(broken_folder, broken="unchecked")
        assert (source.info.num_train, source.info.num_test) == (20, 9)
        assert caplog.records == []
        with pytest.raises(tf.errors.InvalidArgumentError):
            pixels(source.train)

    def test_every_file_that_was_cut_off_is_found(self, tmp_path):
        files = dict(cut_off())
        classes(tmp_path, a={**files, "whole.jpg": encoded(small("rocket"), "JPEG")})
        source = open_folder(tmp_path, broken="skip")
        assert len(files) == 48
        assert (source.info.num_train, source.info.num_test) == (1, 1)

    def test_overwritten_with_zeros_to_the_end(self, tmp_path):
        # What a full disk or a broken download leaves.
        whole = [encoded(small("rocket", (80, 60)), *options) for options in (("PNG",), ("JPEG",))]
        files = {f"{n}.png": content[: len(content) // 2] + bytes(len(content) // 2) for n, content in enumerate(whole)}
        with pytest.raises(ValueError, match=r"4 of 4 files cannot be read as images"):
            open_folder(classes(tmp_path, a=files))

    def test_a_directory_with_the_name_of_an_image(self, folder):
        (folder / "train/pet/a.jpg").mkdir()
        with pytest.raises(ValueError, match=r"^1 of 25 files cannot be read as images: .*/train/pet/a.jpg\."):
            open_folder(folder)

    def test_a_file_that_may_not_be_read(self, folder):
        file = folder / "train/pet/000.jpg"
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("this user may read everything")
        with pytest.raises(
            ValueError, match=r"^1 of 24 files cannot be read as images: .*/train/pet/000.jpg \(it cannot be read: P"
        ):
            open_folder(folder)

    def test_many_are_counted_but_not_all_named(self, folder):
        for n in range(14):
            (folder / f"train/pet/{n:02}_broken.jpg").touch()
        with pytest.raises(ValueError, match=r"^14 of 38 files cannot be read as images: .* and 4 more\.") as refused:
            open_folder(folder)
        assert str(refused.value).count("_broken.jpg") == 10
        assert "09_broken.jpg and 4 more" in str(refused.value)

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ("train/pet", "/train has classes without images: pet"),
            ("test/*", "/test has no images .* in class folders"),
        ],
    )
    def test_nothing_is_left(self, folder, place, message):
        for file in folder.glob(f"{place}/*.*"):
            file.write_bytes(b"")
        with pytest.raises(ValueError, match=message):
            open_folder(folder, broken="skip")

    def test_unknown_option(self, photographs):
        with pytest.raises(ValueError, match=r"broken is 'ignore'; it must be one of 'refuse', 'skip', 'unchecked'\.$"):
            open_folder(photographs, broken="ignore")


class TestFormats:
    """Whatever Pillow or TensorFlow decodes, by content, and every other file counted."""

    FORMATS: ClassVar = {
        "a.jfif": "JPEG",
        "b.JPE": "JPEG",
        "c.webp": "WEBP",
        "d.tif": "TIFF",
        "e.TIFF": "TIFF",
        "f.bmp": "BMP",
    }

    @pytest.mark.parametrize("broken", [*CHECKED, "unchecked"])
    def test_all_are_read(self, tmp_path, broken):
        files = {name: encoded(noisy(small("rocket"), n), kind) for n, (name, kind) in enumerate(self.FORMATS.items())}
        files |= {"g.bmp": encoded(small("coffee").quantize(8), "BMP"), "h.jpg": encoded(small("chelsea"), "WEBP")}
        files |= {"i.png": encoded(small("chelsea"), "TIFF", compression="tiff_lzw")}
        for image, content in zip(
            pixels(open_folder(classes(tmp_path, a=files), broken=broken).train), files.values(), strict=True
        ):
            is_jpeg = content.startswith(b"\xff\xd8")
            np.testing.assert_array_equal(image, tf.io.decode_jpeg(content) if is_jpeg else pillow(content))

    @pytest.mark.parametrize("orientation", ORIENTATIONS)
    def test_all_are_turned_upright(self, tmp_path, orientation):
        files = {f"a.{kind}": encoded(small("rocket"), kind, orientation) for kind in ("TIFF", "WEBP")}
        for image, content in zip(pixels(open_folder(classes(tmp_path, a=files)).train), files.values(), strict=True):
            np.testing.assert_array_equal(image, pillow(content))

    def test_what_is_left_out_is_counted(self, folder, caplog):
        for place in (
            "train/pet/a.jxl",
            "train/pet/b.JXL",
            "train/pet/notes.txt",
            "train/place/raw",
            "train/lost.jpg",
        ):
            (folder / place).write_bytes(b"")
        (folder / "train/pet/deeper").mkdir()
        (folder / "train/labels.csv").touch()
        open_folder(folder)
        (record,) = caplog.records
        assert record.levelname == "WARNING"
        assert record.getMessage().startswith(f"Left out of {folder}/train, where images end in .jpg, .jpeg, ")
        counted = "1 .jpg beside the classes, 2 .jxl, 1 .txt, 1 folder in pet, 1 without suffix in place."
        assert record.getMessage().endswith(f": {counted}")

    def test_clutter_is_not_worth_a_word(self, folder, caplog):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._000.jpg"):
            (folder / "train/pet" / name).touch()
        (folder / "train/pet/@eaDir").mkdir()
        open_folder(folder)
        assert caplog.records == []


class TestLimits:
    def test_a_header_of_too_many_pixels_is_found_before_anything_is_decoded(self, folder):
        header = encoded(small("rocket"))
        (folder / "train/pet/bomb.png").write_bytes(header[:16] + 2 * (60_000).to_bytes(4, "big") + header[24:])
        message = (
            r"^1 of 25 files .*bomb\.png \(it has 60000 x 60000 pixels; an image may have 89478485 in all\)\. Replace"
        )
        with pytest.raises(ValueError, match=message):
            open_folder(folder)
        with pytest.raises(tf.errors.InvalidArgumentError, match="An image has 60000 x 60000 pixels"):
            list(open_folder(folder, broken="unchecked").train.in_order(Host()).map(decode))

    def test_pipes_and_files_without_end_are_not_waited_for(self, folder):
        os.mkfifo(folder / "train/pet/pipe.jpg")
        with (folder / "train/pet/sparse.jpg").open("wb") as file:
            file.truncate(2**40)
        message = (
            r"pipe.jpg \(it is a pipe or a device; .*sparse.jpg \(it has 1099511627776 bytes; an image file may have"
        )
        with pytest.raises(ValueError, match=message):
            open_folder(folder)


def test_an_endless_order_reads_all_of_a_host(photographs):
    examples = open_folder(photographs).train
    assert isinstance(examples, IndexedExamples)
    contents = [example.content.numpy() for n in (0, 1) for example in examples.shuffled(3, Host(n, 2), 0).take(8)]
    assert sorted(contents) == sorted(read(examples).content)
