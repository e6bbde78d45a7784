"""How images are divided, and that no near-duplicate lies on two sides."""

import shutil

import numpy as np
import pytest
from PIL import Image

from keras_nest.finetune.duplicates import group
from keras_nest.finetune.found import Found, Photo, Place, look
from keras_nest.finetune.split import ALL, TEST, TRAIN, VAL, divide
from tests.finetune import photos


def make(counts, parts=("",), seed=0, same=()):
    """What would be found: images of noise, so many of each class in each part; `same` names copies of the first."""
    generator = np.random.default_rng(seed)
    found = []
    for part in parts:
        for label, count in counts.items():
            for number in range(count):
                path = "/".join(filter(None, ("/photos", part, label, str(number))))
                noise = generator.integers(0, 256, (8, 8, 3), np.uint8)
                found.append(Photo(Place(path, label, part), 100, 1, 48, 48, noise))
    first = found[0].thumbnail
    found = [
        Photo(photo.place, 100, 1, 48, 48, first if photo.place.path in same else photo.thumbnail) for photo in found
    ]
    return Found("/photos", tuple(found), (), (), ())


def count(split):
    return {part: dict(split.counts(part)) for part in ALL}


def test_each_class_is_divided_for_itself():
    split = divide(make({"a": 100, "b": 10, "c": 3, "d": 2, "e": 1}), 0.15, 0.15, 0)
    assert count(split) == {
        TRAIN: {"a": 70, "b": 6, "c": 1, "d": 1, "e": 1},
        VAL: {"a": 15, "b": 2, "c": 1, "d": 1},
        TEST: {"a": 15, "b": 2, "c": 1},
    }
    assert split.remarks == ("Too few images to measure how well it is recognized: e.",)


def test_nothing_is_kept_for_a_test_where_none_is_wanted():
    assert count(divide(make({"a": 10, "b": 3}), 0.2, 0, 0)) == {
        TRAIN: {"a": 8, "b": 2},
        VAL: {"a": 2, "b": 1},
        TEST: {},
    }


def test_the_same_seed_divides_in_the_same_way_and_other_classes_change_nothing():
    def chosen(counts, seed):
        return {row.file for row in divide(make(counts), 0.2, 0.2, seed).rows if row.part == VAL and row.label == "a"}

    assert chosen({"a": 30, "b": 9}, 0) == chosen({"a": 30, "b": 9}, 0) == chosen({"a": 30, "c": 5, "d": 7}, 0)
    assert chosen({"a": 30, "b": 9}, 0) != chosen({"a": 30, "b": 9}, 1)


def test_near_duplicates_stay_together_even_between_classes():
    same = [f"/photos/a/{number}" for number in range(8)] + ["/photos/b/0"]
    split = divide(make({"a": 20, "b": 20}, same=same), 0.2, 0.2, 0)
    assert len({row.part for row in split.rows if row.file in same}) == 1
    assert split.remarks[0] == "Near-duplicates of other images, which stay on one side of the split: 8."
    assert split.remarks[1].startswith("In two classes lies what /photos/a/0 shows: a and b; one must be wrong.")


def test_parts_of_folders_are_kept():
    split = divide(make({"a": 5, "b": 4}, ALL), 0.15, 0.15, 0)
    assert count(split) == {part: {"a": 5, "b": 4} for part in ALL}
    assert split.reason == "as given"


def test_validation_images_are_taken_of_those_for_training():
    split = divide(make({"a": 10, "b": 10}, (TRAIN, TEST)), 0.2, 0.15, 0)
    assert count(split) == {TRAIN: {"a": 8, "b": 8}, VAL: {"a": 2, "b": 2}, TEST: {"a": 10, "b": 10}}


def test_a_training_image_that_is_in_the_test_part_is_left_out():
    same = ["/photos/train/a/0", "/photos/test/a/3"]
    split = divide(make({"a": 10, "b": 10}, (TRAIN, VAL, TEST), same=same), 0.2, 0.15, 0)
    assert split.counts(TRAIN) == {"a": 9, "b": 10}
    (left,) = [row for row in split.rows if not row.part]
    assert (left.file, left.note) == ("/photos/train/a/0", "shows the same as /photos/test/a/3")
    assert "Left out of training, since the part that measures shows the same: 1." in split.remarks


def test_one_sentence():
    with pytest.raises(
        ValueError, match=r"^/photos has no images to choose the weights by: all of a class show the same"
    ):
        divide(make({"a": 1, "b": 1}), 0.15, 0.15, 0)
    given = make({"a": 3, "b": 3}, (TRAIN, TEST))
    lost = tuple(photo for photo in given.photos if (photo.place.part, photo.place.label) != (TRAIN, "b"))
    with pytest.raises(ValueError, match=r"^/photos has no images of 'b' to train with; add some, or remove the class"):
        divide(Found("/photos", lost, (), (), ()), 0.15, 0.15, 0)
    twice = make({"a": 3, "b": 1}, (TRAIN, TEST), same=["/photos/train/b/0", "/photos/test/b/0"])
    with pytest.raises(ValueError, match=r"of 'b' to train with but such as show the same as those that measure; add"):
        divide(twice, 0.15, 0.15, 0)


def test_broken_images_are_listed_with_their_reason(folder):
    rows = divide(look(folder), 0.15, 0.15, 0).rows
    notes = {row.file.rpartition("/")[2]: row.note for row in rows if not row.part}
    assert notes == {"no image.png": "is no image", "cut off.jpg": "is cut off or damaged", "empty.jpg": "is empty"}


def test_copies_are_near_duplicates_and_other_crops_are_not(tmp_path):
    """Of a photograph in all sizes, formats and qualities; noise of a few levels is one more."""
    generator = np.random.default_rng(3)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    image = photos.crop("Katze", generator, side=96)
    image.save(tmp_path / "a" / "0.png")
    image.save(tmp_path / "a" / "1.jpg", quality=40)
    image.resize((40, 40)).save(tmp_path / "a" / "2.webp")
    image.convert("P").save(tmp_path / "a" / "3.gif")
    noise = np.asarray(image) + generator.normal(0, 6, (96, 96, 3))
    Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(tmp_path / "a" / "4.bmp")
    shutil.copy(tmp_path / "a" / "1.jpg", tmp_path / "b" / "copy.jpg")
    for number in range(12):
        photos.crop("Katze", generator, side=96).save(tmp_path / "b" / f"{number}.png")
    found = look(tmp_path).photos
    groups = group(found)
    copies = [i for i, photo in enumerate(found) if "/a/" in photo.place.path or photo.place.path.endswith("copy.jpg")]
    assert len(set(groups[copies])) == 1
    assert len(set(groups)) == 13


def test_of_very_many_images_the_same_thumbnails_are_found(monkeypatch):
    monkeypatch.setattr("keras_nest.finetune.duplicates.MOST_COMPARED", 10)
    found = make({"a": 12, "b": 3}, same=["/photos/a/0", "/photos/b/1"])
    assert len(set(group(found.photos))) == 14
