"""Small data sets that TFDS itself writes, with the files and metadata of the real ones, without a download."""

import io
from unittest import mock

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def prepare(name, data_dir, splits, num_shards=1, class_names=None):
    """Writes a data set that TFDS knows.

    Args:
        name: as TFDS has it.
        data_dir: folder of all data sets.
        splits: images and labels by split; an image is uint8 (H, W, C), or an encoded one, bytes.
        num_shards: files a split.
        class_names: None where TFDS knows them without a download.
    """
    builder = tfds.builder(name, data_dir=data_dir)
    if class_names is not None:
        builder.info.features["label"].names = class_names
    others = {key: _other(feature) for key, feature in builder.info.features.items()}

    def examples(split):
        for index, (image, label) in enumerate(zip(*splits[split], strict=True)):
            image = io.BytesIO(image) if isinstance(image, bytes) else image
            yield index, others | dict(zip(builder.info.supervised_keys, (image, label), strict=True))

    generators = {split: examples(split) for split in splits}
    with mock.patch.object(type(builder), "_split_generators", return_value=generators):
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=num_shards))


def prepare_unknown(name, data_dir, features, examples):
    """Writes a data set of any features, with a split "train", that TFDS has no code for."""
    tfds.dataset_builders.store_as_tfds_dataset(
        name, "1.0.0", tfds.features.FeaturesDict(features), {"train": list(enumerate(examples))}, data_dir=data_dir
    )


def _other(feature):
    """What features have that are neither image nor label."""
    return {tfds.features.ClassLabel: 0, tfds.features.Sequence: []}.get(type(feature), "text")


def images(count, seed, shape=(32, 32, 3)):
    """Random images, uint8 (count, *shape)."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def jpegs(count, seed):
    """Random encoded images of several sizes; each ends in zeros, as files that were padded do."""
    sizes = [(8 + index % 5, 16 + index % 3, 3) for index in range(count)]
    return [_jpeg(images(1, (seed, index), size)[0]) for index, size in enumerate(sizes)]


def _jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue() + bytes(3)
