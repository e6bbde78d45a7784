"""Batches of images and texts, from lists, from TFDS, and from classes with templates."""

import csv

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_nest import data
from keras_nest.data.captions import captions_of_classes
from keras_nest.data.sources.base import ONLY_HOST
from keras_nest.data.sources.pairs import open_captions
from keras_nest.tokenizers import get_tokenizer
from tests.data.sources import tfds_offline

# Image k is all of the value 20 k, and what it is called says so.
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "a", "the", *NAMES)
SIZE = (8, 8)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    file.write_text("\n".join(WORDS))
    return get_tokenizer(file, max_len=4)


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A folder with train.csv, where images have two captions each, and test/captions.csv with one."""
    folder = tmp_path_factory.mktemp("lists")
    (folder / "test").mkdir()
    for k in range(len(NAMES)):
        tf.io.write_file(str(folder / f"{k}.png"), tf.io.encode_png(np.full((*SIZE, 3), 20 * k, np.uint8)))
    write(folder / "train.csv", [(f"{k}.png", f"{article} {NAMES[k]}") for article in ("a", "the") for k in range(6)])
    write(folder / "test" / "captions.csv", [(f"../{k}.png", NAMES[k]) for k in (6, 7)])
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A data set of TFDS whose captions are as those of coco_captions."""
    folder = tmp_path_factory.mktemp("tfds")
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "captions": tfds.features.Sequence({"text": tfds.features.Text()}),
    }
    examples = [
        {"image": np.full((*SIZE, 3), 20 * k, np.uint8), "captions": {"text": [f"a {NAMES[k]}", f"the\n {NAMES[k]}"]}}
        for k in range(6)
    ]
    tfds_offline.prepare_unknown("captioned", folder, features, examples)
    return folder


def write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption"), *rows])


def batches(source, tokenizer, seed=0, host=ONLY_HOST, batch_size=4, of_classes=()):
    recipe = data.Recipe({"mean": [0.0] * 3, "std": [1.0] * 3})
    captions = data.Captions(tokenizer, of_classes)
    return data.captioned_batches(source, recipe, SIZE, batch_size, seed, host, captions=captions)


def pairs(batches, count):
    """[(image, (words))] of so many batches."""
    found = []
    for batch in batches.take(count):
        assert batch["images"].dtype == tf.float32
        values = np.rint(batch["images"].numpy()[:, 0, 0, 0] * 255 / 20).astype(int)
        found += [
            (int(v), tuple(WORDS[t] for t in row if t)) for v, row in zip(values, batch["tokens"].numpy(), strict=True)
        ]
    return found


def assert_match(found):
    assert {article for _, (_, article, _) in found} == {"a", "the"}
    for k, (start, _, name) in found:
        assert (start, name) == ("[CLS]", NAMES[k])


class TestOfLists:
    @pytest.mark.slow
    def test_every_image_once_an_epoch_with_one_of_its_captions_by_the_seed_alone(self, lists, tokenizer):
        source = data.open_source(lists)
        assert source.info.has_captions
        assert (source.info.num_train, source.info.num_test) == (6, 2)
        train = batches(source, tokenizer, seed=5)
        assert train.steps_per_epoch == 1
        assert train.element_spec["tokens"].shape == (4, 4)
        once = pairs(train, 15)
        assert_match(once)
        assert all(sorted(k for k, _ in once[start : start + 6]) == list(range(6)) for start in range(0, 60, 6))
        # The same seed gives the same pairs, wherever the run begins and however many hosts share a batch.
        assert pairs(train.skip(4), 5) == once[16:36]
        assert pairs(batches(source, tokenizer, seed=6), 3) != once[:12]
        parts = [pairs(batches(source, tokenizer, seed=5, host=data.Host(index, 2)), 3) for index in (0, 1)]
        assert sorted(parts[0] + parts[1]) == sorted(once[:12])

    def test_test_images_are_numbered(self, lists, tokenizer):
        source = data.open_source(lists)
        assert data.Captions(tokenizer).of_test(source) == ("six", "seven")
        recipe = data.Recipe({"mean": [0.0] * 3, "std": [1.0] * 3})
        ((_, numbers, weights),) = data.eval_batches(source, recipe, SIZE, 3)
        np.testing.assert_array_equal(numbers, [0, 1, 0])
        np.testing.assert_array_equal(weights, [1, 1, 0])

    def test_broken_images(self, lists, tmp_path):
        (tmp_path / "broken.png").write_bytes(b"no image")
        write(tmp_path / "train.csv", [("broken.png", "a b"), (lists / "1.png", "c")])
        write(tmp_path / "val.csv", [(lists / "1.png", "c")])
        with pytest.raises(ValueError, match=r"1 of 2 files cannot be read as images: .*broken\.png"):
            open_captions(tmp_path)
        assert len(open_captions(tmp_path, broken="skip").train) == 1

    def test_a_list_is_missing(self, lists, tmp_path):
        write(tmp_path / "train.csv", [(lists / "1.png", "c")])
        with pytest.raises(FileNotFoundError, match="no captions of a split test or val or validation"):
            data.open_source(tmp_path)

    def test_classifiers_learn_nothing_from_captions(self, lists):
        with pytest.raises(ValueError, match="has captions and no classes; only a LiT learns from them"):
            data.load(lists, image_size=8, batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"in_memory_bytes": 0}], ids=["in memory", "streamed"])
def test_of_tfds(prepared, tokenizer, options):
    from keras_nest.data.sources.tfds import open_tfds

    source = open_tfds("captioned", "train", "train[:2]", str(prepared), **options)
    assert source.info.has_captions
    assert_match(pairs(batches(source, tokenizer), 8))
    assert data.Captions(tokenizer).of_test(source)[0].count("\n") == 1


@pytest.mark.slow
def test_of_classes(tokenizer):
    captions = captions_of_classes(["one", "two"], ["a {}", "the {}"])
    assert captions == ("a one\nthe one", "a two\nthe two")
    images = np.repeat(np.array([20, 40], np.uint8), 4)[:, None, None, None] * np.ones((1, *SIZE, 3), np.uint8)
    examples = data.sources.IndexedExamples(images, np.repeat([0, 1], 4))
    source = data.Source(data.DatasetInfo("two", ("1", "2"), (*SIZE, 3), 8, 8), examples, examples)
    assert_match(pairs(batches(source, tokenizer, of_classes=captions), 6))


def test_mixing_is_refused(lists, tokenizer):
    source = data.open_source(lists)
    recipe = data.Recipe({"mean": [0.0] * 3, "std": [1.0] * 3}, mix=data.random_mix)
    with pytest.raises(ValueError, match="mixed image has no text"):
        data.captioned_batches(source, recipe, SIZE, 2, 0, captions=data.Captions(tokenizer))
