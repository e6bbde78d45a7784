"""What is found in folders as people have them."""

import shutil

import numpy as np
import pytest
from PIL import Image

from keras_nest.finetune.found import count_classes, list_sizes, look
from tests.data import photographs
from tests.finetune import photos


@pytest.fixture
def small(tmp_path):
    """Two classes of two images."""
    generator = np.random.default_rng(0)
    for name in ("Katze", "temple"):
        photos.write_class(tmp_path / name, name, 2, generator)
    return tmp_path


def test_an_awkward_folder(folder):
    found = look(folder)
    counts = {**photos.COUNTS, "temple": 42, "Katze": 51, "only one": 1}
    assert count_classes(found.photos) == counts
    assert found.class_names == tuple(sorted(counts))
    assert not found.is_split
    assert found.empty == ("nothing yet",)
    assert found.others == ("1 .md beside the classes", "1 .txt in Katze")
    broken = {place.path.removeprefix(f"{folder}/"): reason for place, reason in found.broken}
    assert broken == {
        "Katze/no image.png": "is no image",
        "temple/cut off.jpg": "is cut off or damaged",
        "temple/empty.jpg": "is empty",
    }
    assert {(photo.height, photo.width) for photo in found.photos} == {(48, 48)}
    kept = {photo.place.path: photo.size for photo in found.photos}
    assert list_sizes(folder).items() > kept.items()


def test_broken_files_have_a_limit(folder):
    with pytest.raises(
        ValueError, match=r"^3 of 223 images cannot be read, and --max-broken allows a share of 0\.01: "
    ):
        look(folder, max_broken=0.01)


def test_what_an_image_is_its_content_decides(small):
    """Bytes are those of each format; the names say other things, or nothing."""
    image = photographs.small("rocket")
    kinds = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
    for number, kind in enumerate(kinds):
        (small / "temple" / f"{number}.{('dat', 'txt', 'jpg')[number % 3]}").write_bytes(
            photographs.encoded(image, kind)
        )
    assert count_classes(look(small).photos)["temple"] == 2 + len(kinds)


def test_images_are_turned_and_measured_upright(small):
    file = small / "temple" / "turned.jpg"
    file.write_bytes(photographs.encoded(photographs.small("rocket"), "JPEG", orientation=6))
    (turned,) = [photo for photo in look(small).photos if photo.place.path == str(file)]
    assert (turned.orientation, turned.height, turned.width) == (6, 48, 36)
    upright = np.asarray(photographs.small("rocket").rotate(-90, expand=True).resize((8, 8), Image.Resampling.BOX))
    assert np.abs(turned.thumbnail.astype(int) - upright).mean() < 12


class TestParts:
    @pytest.mark.parametrize("names", [("train", "test"), ("Train", "Val"), ("train", "valid", "test")])
    def test_folders_that_say_them(self, small, tmp_path_factory, names):
        root = tmp_path_factory.mktemp("split")
        for name in names:
            shutil.copytree(small, root / name)
        (root / "docs").mkdir()
        found = look(root)
        assert found.is_split
        known = {"Train": "train", "Val": "val", "valid": "val"}
        assert {photo.place.part for photo in found.photos} == {known.get(name, name) for name in names}
        assert found.class_names == ("Katze", "temple")
        assert found.others == (f"1 folder beside {', '.join(sorted(names))}",)

    def test_a_class_of_trains(self, small):
        """Which holds images, and no folders of classes."""
        photos.write_class(small / "train", "rocket[1]", 2, np.random.default_rng(0))
        found = look(small)
        assert found.class_names == ("Katze", "temple", "train")
        assert not found.is_split


class TestOneSentence:
    def test_no_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^There is no folder .*none; images must lie as FOLDER/CLASS/"):
            look(tmp_path / "none")

    def test_an_address(self):
        with pytest.raises(ValueError, match=r"^s3://bucket/photos: TensorFlow has no file system for s3://"):
            look("s3://bucket/photos")

    def test_images_without_classes(self, small):
        with pytest.raises(ValueError, match=r"temple has no images in folders of classes; a classifier needs two"):
            look(small / "temple")

    def test_one_class(self, small):
        shutil.rmtree(small / "temple")
        with pytest.raises(ValueError, match=r" has images of one class, 'Katze'; a classifier needs two classes or"):
            look(small)

    def test_a_name_of_two_lines(self, small):
        (small / "temple").rename(small / "tem\nple")
        with pytest.raises(ValueError, match=r" has a class 'tem\\nple', a name of more than one line; rename"):
            look(small)
