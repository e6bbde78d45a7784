"""TFDS data sets: real files of the real formats, written by TFDS itself, with few and random images."""

import functools
import itertools
import json
import re
import shutil
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources import records
from keras_nest.data.sources.base import ONLY_HOST, Example, Host, decode
from keras_nest.data.sources.tfds import open_tfds
from tests.data.sources import tfds_offline

CIFAR_NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
# More files than are read in turns, a chunk that no epoch fills, and a last chunk that is not full.
NUM_TRAIN, NUM_TEST, NUM_SHARDS, BUFFER = 101, 23, 20, 32
TRAIN = tfds_offline.images(NUM_TRAIN, seed=0), np.arange(NUM_TRAIN) % 10
TEST = tfds_offline.images(NUM_TEST, seed=1), np.arange(NUM_TEST)[::-1] % 10
JPEGS = {split: tfds_offline.jpegs(n, seed) for seed, (split, n) in enumerate({"train": 23, "validation": 7}.items())}
NUMBER_OF = {image.tobytes(): number for number, image in enumerate(np.concatenate([TRAIN[0], TEST[0]]))}
STREAMED, IN_MEMORY = {"in_memory_bytes": 0, "shuffle_buffer": BUFFER}, {}
BOTH_WAYS = pytest.mark.parametrize("way", [STREAMED, IN_MEMORY], ids=["streamed", "in memory"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds_offline.prepare("cifar10", folder, {"train": TRAIN, "test": TEST}, NUM_SHARDS, CIFAR_NAMES)
    imagenet = {split: (images, [900 + n for n in range(len(images))]) for split, images in JPEGS.items()}
    imagenet["test"] = JPEGS["validation"], [-1] * len(JPEGS["validation"])
    tfds_offline.prepare("imagenet2012", folder, imagenet, num_shards=3)
    return folder


@pytest.fixture(scope="module")
def cifar(folder):
    """Opens cifar10."""

    def opened(**options):
        return open_tfds("cifar10", data_dir=str(folder), **options)

    return opened


@functools.cache
def number_of(content, orientation):
    """Which image an encoded one is, counted over training and test images."""
    return NUMBER_OF[decode(Example(tf.constant(content), tf.constant(0), orientation)).numpy().tobytes()]


def numbers(dataset):
    """Which images these are; each must have its own label and the promised types."""
    labels = np.concatenate([TRAIN[1], TEST[1]])
    assert dataset.element_spec == Example(*(tf.TensorSpec([], dtype) for dtype in (tf.string, tf.int32, tf.int32)))
    examples = list(dataset.as_numpy_iterator())
    found = [number_of(example.content, example.orientation) for example in examples]
    assert [example.label for example in examples] == labels[found].tolist()
    assert all(example.orientation == UPRIGHT for example in examples)
    return found


def take(examples, count, seed=0, host=ONLY_HOST, first=0):
    return numbers(examples.shuffled(seed, host, first).take(count))


class TestWhatIsRead:
    @BOTH_WAYS
    def test_cifar(self, cifar, way):
        source = cifar(**way)
        assert source.info.name == "cifar10"
        assert source.info.class_names == tuple(CIFAR_NAMES)
        assert source.info.image_shape == (32, 32, 3)
        assert (source.info.num_train, source.info.num_test) == (len(source.train), len(source.test))
        assert sorted(numbers(source.train.in_order(ONLY_HOST))) == list(range(NUM_TRAIN))
        assert sorted(numbers(source.test.in_order(ONLY_HOST))) == list(range(NUM_TRAIN, NUM_TRAIN + NUM_TEST))

    @pytest.mark.parametrize(
        ("name", "way"), [("imagenet2012", STREAMED), ("imagenet", IN_MEMORY), ("imagenet2012:5.*.*", STREAMED)]
    )
    def test_imagenet_is_left_encoded_byte_by_byte(self, folder, name, way):
        source = open_tfds(name, data_dir=str(folder), **way)
        assert source.info.name == name
        assert (source.info.image_shape, source.info.num_classes) == ((None, None, 3), 1000)
        assert source.info.class_names[0] == "n01440764"
        for examples, expected in ((source.train, JPEGS["train"]), (source.test, JPEGS["validation"])):
            found = list(examples.in_order(ONLY_HOST).as_numpy_iterator())
            assert {example.content: example.label for example in found} == {
                content: 900 + number for number, content in enumerate(expected)
            }

    def test_gray_images_are_decoded_to_three_channels(self, folder, tmp_path):
        scans = tfds_offline.images(4, seed=2, shape=(28, 28, 1)), [7, 0, 3, 9]
        tfds_offline.prepare("mnist", tmp_path, {"train": scans, "test": scans})
        source = open_tfds("mnist", data_dir=str(tmp_path))
        assert source.info.image_shape == (28, 28, 3)
        for example in source.train.in_order(ONLY_HOST):
            expected = scans[0][scans[1].index(example.label)]
            np.testing.assert_array_equal(decode(example), np.repeat(expected, 3, axis=-1))

    def test_configuration(self, tmp_path):
        matched = JPEGS["train"], range(23)
        tfds_offline.prepare("imagenet_v2/matched-frequency", tmp_path, {"test": matched})
        source = open_tfds("imagenet_v2/matched-frequency", train_split="test", data_dir=str(tmp_path))
        assert (source.info.num_test, source.info.num_classes) == (23, 1000)

    def test_features_with_other_names(self, tmp_path):
        name, pictures = "geirhos_conflict_stimuli", tfds_offline.jpegs(4, seed=5)
        tfds_offline.prepare(name, tmp_path, {"test": (pictures, [3, 2, 1, 5])})
        source = open_tfds(name, train_split="test", data_dir=str(tmp_path))
        assert source.info.class_names[:2] == ("airplane", "bear")
        found = {example.content: example.label for example in source.test.in_order(ONLY_HOST).as_numpy_iterator()}
        assert found == dict(zip(pictures, [3, 2, 1, 5], strict=True))

    def test_data_set_that_tfds_has_no_code_for(self, tmp_path):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["cat", "dog"]),
        }
        pictures = tfds_offline.images(3, seed=3)
        examples = [{"image": image, "label": label} for image, label in zip(pictures, [1, 0, 1], strict=True)]
        tfds_offline.prepare_unknown("my_pets", tmp_path, features, examples)
        source = open_tfds("my_pets", "train[:2]", "train[2:]", data_dir=str(tmp_path))
        assert source.info.class_names == ("cat", "dog")
        both = itertools.chain(source.train.in_order(ONLY_HOST), source.test.in_order(ONLY_HOST))
        found = {decode(example).numpy().tobytes(): int(example.label) for example in both}
        assert found == {image.tobytes(): label for image, label in zip(pictures, [1, 0, 1], strict=True)}

    def test_data_dir_of_tfds_is_the_default(self, folder, monkeypatch):
        monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(folder))
        assert open_tfds("cifar10").info.num_train == NUM_TRAIN


