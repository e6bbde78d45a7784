"""Data sets that TensorFlow Datasets (TFDS) has prepared."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from keras_nest.data.image_files import decodable_in_graph
from keras_nest.data.orientation import UPRIGHT
from keras_nest.data.sources.base import DatasetInfo, Example, Examples, Source
from keras_nest.data.sources.records import CachedExamples, StreamedExamples
from keras_nest.data.sources.turns import Shard
from keras_nest.optional import import_optional

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

CAPTIONS = ("caption", "captions", "text", "texts")
"""Features of captioned images."""
# What the configurations of the papers call it.
ALIASES = {"imagenet": "imagenet2012"}


def open_tfds(
    name: str,
    train_split: str = "train",
    test_split: str | None = None,
    data_dir: str | None = None,
    shuffle_buffer: int = 4096,
    in_memory_bytes: int = 2**28,
) -> Source:
    """A data set for image classification, or of images with captions, that TFDS has prepared; nothing is downloaded.

    Args:
        name: as TFDS has it, with configuration or version if need be: "cifar10", "cifar10:3.*.*",
            "imagenet_v2/matched-frequency". "imagenet" is short for "imagenet2012".
        train_split: training images: a split of the data set, parts of it ("train[:98%]") or sums of them.
        test_split: test images, likewise; None takes "test", or else "validation". It takes "validation" of
            imagenet2012, whose "test" has no labels.
        data_dir: folder that holds the prepared data; None takes the one of TFDS, `~/tensorflow_datasets`.
        shuffle_buffer: how many images change places with one another when a split is streamed.
        in_memory_bytes: a split whose encoded images take no more is read into memory when it is first used, and is
            then shuffled as a whole.

    Returns:
        Names and sizes, training and test images; the images are encoded as TFDS stores them.

    Raises:
        ModuleNotFoundError: TFDS is not installed.
        FileNotFoundError: the data set is not prepared.
        ValueError: there is no such data set or split, or it is not for image classification or not in TFRecord files.
    """
    info = _prepared(name, data_dir).info
    image, label = _features(info)
    parse = _parser(info, image, label)

    def examples(spec: str) -> Examples:
        split = _split(info, spec)
        shards = [Shard(file.filename, file.skip, file.take) for file in split.file_instructions]
        streamed = StreamedExamples(shards, parse, shuffle_buffer)
        # TFDS knows no sizes of parts; a size of 0 is an unknown one.
        num_bytes = info.dataset_size * len(streamed) / info.splits.total_num_examples
        return CachedExamples(streamed) if 0 < num_bytes <= in_memory_bytes else streamed

    train = examples(train_split)
    test = examples(_default_test_split(info) if test_split is None else test_split)
    class_names = tuple(getattr(info.features[label], "names", ()))
    height, width, _ = info.features[image].shape
    return Source(DatasetInfo(name, class_names, (height, width, 3), len(train), len(test)), train, test)


def find_splits(name: str, data_dir: str | None = None) -> tuple[str, dict[str, int]]:
    """Name with configuration and version, and number of images of each split with labels; see `open_tfds`."""
    info = _prepared(name, data_dir).info
    unlabeled = ("test",) if info.name == "imagenet2012" else ()
    sizes = {split: info.splits[split].num_examples for split in info.splits if split not in unlabeled}
    return info.full_name, {split: size for split, size in sizes.items() if size}


def _tfds() -> ModuleType:
    """TFDS, which only its data sets need."""
    purpose = "Data sets other than 'digits' and directories are read by TensorFlow Datasets"
    return import_optional("tensorflow_datasets", purpose, "[data]")


def _prepared(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder of a data set that is there."""
    builder = _builder(name, data_dir)
    if not builder.is_prepared():
        official = _official(name)
        folder = "" if data_dir is None else f" --data_dir={data_dir}"
        raise FileNotFoundError(
            f"{name!r} is not prepared in {builder.data_dir}; prepare it once with `tfds build {official}{folder}` or "
            f"`tfds.builder({official!r}).download_and_prepare()`, or give the data_dir that holds it."
        )
    if builder.info.file_format != _tfds().core.FileFormat.TFRECORD:
        raise ValueError(
            f"{name!r} is stored as {builder.info.file_format.value}; prepare it with file_format='tfrecord'."
        )
    return builder


