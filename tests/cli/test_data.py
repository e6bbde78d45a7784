"""`keras-nest data`, as typed."""

import re

import pytest

from keras_nest import console
from keras_nest.cli import commands as cli
from tests.data.photographs import CLASSES, encoded, small, write_folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Four training and two test images of each of four classes; not to be changed."""
    return str(write_folder(tmp_path_factory.mktemp("command") / "photographs"))


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process, which saves the imports: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 110)

    def run_here(*arguments):
        code = cli.main(["data", *map(str, arguments)])
        return code, *capsys.readouterr()

    return run_here


def rows_of(output):
    """Cells of a printed table."""
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line[:1] == "│"]


class TestFacts:
    def test_digits(self, run):
        code, output, errors = run("digits", "--batch-size", 100)
        assert (code, errors) == (0, "")
        assert output.startswith("digits\n")
        assert dict(rows_of(output)) == {
            "classes": "10: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
            "training images": "1,437",
            "test images": "360",
            "image size": "32 x 32",
            "recipe": "nest, 32 x 32",
            "stages": "crop, flip, randaugment, color_jitter, erasing, mix",
            "steps an epoch, of 100 images": "14",
        }

    def test_folder_and_splits(self, run, photographs):
        options = ("--train-split", "test", "--test-split", "train", "--recipe", "plain", "--image-size", 48)
        _, output, _ = run(photographs, "--batch-size", 3, *options)
        assert dict(rows_of(output)) == {
            "classes": f"4: {', '.join(sorted(CLASSES))}",
            "training images": "8",
            "test images": "16",
            "image size": "various",
            "recipe": "plain, 48 x 48",
            "stages": "no augmentation",
            "steps an epoch, of 3 images": "2",
        }

    def test_many_classes_with_odd_names(self, run, tmp_path):
        for split in ("train", "test"):
            for number in range(11):
                (tmp_path / split / f"[b]{number:02}").mkdir(parents=True)
                (tmp_path / split / f"[b]{number:02}" / "0.png").write_bytes(encoded(small("china")))
        _, output, _ = run(tmp_path, "--batch-size", 11)
        names = ", ".join(f"[b]{number:02}" for number in range(10))
        assert dict(rows_of(output))["classes"] == f"11: {names}, …"


class TestShow:
    @pytest.mark.slow
    def test_small_data_set_needs_no_smaller_batch_and_nothing_is_replaced_unasked(self, run, photographs, tmp_path):
        picture = tmp_path / "out.pdf"
        picture.write_bytes(b"precious")
        command = (photographs, "--show", picture, "--image-size", 16, "--recipe", "vit")
        code, output, errors = run(*command)
        assert (code, output, errors.count("\n")) == (2, "", 1)
        assert "exists already" in errors
        assert picture.read_bytes() == b"precious"
        assert run(*command, "--overwrite") == (0, f"Drawn: {picture}\n", "")
        assert picture.read_bytes().startswith(b"%PDF")

    def test_wrong_suffix_is_told_before_the_data_set_is_opened(self, run, tmp_path):
        code, _, errors = run(tmp_path / "nowhere", "--show", tmp_path / "out.txt")
        assert code == 2
        assert "out.txt has no suffix of a picture" in errors

    def test_what_fails_leaves_no_file(self, run, tmp_path):
        assert run("digits", "--recipe", "nset", "--show", tmp_path / "out.png")[0] == 2
        assert list(tmp_path.iterdir()) == []


class TestSpeed:
    def test_table(self, run, photographs):
        """With a picture, as a process: tests/test_pages_run.py."""
        options = ("--image-size", 32, "--batch-size", 4, "--recipe", "vit")
        code, output, errors = run(photographs, "--speed", "--duration", 0.05, *options)
        assert (code, errors) == (0, "")
        assert re.search(r"recipe vit, 32 x 32, batches\s+of\s+4,\s+\d+\s+cores", output)
        rows = rows_of(output)
        assert [stage for stage, *_ in rows] == ["read", "decode, crop, normalize", "flip"]
        before = 0
        for _, added, so_far, rate in rows:
            assert float(added) == pytest.approx(float(so_far) - before, abs=0.0011)
            before = float(so_far)
            assert float(rate.replace(",", "")) == pytest.approx(1000 / before, rel=0.05)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["digit"], "There is no directory and no data set 'digit'; did you mean digits"),
        (["./nowhere"], "There is no directory ./nowhere"),
        (["digits", "--recipe", "nset"], "There is no recipe 'nset'; did you mean nest"),
        (["digits", "--image-size", "0"], "image_size is 0"),
        (["digits", "--batch-size", "0"], "batch_size is 0"),
        (["digits", "--speed", "--batch-size", "1438"], "A batch of 1438 cannot be filled from 1437 training images"),
        (["digits", "--speed", "--duration", "0"], "duration is 0.0"),
    ],
)
def test_bad_input(run, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    code, output, errors = run(*arguments)
    assert (code, output, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"error: {sentence}")


def test_empty_folder(run, tmp_path):
    code, output, errors = run(tmp_path)
    assert (code, output) == (2, "")
    assert errors == f"error: {tmp_path} has no sub-directory train; images must lie as SPLIT/CLASS/image.jpg.\n"


class TestBrokenImages:
    @pytest.fixture
    def folder(self, tmp_path):
        root = write_folder(tmp_path / "broken")
        for path in root.rglob("*.*g"):
            path.write_bytes(path.read_bytes()[:200])
        return root

    def test_are_named(self, run, folder):
        code, _, errors = run(folder)
        assert code == 2
        assert "24 of 24 files cannot be read as images" in errors

    @pytest.mark.parametrize("work", [["--show", "out.png"], ["--speed", "--duration", "0.05"]])
    def test_that_are_found_late(self, run, folder, monkeypatch, work):
        monkeypatch.chdir(folder)
        options = ("--broken", "unchecked", "--recipe", "vit", "--image-size", 16, "--batch-size", 4)
        code, _, errors = run(folder, *options, *work)
        assert code == 2
        assert re.search(r"^error: An image or its label cannot be read \(.+\); broken files are", errors, re.MULTILINE)
        assert not (folder / "out.png").exists()