class TestSplits:
    @BOTH_WAYS
    def test_parts_are_disjoint(self, cifar, way):
        source = cifar(train_split="train[:90%]", test_split="train[90%:]", **way)
        assert (source.info.num_train, source.info.num_test) == (91, 10)
        train, test = (numbers(part.in_order(ONLY_HOST)) for part in (source.train, source.test))
        assert sorted(train + test) == list(range(NUM_TRAIN))
        assert sorted(take(source.train, 91)) == sorted(train)

    def test_parts_are_those_of_tfds(self, cifar, folder):
        part = "train[13:77]"
        expected = [NUMBER_OF[image.numpy().tobytes()] for image, _ in tfds_dataset(folder, part)]
        assert numbers(cifar(train_split=part, **STREAMED).train.in_order(ONLY_HOST)) == expected

    def test_sums(self, cifar):
        source = cifar(train_split="train[:10]+test", **STREAMED)
        found = numbers(source.train.in_order(ONLY_HOST))
        assert len(set(found)) == len(found) == 10 + NUM_TEST
        assert sum(number >= NUM_TRAIN for number in found) == NUM_TEST

    def test_imagenet_is_tested_on_its_validation_images(self, folder):
        assert open_tfds("imagenet2012", data_dir=str(folder)).info.num_test == len(JPEGS["validation"])

    def test_validation_images_where_there_are_no_test_images(self, tmp_path):
        pictures = tfds_offline.jpegs(5, seed=4)
        tfds_offline.prepare(
            "imagenette", tmp_path, {"train": (pictures, range(5)), "validation": (pictures[:2], [0, 1])}
        )
        assert open_tfds("imagenette", data_dir=str(tmp_path)).info.num_test == 2

    @pytest.mark.parametrize(
        ("which", "spec"),
        [
            *(("train_split", spec) for spec in ("trian", "train[:98", "train[200:300]", "train[:0]")),
            *(("test_split", spec) for spec in ("train[9:3]", "")),
        ],
    )
    def test_refused(self, cifar, which, spec):
        known = r"it has 'train' \(101 images\), 'test' \(23 images\), and parts such as 'train\[:98%\]'"
        with pytest.raises(ValueError, match=f"'cifar10' has no images in split {re.escape(repr(spec))}; {known}"):
            cifar(**{which: spec})


