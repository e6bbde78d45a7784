"""Where the published checkpoints lie: one table, and the names its rows are found by.

Source: the READMEs and notebooks of google-research/nested-transformer and google-research/vision_transformer.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator

from keras_nest import registry
from keras_nest.conversion.augreg_index import FOLDER, INDEX, NEST_DIRECTORIES, checkpoint_uri, parse_model_name
from keras_nest.hints import did_you_mean
from keras_nest.models.timm import find_timm_model


@dataclasses.dataclass(frozen=True)
class PublishedCheckpoint:
    """A file or directory that was published.

    Attributes:
        model: full published name; "" where the file is not one model's, or does not tell.
        source: its folder, which says how it was trained: "imagenet21k", "sam", …; "" outside the published ones.
        uri: address, "gs://BUCKET/OBJECT", or a local path.
        classes: size of the head; None without a head, or where not known.
        image_size: side in pixels; None where not known.
        bytes: a lower bound of its size, the float32 weights alone; None where not known. The headers of an archive
            come on top, less than 0.1 %.
    """

    model: str
    source: str
    uri: str
    classes: int | None = None
    image_size: int | None = None
    bytes: int | None = None


# Parameters and the two moments of Adam.
_NEST_BYTES = {"nest-b_imagenet": 3 * 4 * 67_723_368}
# Folder, classes, image size: {file: bytes}. Of a model's files, those to be preferred come first.
_CLASSIFIERS: dict[tuple[str, int | None, int | None], dict[str, int]] = {
    ("gs://vit_models/imagenet21k+imagenet2012", 1000, 384): {
        "ViT-B_8": 350_976_928,
        "ViT-B_16": 347_437_984,
        "ViT-B_32": 353_188_768,
        "ViT-L_16": 1_218_863_008,
        "ViT-L_32": 1_226_530_720,
        "R50+ViT-B_16": 395_803_808,
    },
    ("gs://vit_models/imagenet21k+imagenet2012", 1000, 224): {
        "ViT-B_16-224": 346_270_624,
        "ViT-L_16-224": 1_217_306_528,
    },
    # Here the file names tell classes and image size.
    (FOLDER, None, None): {
        "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0": 38_960_460,
        "S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.03-do_0.0-sd_0.0": 120_300_876,
        "S_32-i21k-300ep-lr_0.001-aug_none-wd_0.1-do_0.0-sd_0.0": 123_614_028,
        "B_16-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.0-sd_0.0": 410_383_692,
        "B_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0": 417_009_996,
        "L_16-i21k-300ep-lr_0.001-aug_strong1-wd_0.1-do_0.0-sd_0.0": 1_302_762_828,
        "R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0": 41_441_612,
        "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0": 177_825_868,
        "R50_L_32-i21k-300ep-lr_0.001-aug_medium1-wd_0.1-do_0.1-sd_0.1": 1_401_435_724,
        "Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03-res_384": 23_161_504,
        "R_Ti_16-i21k-300ep-lr_0.001-aug_none-wd_0.03-do_0.0-sd_0.0--imagenet2012-steps_20k-lr_0.03-res_224": (
            25_350_816
        ),
        "R26_S_32-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0--oxford_iiit_pet-steps_0k-lr_0.003-res_384": (
            144_390_548
        ),
    },
    ("gs://vit_models/imagenet21k", 21843, 224): {
        "ViT-B_8": 412_782_924,
        "ViT-B_16": 412_746_060,
        "ViT-B_32": 419_372_364,
        "ViT-L_16": 1_306_961_228,
        "ViT-L_32": 1_315_796_300,
        "ViT-H_14": 2_641_541_452,
        "R26+ViT-B_32": 472_011_340,
        "R50+ViT-B_16": 461_111_884,
        "R50+ViT-L_32": 1_405_634_124,
    },
    ("gs://vit_models/sam", 1000, 224): {
        "ViT-S_16": 264_607_968,  # three copies of the weights: most likely a whole optimizer
        "ViT-B_16": 346_270_624,
        "ViT-B_32": 352_896_928,
        "ViT-L_16": 1_217_306_528,
        "ViT-L_32": 1_226_141_600,
    },
    ("gs://vit_models/gsam", 1000, 224): {
        "ViT-S_16": 88_202_656,
        "ViT-S_32": 91_515_808,
        "ViT-B_16": 346_270_624,
        "ViT-B_32": 352_896_928,
    },
    ("gs://mixer_models/imagenet1k", 1000, 224): {"Mixer-B_16": 239_521_888, "Mixer-L_16": 832_784_672},
    ("gs://mixer_models/imagenet21k", 21843, 224): {"Mixer-B_16": 303_634_956, "Mixer-L_16": 918_240_972},
    ("gs://mixer_models/sam", 1000, 224): {"Mixer-B_16": 239_521_888, "Mixer-B_32": 241_173_712},
    ("gs://mixer_models/gsam", 1000, 224): {"Mixer-B_16": 239_521_888, "Mixer-B_32": 241_173_712},
}
_AUGREG_FILE = re.compile(
    r"\w+-(?P<data>i1k|i21k)\w*-\d+ep-[^/]*?(--(?P<adapted>\w+)-steps_[^/]*-res_(?P<size>\d+))?(\.npz)?"
)
_CLASSES = {"i1k": 1000, "i21k": 21843, "imagenet2012": 1000, "cifar10": 10, "cifar100": 100, "oxford_iiit_pet": 37}
# LiT: suffix of the vocabulary, bytes of the weights (of B16B_2 the sources give two sizes).
_LIT = {
    "LiT-B16B": (".txt", 783_485_956),
    "LiT-B16B_2": (".txt", None),
    "LiT-L16L": (".txt", 2_553_774_084),
    "LiT-L16S": (".model", 1_324_561_412),
    "LiT-L16Ti": (".model", 1_247_652_356),
}


def _rows() -> Iterator[PublishedCheckpoint]:
    for file, model in NEST_DIRECTORIES.items():
        uri = f"gs://gresearch/nest-checkpoints/{file}"
        yield PublishedCheckpoint(model, "nest-checkpoints", uri, 1000, 224, _NEST_BYTES.get(file))
    size: int | None
    for (folder, classes, image_size), files in _CLASSIFIERS.items():
        for file, size in files.items():
            if folder == FOLDER:
                yield dataclasses.replace(_augreg_row(file), bytes=size)
                continue
            model, source, uri = parse_model_name(file) or "", os.path.basename(folder), f"{folder}/{file}.npz"
            yield PublishedCheckpoint(model, source, uri, classes, image_size, size)
    for model, (suffix, size) in _LIT.items():
        yield PublishedCheckpoint(model, "lit", f"gs://vit_models/lit/{model}.npz", None, 224, size)
        yield PublishedCheckpoint(model, "lit", f"gs://vit_models/lit/{model}{suffix}")
    yield PublishedCheckpoint("", "augreg", INDEX)


def _augreg_row(file: str) -> PublishedCheckpoint:
    """An AugReg checkpoint, from what its name tells.

    Raises:
        ValueError: it is not one's name.
    """
    match, model = _AUGREG_FILE.fullmatch(file), parse_model_name(file)
    if match is None or model is None:
        raise ValueError(f"{file!r} is not the name of an AugReg checkpoint.")
    classes = _CLASSES.get(match["adapted"] or match["data"])
    return PublishedCheckpoint(model, "augreg", checkpoint_uri(file), classes, int(match["size"] or 224))


PUBLISHED = tuple(_rows())


def find(name: str) -> PublishedCheckpoint:
    """The checkpoint that a user means; of several the first in the table.

    >>> find("sam/ViT-B_16").uri
    'gs://vit_models/sam/ViT-B_16.npz'

    Args:
        name: SOURCE/MODEL, a model's name or alias, a file name with or without suffix, any file name of the AugReg
            index, a name of timm, an address, or a local path.

    Returns:
        A row of the table, or a new one for what is not in it.

    Raises:
        ValueError: nothing is called so; the nearest names are given.
    """
    name = name.rstrip("/")
    named = next((row for row in PUBLISHED if name in names(row)), None)
    if named:
        return named
    with contextlib.suppress(ValueError):
        return _augreg_row(name.removeprefix(f"{FOLDER}/").removeprefix("augreg/"))
    if theirs := find_timm_model(name):
        return PublishedCheckpoint(theirs.name, "", theirs.handle)
    if "://" in name or os.path.exists(name):
        return PublishedCheckpoint(parse_model_name(name) or "", "", name)
    known = sorted({known for row in PUBLISHED for known in names(row)})
    hint = did_you_mean(name, known, "`keras-nest list --urls` shows all.", count=3)
    raise ValueError(f"There is no published checkpoint and no file {name!r}; {hint}")


def names(row: PublishedCheckpoint) -> set[str]:
    """What a row of the table is called: address, model, alias or file, the latter three also as SOURCE/NAME."""
    file = os.path.basename(row.uri)
    short = {row.model, file, file.removesuffix(".npz")} - {""}
    short |= {alias for alias, model in registry.ALIASES.items() if model == row.model}
    return {row.uri} | short | {f"{row.source}/{name}" for name in short}


def others(row: PublishedCheckpoint) -> list[PublishedCheckpoint]:
    """The other published checkpoints of the same model."""
    return [other for other in PUBLISHED if other.model == row.model and row.model and other.uri != row.uri]


def companions(row: PublishedCheckpoint) -> list[PublishedCheckpoint]:
    """What belongs to a model's weights: the vocabulary of LiT."""
    stem = row.uri.removesuffix(".npz")
    return [other for other in PUBLISHED if other.uri != row.uri and os.path.splitext(other.uri)[0] == stem]
