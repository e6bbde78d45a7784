"""Batches: order, completeness, and that a run can start anywhere."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import Split, create_augmentation, eval_batches, steps_per_epoch, train_batches

SHIFT = create_augmentation({"type": "shift", "max_shift": 2})


@pytest.fixture
def split():
    """Each image is recognised by its label, and by its values where nothing moved them."""
    labels = np.arange(23, dtype=np.int32)
    return Split(np.broadcast_to(labels[:, None, None, None], (23, 6, 6, 1)).astype(np.uint8), labels)


def taken(batches, count):
    parts = list(batches.take(count).as_numpy_iterator())
    return np.stack([images for images, _ in parts]), np.stack([labels for _, labels in parts])


def test_an_epoch_visits_images_once_and_each_in_an_order_of_its_own(split):
    assert steps_per_epoch(split, 5) == 4
    _, labels = taken(train_batches(split, 5, seed=1), 12)
    epochs = labels.reshape(3, 20)
    for epoch in epochs:
        assert len(set(epoch)) == 20
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert set(labels.ravel()) == set(range(23)), "what one epoch leaves out, another visits"


def test_labels_belong_to_their_images(split):
    images, labels = taken(train_batches(split, 5, seed=1), 8)
    np.testing.assert_array_equal(images[..., 3, 3, 0], labels)


def test_same_seed_same_bytes_other_seed_other_order(split):
    first, again, other = (taken(train_batches(split, 5, seed, SHIFT), 8) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_global_seed_has_no_part(split):
    tf.random.set_seed(1)
    first = taken(train_batches(split, 5, 1, SHIFT), 4)
    tf.random.set_seed(2)
    np.testing.assert_array_equal(first[0], taken(train_batches(split, 5, 1, SHIFT), 4)[0])


@pytest.mark.parametrize("step", [1, 4, 7])
def test_starting_at_a_step_continues_the_run(split, step):
    whole = taken(train_batches(split, 5, 1, SHIFT), 10)
    rest = taken(train_batches(split, 5, 1, SHIFT, first_step=step), 10 - step)
    np.testing.assert_array_equal(whole[0][step:], rest[0])
    np.testing.assert_array_equal(whole[1][step:], rest[1])


def test_an_image_is_augmented_anew_in_every_epoch():
    image = np.random.default_rng(0).integers(1, 255, (1, 9, 9, 1)).astype(np.uint8)
    images, _ = taken(train_batches(Split(image, np.zeros(1, np.int32)), 1, 0, SHIFT), 12)
    assert len({image.tobytes() for image in images}) > 6


def test_images_of_an_epoch_are_augmented_independently():
    image = np.random.default_rng(0).integers(1, 255, (1, 9, 9, 1)).astype(np.uint8)
    same = Split(np.repeat(image, 12, 0), np.arange(12, dtype=np.int32))
    images, _ = taken(train_batches(same, 12, 0, SHIFT), 1)
    assert len({image.tobytes() for image in images[0]}) > 6


def test_evaluation_takes_every_image_once_in_order(split):
    batches = list(eval_batches(split, 5).as_numpy_iterator())
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5, 3]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in batches]), split.labels)
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), split.images)


@pytest.mark.parametrize("size", [24, 0, -1])
def test_batch_that_cannot_be_filled(split, size):
    with pytest.raises(ValueError, match=f"A batch of {size} cannot be filled from 23 training images"):
        train_batches(split, size, seed=0)