def tfds_dataset(folder, split):
    return tfds.builder("cifar10", data_dir=folder).as_dataset(split, as_supervised=True)


@BOTH_WAYS
class TestInOrder:
    def test_hosts_together_see_each_image_once_in_an_order_that_is_always_the_same(self, cifar, way):
        train = cifar(**way).train
        parts = [train.in_order(Host(index, 3)) for index in range(3)]
        assert {int(part.cardinality()) for part in parts} <= {NUM_TRAIN // 3, NUM_TRAIN // 3 + 1}
        found = [numbers(part) for part in parts]
        assert sorted(itertools.chain(*found)) == list(range(NUM_TRAIN))
        assert numbers(cifar(**way).train.in_order(Host(1, 3))) == found[1]

    def test_more_hosts_than_images(self, cifar, way):
        test = cifar(test_split="test[:2]", **way).test
        found = [numbers(test.in_order(Host(index, 3))) for index in range(3)]
        assert sorted(map(len, found)) == [0, 1, 1]
        assert len(set(itertools.chain(*found))) == 2


@BOTH_WAYS
class TestShuffled:
    def test_an_epoch_has_each_image_once(self, cifar, way):
        epochs = np.reshape(take(cifar(**way).train, 3 * NUM_TRAIN), (3, NUM_TRAIN))
        assert (np.sort(epochs) == np.arange(NUM_TRAIN)).all()
        # Two random orders agree in one place on average.
        assert max(np.sum(a == b) for a, b in itertools.combinations(epochs, 2)) < 10

    @pytest.mark.slow
    def test_hosts_together_see_each_image_once(self, cifar, way):
        train = cifar(**way).train
        hosts = [Host(index, 3) for index in range(3)]
        seen = itertools.chain(*(take(train, len(host.part(NUM_TRAIN)), host=host) for host in hosts))
        # Hosts that take turns share the images beyond the last full round.
        assert len(set(seen)) >= NUM_TRAIN - 3

    @pytest.mark.slow
    def test_the_seed_decides_and_the_global_one_does_not(self, cifar, way):
        tf.random.set_seed(1)
        first = take(cifar(**way).train, 150, seed=1)
        tf.random.set_seed(2)
        train = cifar(**way).train
        assert take(train, 150, seed=1) == first
        assert take(train, 150, seed=2) != first

    # One that shares a chunk, the first of a chunk, the first of an epoch, and one in another epoch.
    @pytest.mark.slow
    @pytest.mark.parametrize(("host", "firsts"), [(ONLY_HOST, (BUFFER, 250)), (Host(1, 2), (1, NUM_TRAIN))])
    def test_leaving_out_the_first(self, cifar, way, host, firsts):
        train = cifar(**way).train
        whole = take(train, 370, host=host)
        for first in firsts:
            assert take(train, 120, host=host, first=first) == whole[first : first + 120]


class TestStreaming:
    def test_each_host_has_epochs_of_its_own_part(self, cifar):
        train = cifar(**STREAMED).train
        for host in (Host(0, 3), Host(2, 3)):
            part = sorted(numbers(train.in_order(host)))
            epochs = np.reshape(take(train, 2 * len(part), host=host), (2, len(part)))
            assert (np.sort(epochs) == part).all()

    def test_files_are_shuffled(self, cifar):
        train = cifar(in_memory_bytes=0, shuffle_buffer=1).train
        ordered = numbers(train.in_order(ONLY_HOST))
        follows = dict(itertools.pairwise(ordered))
        shuffled = take(train, NUM_TRAIN)
        assert shuffled != ordered
        assert sum(follows.get(a) == b for a, b in itertools.pairwise(shuffled)) > 0.5 * NUM_TRAIN

    def test_chunks_are_shuffled_each_in_its_own_way(self, cifar):
        # Without room in the buffer, only files are shuffled.
        place = np.argsort(take(cifar(in_memory_bytes=0, shuffle_buffer=1).train, NUM_TRAIN))
        places = place[take(cifar(**STREAMED).train, NUM_TRAIN)]
        chunks = [places[start : start + BUFFER] - start for start in range(0, NUM_TRAIN, BUFFER)]
        assert all(sorted(chunk) == list(range(len(chunk))) for chunk in chunks)
        same = [np.sum(a == b) for a, b in itertools.combinations([*chunks[:3], np.arange(BUFFER)], 2)]
        assert max(same) < 8

    def test_left_out_images_are_not_parsed(self, cifar, monkeypatch):
        parsed = []
        train = cifar(**STREAMED).train
        parse = train._parse

        def counted(record):
            tf.py_function(lambda: parsed.append(1), [], [])
            return parse(record)

        monkeypatch.setattr(train, "_parse", counted)
        assert len(take(train, 1, first=90)) == 1
        assert len(parsed) < 20

    def test_epochs_left_out_cost_nothing(self, cifar):
        train = cifar(**STREAMED).train
        far = take(train, NUM_TRAIN, first=10**12 * NUM_TRAIN)
        assert sorted(far) == list(range(NUM_TRAIN))

    def test_a_host_opens_only_files_of_its_part(self, folder, tmp_path):
        copy = tmp_path / "cifar10"
        shutil.copytree(folder / "cifar10", copy)
        for file in sorted(copy.rglob("*train*.tfrecord*"))[NUM_SHARDS // 2 + 1 :]:
            file.unlink()
        train = open_tfds("cifar10", data_dir=str(tmp_path), **STREAMED).train
        assert len(take(train, 60, host=Host(0, 2))) == 60
        assert len(numbers(train.in_order(Host(0, 2)))) == 50

    def test_a_file_cut_off_is_an_error(self, folder, tmp_path):
        shutil.copytree(folder / "cifar10", tmp_path / "cifar10")
        shard = min((tmp_path / "cifar10").rglob("*train*.tfrecord*"))
        lines = list(tf.data.TFRecordDataset(str(shard)).as_numpy_iterator())
        with tf.io.TFRecordWriter(str(shard)) as writer:
            for line in lines[:-1]:
                writer.write(line)
        train = open_tfds("cifar10", data_dir=str(tmp_path), **STREAMED).train
        for dataset in (train.in_order(ONLY_HOST), train.shuffled(0, ONLY_HOST, 0).take(NUM_TRAIN)):
            with pytest.raises(tf.errors.FailedPreconditionError, match="expected to contain 101 elements"):
                list(dataset)

    def test_too_many_hosts(self, cifar):
        with pytest.raises(ValueError, match="23 images are too few for 40 hosts; each needs one at least"):
            cifar(**STREAMED).test.shuffled(0, Host(0, 40), 0)

    def test_a_buffer_without_room(self, cifar):
        with pytest.raises(ValueError, match="shuffle_buffer is 0; it must be 1 or more"):
            cifar(shuffle_buffer=0)


class TestMemory:
    def test_nothing_is_read_before_it_is_needed(self, folder, tmp_path):
        shutil.copytree(folder / "cifar10", tmp_path / "cifar10")
        for file in (tmp_path / "cifar10").rglob("*.tfrecord*"):
            file.unlink()
        train = open_tfds("cifar10", data_dir=str(tmp_path)).train
        with pytest.raises(tf.errors.NotFoundError, match=r"cifar10-train\.tfrecord"):
            train.in_order(ONLY_HOST)

    def test_files_are_read_once(self, folder, tmp_path):
        shutil.copytree(folder / "cifar10", tmp_path / "cifar10")
        train = open_tfds("cifar10", data_dir=str(tmp_path)).train
        before = numbers(train.in_order(ONLY_HOST))
        shutil.rmtree(tmp_path / "cifar10")
        assert numbers(train.in_order(ONLY_HOST)) == before
        assert sorted(take(train, NUM_TRAIN)) == sorted(before)

    def test_what_fits(self, cifar, folder):
        written = tfds.builder("cifar10", data_dir=folder).info.splits
        large = written["train"].num_bytes
        source = cifar(in_memory_bytes=large * 9 // 10)
        assert isinstance(source.train, records.StreamedExamples)
        assert isinstance(source.test, records.CachedExamples)
        part = cifar(in_memory_bytes=large * 9 // 10, train_split="train[:80%]")
        assert isinstance(part.train, records.CachedExamples)

    def test_unknown_size_is_streamed(self, folder, tmp_path):
        shutil.copytree(folder / "cifar10", tmp_path / "cifar10")
        edit_metadata(tmp_path, lambda content: [split.pop("numBytes") for split in content["splits"]])
        source = open_tfds("cifar10", data_dir=str(tmp_path))
        assert isinstance(source.train, records.StreamedExamples)


def edit_metadata(folder, change):
    """Changes what `dataset_info.json` says."""
    (path,) = folder.rglob("dataset_info.json")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


PICTURE = tfds.features.Image(), np.zeros((4, 4, 3), np.uint8)
CLASS = tfds.features.ClassLabel(num_classes=2), 1
# Features and one example.
OTHER_TASKS = {
    "depth": {
        "image": (tfds.features.Image(shape=(4, 4, 1), dtype=np.float32), np.zeros((4, 4, 1), np.float32)),
        "label": CLASS,
    },
    "many labels": {"image": PICTURE, "label": (tfds.features.Sequence(CLASS[0]), [0, 1])},
    "regression": {"image": PICTURE, "label": (tfds.features.Scalar(np.float32), 0.5)},
    "text": {"text": (tfds.features.Text(), "good"), "label": CLASS},
}


class TestRefused:
    def test_unprepared(self, tmp_path):
        version = tfds.builder("imagenet2012", data_dir=tmp_path).version
        expected = (
            f"'imagenet' is not prepared in {tmp_path}/imagenet2012/{version}; prepare it once with `tfds build "
            f"imagenet2012 --data_dir={tmp_path}` or `tfds.builder('imagenet2012').download_and_prepare()`, or give "
            "the data_dir that holds it."
        )
        with pytest.raises(FileNotFoundError, match=f"^{re.escape(expected)}$"):
            open_tfds("imagenet", data_dir=str(tmp_path))
        assert list(tmp_path.iterdir()) == []

    def test_unknown_name(self, tmp_path):
        with pytest.raises(ValueError, match=r"^There is no directory and no data set 'cifer10'; did you mean cifar10"):
            open_tfds("cifer10", data_dir=str(tmp_path))
        for name in ("cifar-10", "CIFAR10", "cifar_10"):
            with pytest.raises(ValueError, match=rf"data set '{name}'; did you mean cifar10\?$"):
                open_tfds(name, data_dir=str(tmp_path))
        with pytest.raises(ValueError, match=r"data set 'imagnet2012:5\.0\.0'; did you mean imagenet2012"):
            open_tfds("imagnet2012:5.0.0", data_dir=str(tmp_path))
        with pytest.raises(ValueError, match=r"'qqqq'; `tfds.list_builders\(\)` lists what TFDS has\.$"):
            open_tfds("qqqq", data_dir=str(tmp_path))

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("cifar10:9.*.*", "cannot be loaded at version"),
            ("imagenet_v2/matched", "BuilderConfig matched not found"),
        ],
    )
    def test_unknown_version_configuration_or_form(self, tmp_path, name, reason):
        with pytest.raises(ValueError, match=rf"^TFDS cannot open {re.escape(repr(name))}: [^\n]*{reason}[^\n]*$"):
            open_tfds(name, data_dir=str(tmp_path))

    def test_no_test_images(self, tmp_path):
        tfds_offline.prepare("tf_flowers", tmp_path, {"train": (JPEGS["train"], [0] * 23)})
        expected = r"'tf_flowers' has no test images; choose a test_split: it has 'train' \(23 images\)\."
        with pytest.raises(ValueError, match=expected):
            open_tfds("tf_flowers", data_dir=str(tmp_path))

    @BOTH_WAYS
    def test_images_without_labels(self, folder, way):
        source = open_tfds("imagenet2012", test_split="test", data_dir=str(folder), **way)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="imagenet2012 has an image without label in this split"
        ):
            list(source.test.in_order(ONLY_HOST))

    def test_other_file_formats(self, folder, tmp_path):
        shutil.copytree(folder / "cifar10", tmp_path / "cifar10")
        edit_metadata(tmp_path, lambda content: content.update(fileFormat="array_record"))
        expected = "'cifar10' is stored as array_record; prepare it with file_format='tfrecord'"
        with pytest.raises(ValueError, match=expected):
            open_tfds("cifar10", data_dir=str(tmp_path))

    @pytest.mark.parametrize("task", OTHER_TASKS)
    def test_other_tasks(self, tmp_path, task):
        features, values = zip(*OTHER_TASKS[task].values(), strict=True)
        features, example = (dict(zip(OTHER_TASKS[task], column, strict=True)) for column in (features, values))
        tfds_offline.prepare_unknown("other_task", tmp_path, features, [example])
        with pytest.raises(ValueError, match="'other_task' is not for image classification; each example must have"):
            open_tfds("other_task", test_split="train", data_dir=str(tmp_path))

    def test_missing_tfds_is_told_with_the_remedy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
        with pytest.raises(ModuleNotFoundError, match=r"not installed: pip install 'keras-nest\[data\]'"):
            open_tfds("cifar10")
