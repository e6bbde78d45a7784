"""The picture of a recipe: which images and labels it has, as which pixels and texts, and where it is written."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest

from keras_nest.data import create_recipe, open_source, train_batches
from keras_nest.data.crops import normalize
from keras_nest.data.keys import Stream, derive_key
from keras_nest.data.show import (
    BATCHES,
    IMAGES,
    as_pixels,
    draw_recipe,
    find_smoothing,
    label_text,
    shown_batches,
    target_text,
)
from keras_nest.data.sources import ONLY_HOST, IndexedExamples, Source, digits
from keras_nest.data.sources.base import DatasetInfo
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.targets import Target
from tests.data.photographs import write_folder

SIZE = (32, 32)


@pytest.fixture(scope="module")
def source():
    return open_source("digits")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return open_source(write_folder(tmp_path_factory.mktemp("show") / "photographs"))


def recipe_of(name, source):
    """Without what is slow to begin; the picture does not depend on it."""
    return dataclasses.replace(create_recipe(name, source.info, SIZE), randaugment=None, color_jitter=None)


@pytest.fixture(scope="module")
def rows_of(photographs):
    """Recipe -> rows of the photographs with seed 3; not to be changed."""
    return functools.cache(lambda name: shown_batches(photographs, recipe_of(name, photographs), SIZE, seed=3))


class TestBatches:
    def test_plain_is_evaluation_in_every_row(self, source):
        recipe = recipe_of("plain", source)
        contents, labels, _ = zip(*source.train.shuffled(0, ONLY_HOST, 0).take(IMAGES), strict=True)
        not_normalized = recipe.preprocessing.pixels_only(3)
        expected = EvalPreprocessing(SIZE, **not_normalized)(list(contents))
        rows = shown_batches(source, recipe, SIZE, seed=0)
        assert len(rows) == 1 + BATCHES
        for images, shown_labels in rows:
            np.testing.assert_allclose(as_pixels(images, recipe), expected, atol=1e-6)
            np.testing.assert_array_equal(shown_labels, labels)

    @pytest.mark.parametrize("name", ["shift", "nest"])
    def test_first_row_is_evaluation_of_the_same_images(self, photographs, rows_of, name):
        recipe = recipe_of(name, photographs)
        examples = list(photographs.train.shuffled(3, ONLY_HOST, 0).take(IMAGES))
        images, labels = rows_of(name)[0]
        for image, label, example in zip(images, labels, examples, strict=True):
            assert label == example.label
            np.testing.assert_allclose(image, recipe.test_image(example, SIZE), atol=1e-5)

    def test_second_row_is_the_first_batch_of_a_training(self, photographs, rows_of):
        batch = next(iter(train_batches(photographs, recipe_of("nest", photographs), SIZE, IMAGES, 3)))
        for found, expected in zip(rows_of("nest")[1], batch, strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_each_row_has_other_draws_of_the_same_images(self, source):
        recipe = recipe_of("shift", source)
        _, *rows = shown_batches(source, recipe, SIZE, seed=0)
        examples = list(source.train.shuffled(0, ONLY_HOST, 0).take(IMAGES))
        for row, column in itertools.product(range(BATCHES), range(IMAGES)):
            key = derive_key(0, Stream.EXAMPLE, row * IMAGES + column)
            expected = recipe.train_image(examples[column], key, SIZE)
            np.testing.assert_allclose(rows[row][0][column], expected, atol=1e-5)
        assert len({images.tobytes() for images, _ in rows}) == BATCHES

    def test_another_seed_shows_other_images(self, photographs, rows_of):
        other = shown_batches(photographs, recipe_of("plain", photographs), SIZE, seed=4)
        assert not np.array_equal(other[0][0], rows_of("nest")[0][0])

    def test_smaller_data_set(self, source):
        train, _, info = digits.load(SIZE)
        few = IndexedExamples(train.images[:3], train.labels[:3])
        rows = shown_batches(Source(info, few, few), recipe_of("plain", source), SIZE, seed=0)
        assert [images.shape for images, _ in rows] == [(3, *SIZE, 3)] * (1 + BATCHES)


def test_pixels_are_those_before_normalization(source):
    recipe = recipe_of("nest", source)
    pixels = np.random.default_rng(0).random((2, 4, 5, 3), np.float32)
    normalized = normalize(pixels, recipe.preprocessing["mean"], recipe.preprocessing["std"]).numpy()
    np.testing.assert_allclose(as_pixels(normalized, recipe), pixels, atol=1e-6)
    erased = np.array([-9.0, 0.0, 9.0])
    assert list(as_pixels(erased, recipe)) == [0.0, recipe.preprocessing["mean"][1], 1.0]


class TestLabels:
    NAMES = ("cat", "dog", "hard-leaved pocket orchid")

    @pytest.mark.parametrize(
        ("label", "text"),
        [
            (1, "dog"),
            (2, "hard-le… orchid"),
            ([0.72, 0.21, 0.04], "cat 0.72\n+ dog 0.21"),
            ([0.04, 0.3, 0.66], "hard-le… orchid 0.66\n+ dog 0.30"),
            ([0.3, 0.3, 0.4], "hard-le… orchid 0.40\n+ cat 0.30\n+ dog 0.30"),
            ([0.04, 0.92, 0.04], "dog 0.92"),
            ([0.916, 0.044, 0.04], "cat 0.92"),
        ],
    )
    def test_text(self, label, text):
        assert label_text(np.array(label), self.NAMES, smoothing=0.04) == text

    def test_only_class(self):
        assert label_text(np.array([1.0]), ["cat"], smoothing=1.0) == "cat 1.00"

    def test_name_of_several_lines(self):
        assert label_text(np.array(0), ["cat\nor  dog"], smoothing=0) == "cat or dog"

    def test_smoothing(self, source):
        assert find_smoothing(recipe_of("nest", source), 10) == pytest.approx(0.01)
        assert find_smoothing(recipe_of("nest", source), 2) == pytest.approx(0.05)
        assert find_smoothing(recipe_of("plain", source), 10) == 0

    def test_of_mixed_batches(self, photographs, rows_of):
        """Only classes of the first row are named, two at most, and shares with the smoothing make 1."""
        (_, classes), *rows = rows_of("nest")
        names, smoothing = photographs.info.class_names, find_smoothing(recipe_of("nest", photographs), 4)
        texts = [label_text(label, names, smoothing) for _, labels in rows for label in labels]
        parts = [[part.split() for part in text.split("\n+ ")] for text in texts]
        assert {name for text in parts for name, _ in text} <= {names[label] for label in classes}
        assert {len(text) for text in parts} == {1, 2}
        for text in parts:
            # Two decimals, and a left-out share of .005.
            assert sum(float(share) for _, share in text) == pytest.approx(1 - smoothing * (4 - len(text)), abs=0.011)


@pytest.fixture(scope="module")
def figure(photographs):
    """With the widest names that there can be."""
    info = dataclasses.replace(photographs.info, class_names=("W" * 40,) * photographs.info.num_classes)
    source = Source(info, photographs.train, photographs.test)
    figure = draw_recipe(source, recipe_of("nest", source), SIZE, seed=3, title="costs $5 or $6")
    figure.draw_without_rendering()
    return figure


class TestPicture:
    @pytest.mark.slow
    def test_content(self, figure, photographs, rows_of):
        recipe = recipe_of("nest", photographs)
        drawn = [axis.images[0].get_array() for axis in figure.axes]
        shown = np.concatenate([as_pixels(images, recipe) for images, _ in rows_of("nest")])
        np.testing.assert_array_equal(drawn, shown)
        assert len(drawn) == (1 + BATCHES) * IMAGES
        names = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
        assert names == ["as in evaluation", *(f"training batch {n}" for n in range(1, 1 + BATCHES))]
        assert figure.get_suptitle() == "costs $5 or $6"

    @pytest.mark.slow
    def test_labels(self, figure, rows_of):
        expected = [label_text(label, ("W" * 40,) * 4, 0.025) for _, labels in rows_of("nest") for label in labels]
        assert [axis.get_title() for axis in figure.axes] == expected

    def test_nothing_overlaps(self, figure):
        boxes = [axis.title.get_window_extent() for axis in figure.axes] + [axis.bbox for axis in figure.axes]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        assert all(figure.bbox.containsx(x) for box in boxes for x in (box.x0, box.x1))


def test_several_labels_and_numbers_in_words():
    several = DatasetInfo("list.csv", ("cat", "dog", "sofa"), (8, 8, 3), 1, 1, Target("multi-label"))
    assert target_text(np.array([1.0, 0, 1]), several, 0) == "cat\n+ sofa"
    assert target_text(np.zeros(3), several, 0) == "none of the classes"
    number = DatasetInfo("list.csv", ("age",), (8, 8, 3), 1, 1, Target("regression", "age"), (40.0, 10.0))
    assert target_text(np.array([-1.5]), number, 0) == "age 25"
