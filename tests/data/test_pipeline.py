"""Batches: order, completeness, and that a run can start anywhere, on any number of hosts."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import (
    DatasetInfo,
    Host,
    Recipe,
    Source,
    create_recipe,
    eval_batches,
    load,
    open_source,
    train_batches,
)
from keras_nest.data.crops import pad_and_crop
from keras_nest.data.mixing import random_mix
from keras_nest.data.pipeline import without_filling
from keras_nest.data.sources import IndexedExamples
from keras_nest.data.sources.base import decode
from keras_nest.pixels import as_channels
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.specs import PreprocessingSpec

SIZE = (6, 6)
UNCHANGED = {"mean": [0.0] * 3, "std": [1 / 255] * 3, "crop_ratio": 1.0}
PLAIN = Recipe(UNCHANGED)
SHIFT = Recipe(UNCHANGED, shift=functools.partial(pad_and_crop, pad=2))
MIX = dataclasses.replace(SHIFT, mix=random_mix)
CLASSES = 30


def source_of(images, labels):
    info = DatasetInfo("toy", tuple(map(str, range(CLASSES))), images.shape[1:], len(labels), len(labels))
    return Source(info, *[IndexedExamples(images, labels)] * 2)


@pytest.fixture
def source():
    """Each image is recognized by its label, and by its values where nothing moved them."""
    labels = np.arange(23)
    return source_of(np.broadcast_to(labels[:, None, None, None], (23, *SIZE, 3)).astype(np.uint8), labels)


def taken(batches, count):
    parts = list(batches.take(count).as_numpy_iterator())
    return [np.stack(column) for column in zip(*parts, strict=True)]


def labels_of(batches, count):
    return taken(batches, count)[1].ravel()


class TestOrder:
    def test_an_epoch_visits_every_image_once_and_each_in_an_order_of_its_own(self, source):
        batches = train_batches(source, PLAIN, SIZE, 5, seed=1)
        assert batches.steps_per_epoch == 4
        epochs = labels_of(batches, 14)[:69].reshape(3, 23)
        for epoch in epochs:
            assert sorted(epoch) == list(range(23))
        assert len({tuple(epoch) for epoch in epochs}) == 3

    def test_labels_belong_to_their_images(self, source):
        images, labels = taken(train_batches(source, PLAIN, SIZE, 5, seed=1), 8)
        np.testing.assert_allclose(images[..., 3, 3, 0], labels, atol=1e-4)

    def test_another_seed_is_another_order(self, source):
        first, other = (labels_of(train_batches(source, PLAIN, SIZE, 5, seed), 8) for seed in (1, 2))
        assert not np.array_equal(first, other)

    def test_hosts_together_see_each_image_once_an_epoch(self, source):
        hosts = [train_batches(source, PLAIN, SIZE, 8, 1, Host(index, 4)) for index in range(4)]
        parts = np.stack([labels_of(batches, 23) for batches in hosts])
        # 23 batches of 8 are 8 epochs; the hosts take turns.
        epochs = parts.T.ravel().reshape(8, 23)
        assert all(sorted(epoch) == list(range(23)) for epoch in epochs)
        assert {batches.element_spec[0].shape[0] for batches in hosts} == {2}

    @pytest.mark.slow
    def test_hosts_together_see_the_batches_of_one(self, source):
        images, labels = taken(train_batches(source, SHIFT, SIZE, 4, 1), 6)
        hosts = [taken(train_batches(source, SHIFT, SIZE, 4, 1, Host(index, 2)), 6) for index in range(2)]
        for index, (some_images, some_labels) in enumerate(hosts):
            np.testing.assert_array_equal(some_images, images[:, index::2])
            np.testing.assert_array_equal(some_labels, labels[:, index::2])


@pytest.mark.parametrize("recipe", [SHIFT, MIX], ids=["shift", "mix"])
class TestReproducible:
    @pytest.mark.slow
    def test_same_bytes_whatever_the_global_seed_and_wherever_the_run_begins(self, source, recipe):
        tf.random.set_seed(1)
        whole = taken(train_batches(source, recipe, SIZE, 5, 1), 10)
        tf.random.set_seed(2)
        batches = train_batches(source, recipe, SIZE, 5, 1)
        for step, later in ((0, batches), (1, batches.skip(1)), (7, batches.skip(6).skip(1))):
            for all_steps, rest in zip(whole, taken(later, 10 - step), strict=True):
                np.testing.assert_array_equal(all_steps[step:], rest)


class TestSkip:
    def test_reads_and_decodes_nothing(self, source):
        """Of ten thousand skipped batches none is read, only those that are prepared ahead."""
        png, reads = tf.io.encode_png(tf.zeros([6, 6, 3], tf.uint8)).numpy(), []

        def read(path):
            content = tf.numpy_function(lambda path: reads.append(path) or png, [path], tf.string)
            return tf.ensure_shape(content, [])

        examples = IndexedExamples(np.array(list("abcd"), object), np.arange(4), read=read)
        batches = train_batches(Source(source.info, examples, examples), PLAIN, SIZE, 2, 0).skip(10_000)
        assert next(iter(batches))[0].shape == (2, 6, 6, 3)
        assert 2 <= len(reads) < 1000

    def test_is_refused_backwards(self, source):
        with pytest.raises(ValueError, match=r"^count is -1; it must be 0 or more batches\.$"):
            train_batches(source, PLAIN, SIZE, 2, 0).skip(-1)

    def test_other_transformations_work(self, source):
        batches = train_batches(source, PLAIN, SIZE, 5, 1)
        np.testing.assert_array_equal(labels_of(batches.map(lambda x, y: (x, y + 1)), 3), labels_of(batches, 3) + 1)
        assert batches.cardinality() == tf.data.INFINITE_CARDINALITY

    def test_fit_takes_it_also_under_a_strategy(self, source):
        strategy = tf.distribute.OneDeviceStrategy("CPU:0")
        with strategy.scope():
            model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        recipe = Recipe({**UNCHANGED, "std": [1.0] * 3})
        batches = train_batches(source, recipe, SIZE, 5, 1)
        history = model.fit(batches, steps_per_epoch=batches.steps_per_epoch, epochs=2, verbose=0, shuffle=False)
        assert len(history.history["loss"]) == 2
        assert np.all(np.isfinite(history.history["loss"]))


class TestAugmentation:
    def test_an_image_changes_in_every_epoch(self):
        image = np.random.default_rng(0).integers(1, 255, (1, *SIZE, 3)).astype(np.uint8)
        images, _ = taken(train_batches(source_of(image, np.zeros(1, int)), SHIFT, SIZE, 1, 0), 12)
        assert len({image.tobytes() for image in images}) > 6

    def test_images_of_a_batch_change_independently(self):
        image = np.random.default_rng(0).integers(1, 255, (1, *SIZE, 3)).astype(np.uint8)
        same = source_of(np.repeat(image, 12, 0), np.arange(12))
        images, _ = taken(train_batches(same, SHIFT, SIZE, 12, 0), 1)
        assert len({image.tobytes() for image in images[0]}) > 6

    @pytest.mark.slow
    def test_batches_are_mixed_differently(self, source):
        _, labels = taken(train_batches(source, MIX, SIZE, 4, 0), 6)
        assert labels.shape == (6, 4, CLASSES)
        # Rows differ, but where an image was mixed with itself.
        assert len({tuple(np.sort(row)[-2:]) for batch in labels for row in batch}) > 10


class TestUint8:
    def test_the_train_step_can_finish_it(self, source):
        (images, keys), labels = next(iter(train_batches(source, MIX, SIZE, 4, 1, transfer="uint8")))
        assert (images.dtype, images.shape, labels.dtype, keys.shape) == (tf.uint8, (4, *SIZE, 3), tf.int32, (4, 2))
        finished, mixed = MIX.finish(images, labels, keys, CLASSES)
        assert (finished.dtype, mixed.shape) == (tf.float32, (4, CLASSES))

    def test_pixels_are_those_that_travel_as_floats(self, source):
        (images, _), labels = next(iter(train_batches(source, SHIFT, SIZE, 4, 1, transfer="uint8")))
        floats, float_labels = next(iter(train_batches(source, SHIFT, SIZE, 4, 1)))
        np.testing.assert_allclose(SHIFT.normalize(images), floats, atol=1e-4)
        np.testing.assert_array_equal(labels, float_labels)

    def test_unknown_way(self, source):
        with pytest.raises(ValueError, match=r"^transfer is 'bfloat16'; it must be 'float32' or 'uint8'\.$"):
            train_batches(source, PLAIN, SIZE, 4, 1, transfer="bfloat16")


class TestEvaluation:
    def test_every_image_once_in_order(self, source):
        batches = list(eval_batches(source, PLAIN, SIZE, 5).as_numpy_iterator())
        images, labels, weights = (np.concatenate(column) for column in zip(*batches, strict=True))
        assert [len(batch[1]) for batch in batches] == [5] * 5
        np.testing.assert_array_equal(weights, [1] * 23 + [0] * 2)
        np.testing.assert_array_equal(labels[:23], np.arange(23))
        np.testing.assert_allclose(images[:23, 0, 0, 0], np.arange(23), atol=1e-4)
        assert not images[23:].any()

    def test_hosts_share_the_images_and_stay_in_step(self, source):
        seen, lengths, count = [], set(), 5
        for index in range(count):
            batches = eval_batches(source, PLAIN, SIZE, 2 * count, Host(index, count))
            lengths.add(len(batches))
            parts = [(labels, weights) for _, labels, weights in batches.as_numpy_iterator()]
            assert len(parts) == len(batches)
            seen += [label for labels, weights in parts for label in labels[weights == 1]]
        assert sorted(seen) == list(range(23))
        assert len(lengths) == 1

    def test_filling_can_be_left_out(self, source):
        batches = list(without_filling(eval_batches(source, PLAIN, SIZE, 5)).as_numpy_iterator())
        assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
        np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), np.arange(23))


class TestBadInput:
    @pytest.mark.parametrize("size", [24, 1000])
    def test_batch_that_cannot_be_filled(self, source, size):
        with pytest.raises(ValueError, match=f"^A batch of {size} cannot be filled from 23 training images"):
            train_batches(source, PLAIN, SIZE, size, seed=0)

    @pytest.mark.parametrize("size", [0, -1])
    def test_empty_batch(self, source, size):
        for make in (functools.partial(train_batches, seed=0), eval_batches):
            with pytest.raises(ValueError, match=f"^batch_size is {size}; it must be 1 or more"):
                make(source, PLAIN, SIZE, batch_size=size)

    @pytest.mark.parametrize("size", [None, 5.0, "5"])
    def test_what_is_no_number_of_images(self, source, size):
        for make in (functools.partial(train_batches, seed=0), eval_batches):
            with pytest.raises(ValueError, match=f"^batch_size is {size!r}; it must be a whole number"):
                make(source, PLAIN, SIZE, batch_size=size)

    @pytest.mark.parametrize("seed", [None, 1.0, "1"])
    def test_what_is_no_seed(self, source, seed):
        with pytest.raises(ValueError, match=f"^seed is {seed!r}; it must be a whole number"):
            train_batches(source, PLAIN, SIZE, 5, seed)

    def test_batch_that_cannot_be_divided(self, source):
        with pytest.raises(ValueError, match=r"^A batch of 5 cannot be divided evenly among 2 hosts\.$"):
            eval_batches(source, PLAIN, SIZE, 5, Host(0, 2))

    def test_seed_without_a_key(self, source):
        with pytest.raises(ValueError, match=r"^seed is 9223372036854775808; it must be a number of 64 bits\.$"):
            train_batches(source, PLAIN, SIZE, 5, 2**63)

    @pytest.mark.parametrize(("label", "make"), [(-1, functools.partial(train_batches, seed=0)), (30, eval_batches)])
    def test_labels_out_of_range(self, label, make):
        wrong = source_of(np.zeros((2, *SIZE, 3), np.uint8), np.array([0, label]))
        with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must be from 0 to 29, as there are 30"):
            next(iter(make(wrong, PLAIN, SIZE, 2)))


class TestLoad:
    @pytest.mark.parametrize("size", [32.0, "32", (32.0, 32), (32,), (32, 32, 3), 0, -8, (0, 8)])
    def test_what_is_no_size(self, size):
        with pytest.raises(
            ValueError, match=r"^image_size is .*; it must be a positive whole number or \(height, width\)"
        ):
            load("digits", image_size=size)

    def test_numbers_of_numpy(self):
        train, _, _ = load("digits", "plain", image_size=np.int64(16), batch_size=np.int32(4), seed=np.int64(-3))
        assert train.element_spec[0].shape == (4, 16, 16, 3)

    @pytest.mark.parametrize("recipe", [None, create_recipe, "Nest"])
    def test_what_is_no_recipe(self, recipe):
        with pytest.raises(ValueError, match=r"^There is no recipe"):
            load("digits", recipe=recipe)

    def test_digits(self):
        train, test, info = load("digits", recipe="shift", batch_size=64, seed=3)
        assert (info.num_train, info.num_test, info.num_classes, train.steps_per_epoch) == (1437, 360, 10, 22)
        images, labels = next(iter(train))
        assert (images.shape, labels.shape) == ((64, 32, 32, 3), (64,))
        assert sum(float(tf.reduce_sum(weights)) for *_, weights in test) == 360

    def test_recipe_of_ones_own_and_another_size(self):
        whole = create_recipe("nest", open_source("digits").info, 48)
        recipe = dataclasses.replace(whole, color_jitter=None, randaugment=None)
        train, test, _ = load("digits", recipe=recipe, image_size=(48, 40), batch_size=8)
        assert train.element_spec[0].shape == (8, 48, 40, 3)
        assert train.element_spec[1].shape == (8, 10)
        assert next(iter(test))[0].shape == (8, 48, 40, 3)

    @pytest.mark.parametrize("channels", [None, 1])
    def test_preprocessing_of_a_model(self, channels):
        spec = {"mean": [0.1], "std": [0.7], "crop_ratio": 0.9, "interpolation": "bicubic"}
        plain, plain_test, _ = load("digits", image_size=16, batch_size=8, channels=channels)
        train, test, _ = load("digits", image_size=16, batch_size=8, channels=channels, preprocessing=spec)
        assert train.preprocessing == train.skip(3).preprocessing == test.preprocessing == spec
        assert without_filling(test).preprocessing == spec
        assert plain.preprocessing == plain_test.preprocessing != spec
        prepare = EvalPreprocessing((16, 16), **PreprocessingSpec.from_dict(spec).broadcast(channels or 3))
        scans = open_source("digits").test.in_order(Host()).take(8)
        expected = [prepare(as_channels(decode(example), channels or 3)) for example in scans]
        np.testing.assert_allclose(next(iter(test))[0], expected, atol=1e-6)

    def test_what_is_no_preprocessing(self):
        with pytest.raises(ValueError, match="preprocessing lacks std"):
            load("digits", preprocessing={"mean": [0.5]})

    @pytest.mark.slow
    def test_is_the_same_for_the_same_seed(self):
        first, again, other = (next(iter(load("digits", "plain", 32, 16, seed)[0])) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
        assert not np.array_equal(first[1], other[1])
