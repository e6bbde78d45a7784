"""The whole way from files to batches: TFRecords of cifar10 and imagenet2012, and folders of photographs."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import Host, create_recipe, eval_batches, load, open_source, train_batches
from keras_nest.data.sources.base import Example
from tests.data import photographs
from tests.data.sources import tfds_offline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("tfds")
    cifar = {"train": tfds_offline.images(30, 1), "test": tfds_offline.images(11, 2)}
    cifar = {split: (images, np.arange(len(images)) % 10) for split, images in cifar.items()}
    tfds_offline.prepare("cifar10", data_dir, cifar)
    imagenet = {"train": tfds_offline.jpegs(21, 3), "validation": tfds_offline.jpegs(13, 4)}
    imagenet = {split: (images, np.arange(len(images))) for split, images in imagenet.items()}
    tfds_offline.prepare("imagenet2012", data_dir, imagenet, num_shards=3)
    return str(data_dir), cifar, imagenet


@pytest.mark.parametrize("name", ["cifar10", "imagenet2012"])
class TestTfds:
    @pytest.fixture
    def source(self, name, folder):
        return open_source(name, data_dir=folder[0])

    @pytest.mark.slow
    def test_two_runs_in_parallel_are_the_same_and_the_second_may_begin_later(self, name, folder):
        recipe, runs = {"cifar10": "nest", "imagenet2012": "vit"}[name], []
        train, _, _ = load(name, recipe, 32, batch_size=4, seed=7, data_dir=folder[0])
        for seed, batches in ((1, train.take(6)), (2, train.skip(4).take(2))):
            tf.random.set_seed(seed)
            runs.append(list(batches.as_numpy_iterator()))
        for (images, labels), (images_again, labels_again) in zip(runs[0][4:], runs[1], strict=True):
            np.testing.assert_array_equal(images, images_again)
            np.testing.assert_array_equal(labels, labels_again)

    def test_two_hosts_see_each_example_once_an_epoch(self, source):
        recipe, count = create_recipe("plain", source.info, 16), len(source.train)
        parts = []
        for index in range(2):
            host = Host(index, 2)
            batches = train_batches(source, recipe, (16, 16), 2, 0, host)
            parts.append([int(labels[0]) for _, labels in batches.take(len(range(index, count, 2)))])
        assert sorted(parts[0] + parts[1]) == sorted(int(example.label) for example in source.train.in_order(Host()))

    def test_evaluation_counts_each_example_once(self, source):
        recipe, seen = create_recipe("nest", source.info, 32), []
        for index in range(2):
            for images, labels, weights in eval_batches(source, recipe, (32, 32), 8, Host(index, 2)):
                assert images.shape == (4, 32, 32, 3)
                seen += labels[weights > 0].numpy().tolist()
        assert sorted(seen) == sorted(int(example.label) for example in source.test.in_order(Host()))


def test_evaluation_of_cifar_is_its_normalization(folder):
    data_dir, cifar, _ = folder
    _, test, _ = load("cifar10", "plain", 32, batch_size=11, data_dir=data_dir)
    images, labels, _ = next(iter(test))
    order = [int(np.argmax(np.all(cifar["test"][0] == pixels, axis=(1, 2, 3)))) for pixels in denormalized(images)]
    assert sorted(order) == list(range(11))
    np.testing.assert_array_equal(labels, cifar["test"][1][order])


def denormalized(images):
    mean, std = [0.4914, 0.4822, 0.4465], [0.2471, 0.2435, 0.2616]
    return np.rint((images * std + mean) * 255).astype(np.uint8)


def test_training_on_jpegs_of_several_sizes(folder):
    train, _, info = load("imagenet2012", "vit", 16, batch_size=21, data_dir=folder[0])
    assert (info.num_train, info.num_test, train.element_spec[0].shape) == (21, 13, (21, 16, 16, 3))
    images, labels = next(iter(train))
    assert sorted(labels.numpy()) == list(range(21))
    assert np.all(np.abs(images) <= 1)


class TestPhotographs:
    @pytest.fixture(scope="class")
    @staticmethod
    def root(tmp_path_factory):
        root = tmp_path_factory.mktemp("photographs")
        photographs.write_folder(root)
        return root

    @pytest.mark.slow
    def test_batches(self, root):
        train, test, info = load(root, "nest_cifar", 32, batch_size=2, seed=1)
        images, labels = next(iter(train))
        assert images.shape == (2, 32, 32, 3)
        assert np.all(np.isfinite(images))
        assert labels.shape == (2, info.num_classes)
        assert sum(float(tf.reduce_sum(weights)) for *_, weights in test) == info.num_test

    def test_jpeg_is_cropped_while_decoding_and_png_afterwards(self, root):
        """Both give the same part: what differs is rounding of JPEG."""
        pixels = photographs.small("china", (128, 96))
        recipe = create_recipe("vit", open_source(root).info, 32)
        png, jpeg = (
            Example(tf.constant(photographs.encoded(pixels, kind, **options)), tf.constant(0), tf.constant(1))
            for kind, options in (("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0}))
        )
        for number in range(4):
            first, second = (recipe.train_image(file, tf.constant([number, 1]), (32, 32)) for file in (png, jpeg))
            assert float(tf.reduce_mean(tf.abs(first - second))) < 0.02