def _builder(name: str, data_dir: str | None) -> tfds.core.DatasetBuilder:
    """The builder of a data set that TFDS knows, or that lies in the folder."""
    tfds = _tfds()
    try:
        return tfds.builder(_official(name), data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise _unknown(name) from error
    except (AssertionError, ValueError) as error:
        if "Parsing builder name" in str(error):
            raise _unknown(name) from error
        raise ValueError(f"TFDS cannot open {name!r}: {str(error).splitlines()[0]}") from error


def _unknown(name: str) -> ValueError:
    known = ["digits", *_tfds().list_builders(with_community_datasets=False)]
    base = re.split("[/:]", name)[0]
    # "CIFAR-10" is not near "cifar10" as letters go, but the same name.
    same = [each for each in known if _letters(each) == _letters(base)]
    near = same[:1] or difflib.get_close_matches(base, known, 3, cutoff=0.75)
    hint = f"did you mean {' or '.join(near)}?" if near else "`tfds.list_builders()` lists what TFDS has."
    return ValueError(f"There is no directory and no data set {name!r}; {hint}")


def _letters(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name.lower())


def _official(name: str) -> str:
    """The name that TFDS knows; configuration and version stay as they are."""
    return re.sub(r"^\w+", lambda base: ALIASES.get(base[0], base[0]), name)


def _features(info: tfds.core.DatasetInfo) -> tuple[str, str]:
    """Names of the features with the images and with the labels or, where there are none, the captions."""
    tfds = _tfds()
    features = dict(info.features)
    for keys in (info.supervised_keys, ("image", "label"), *(("image", name) for name in CAPTIONS)):
        match [features.get(key) for key in keys or () if isinstance(key, str)]:
            case [tfds.features.Image(np_dtype=np.uint8), tfds.features.ClassLabel()]:
                return keys
            case [tfds.features.Image(np_dtype=np.uint8), feature] if _is_text(feature):
                return keys
    raise ValueError(
        f"{info.name!r} is not for image classification; each example must have one image of 8 bits and one class, or "
        f"for LiT a text under the name {' or '.join(CAPTIONS)}."
    )


def _is_text(feature: Any) -> bool:
    """Whether a feature is a text, a list of texts, or a list of things that have a `text`."""
    features = _tfds().features
    inner = feature.feature if isinstance(feature, features.Sequence) else feature
    inner = dict(inner).get("text") if isinstance(inner, features.FeaturesDict) else inner
    return isinstance(inner, features.Text)


def _parser(info: tfds.core.DatasetInfo, image: str, label: str) -> Callable[[tf.Tensor], Example]:
    """What takes encoded image, and label or captions, out of a serialized example."""
    tfds = _tfds()
    wanted = tfds.features.FeaturesDict({key: info.features[key] for key in (image, label)})
    unlabeled = f"{info.name} has an image without label in this split; choose another split"

    def parse(record: tf.Tensor) -> Example:
        example = wanted.deserialize_example(record, decoders={image: tfds.decode.SkipDecoding()})
        # Stored as its authors had it, which need not be JPEG or PNG.
        content = decodable_in_graph(example[image])
        if not isinstance(info.features[label], tfds.features.ClassLabel):
            return Example(content, _one_a_line(example[label]), tf.constant(UPRIGHT))
        class_index = tf.cast(example[label], tf.int32)
        tf.debugging.assert_non_negative(class_index, unlabeled)
        return Example(content, class_index, tf.constant(UPRIGHT))

    return parse


def _one_a_line(captions: Any) -> tf.Tensor:
    """Captions of an image as one text."""
    texts = captions["text"] if isinstance(captions, dict) else captions
    # A caption is one line.
    return tf.strings.reduce_join(tf.strings.regex_replace(texts, r"\s+", " "), separator="\n")


def _split(info: tfds.core.DatasetInfo, spec: str) -> tfds.core.SplitInfo | tfds.core.SubSplitInfo:
    """A split, or parts of splits, with images in it."""
    reason: Exception | None = None
    try:
        split = info.splits[spec]
        if split.num_examples > 0:
            return split
    except (AssertionError, ValueError) as error:
        reason = error
    raise ValueError(
        f"{info.name!r} has no images in split {spec!r}; it has {_list_splits(info)}, and parts such as 'train[:98%]'."
    ) from reason


def _default_test_split(info: tfds.core.DatasetInfo) -> str:
    for name in ("validation",) if info.name == "imagenet2012" else ("test", "validation"):
        if name in info.splits:
            return name
    raise ValueError(f"{info.name!r} has no test images; choose a test_split: it has {_list_splits(info)}.")


def _list_splits(info: tfds.core.DatasetInfo) -> str:
    """Names and sizes of all splits."""
    return ", ".join(f"{name!r} ({split.num_examples} images)" for name, split in info.splits.items())
