"""Which images train a model, which choose its weights, and which measure it at the end."""

import collections
import dataclasses
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keras_nest.data.sources.folder import some_of
from keras_nest.data.sources.table import Row
from keras_nest.finetune.duplicates import group
from keras_nest.finetune.found import Found, Photo
from keras_nest.places import absolute
from keras_nest.targets import MULTI_LABEL, ONE_CLASS, REGRESSION, Target

TRAIN, VAL, TEST = "train", "val", "test"
ALL = (TRAIN, VAL, TEST)
# Numbers are divided in so many ranges, each for itself.
_RANGES = 10
_SAME = "shows the same as "
_BUT_THE_SAME = " but such as show the same as those that measure"


@dataclasses.dataclass(frozen=True)
class Split:
    """The images of a folder, divided.

    Attributes:
        rows: one an image that was found, those that are left out and the broken ones among them.
        reason: how they were divided, in a line.
        remarks: what is worth knowing about the division, in sentences.
        target: what is told of an image.
    """

    rows: tuple[Row, ...]
    reason: str
    remarks: tuple[str, ...]
    target: Target = ONE_CLASS

    def size(self, part: str) -> int:
        """Number of images in a part."""
        return sum(row.part == part for row in self.rows)

    def counts(self, part: str) -> collections.Counter[str]:
        """Number of images of each class in a part; an image of several counts for each of them."""
        rows = [row for row in self.rows if row.part == part]
        return collections.Counter(name for row in rows for name in self.target.names_in(row.label))


def divide(found: Found, val: float, test: float, seed: int) -> Split:
    """Divides the images of a folder, each class for itself, and near-duplicates never between two parts.

    An image of several classes is divided with the rarest of them; numbers in ranges of equally many images.

    What is given about parts is kept; but if it names no images for validation, some of those for training
    become such. Of a training image that is a near-duplicate of a test or validation image, the measurement would be
    too good: it is left out.

    Args:
        found: what lies in the folder.
        val: share of the images that choose the weights, at least one of each class that has two.
        test: share of those that measure the model, at least one of each class that has three; 0 for none.
        seed: of the division, which does not depend on anything else but the names of the files.

    Raises:
        ValueError: a class has no training images, or nothing is left for validation.
    """
    groups = group(found.photos)
    parts, notes = _given(found.photos, groups)
    if not found.is_split:
        of_each = "" if found.target.task == REGRESSION else "of each class "
        shares, reason = {VAL: val, TEST: test}, f"{of_each}{val:.0%} choose the weights, {test:.0%} measure them"
    elif VAL in parts.values():
        shares, reason = {}, "as given"
    else:
        shares, reason = {VAL: val}, f"as given, and {val:.0%} of those for training choose the weights"
    undecided = [i for i in range(len(found.photos)) if i not in notes and parts.get(i) in (None, "", TRAIN)]
    parts |= _draw(strata(found), groups, undecided, shares, seed) if shares else {}
    rows = [_row(photo, parts[i], notes.get(i, "")) for i, photo in enumerate(found.photos)]
    rows += [Row(absolute(place.path), place.label, "", note=reason) for place, reason in found.broken]
    split = Split(tuple(sorted(rows)), reason, tuple(_remarks(found, groups, parts, notes)), found.target)
    _check(found, split)
    return split


def _given(photos: Sequence[Photo], groups: np.ndarray) -> tuple[dict[int, str], dict[int, str]]:
    """Parts as given, and why some images are left out."""
    parts = {i: photo.place.part for i, photo in enumerate(photos)}
    measured: dict[int, int] = {}
    # Of two parts that measure, the test comes last and counts.
    for part in (VAL, TEST):
        measured |= {int(groups[i]): i for i, given in parts.items() if given == part}
    notes = {}
    for i, part in parts.items():
        twin = measured.get(int(groups[i]))
        if twin is not None and parts[twin] != part:
            notes[i] = f"{_SAME}{photos[twin].place.path}"
    return {i: "" if i in notes else part for i, part in parts.items()}, notes


def strata(found: Found) -> list[str]:
    """What each image is divided with: its class, the rarest of its classes, or the range of its number."""
    labels, target = [photo.place.label for photo in found.photos], found.target
    if target.task == REGRESSION:
        order = np.argsort([float(label) for label in labels], kind="stable")
        ranges = np.empty(len(order), int)
        ranges[order] = np.arange(len(order)) * _RANGES // len(order)
        return [str(number) for number in ranges]
    if target.task == MULTI_LABEL:
        counts = collections.Counter(name for label in labels for name in target.names_in(label))
        return [min(target.names_in(label), key=lambda name: (counts[name], name), default="") for label in labels]
    return labels


def _draw(
    strata: Sequence[str], groups: np.ndarray, indices: Sequence[int], shares: Mapping[str, float], seed: int
) -> dict[int, str]:
    """Parts of images, drawn for each stratum; groups stay together, and belong to that of their first image."""
    members: dict[int, list[int]] = {}
    for i in indices:
        members.setdefault(int(groups[i]), []).append(i)
    classes: dict[str, list[list[int]]] = {}
    for inside in members.values():
        classes.setdefault(strata[inside[0]], []).append(inside)
    parts: dict[int, str] = {}
    for label, found in classes.items():
        # Of each class by itself, so that another class changes nothing.
        order = np.random.default_rng([seed, zlib.crc32(label.encode())]).permutation(len(found))
        names = _parts_of(len(found), shares)
        parts |= {i: name for name, place in zip(names, order, strict=True) for i in found[place]}
    return parts


def _parts_of(count: int, shares: Mapping[str, float]) -> list[str]:
    """Parts of so many things; something is left to train, and the first share gets the first that can be spared."""
    names: list[str] = []
    for name, share in shares.items():
        spared = count - 1 - len(names)
        names += [name] * min(spared, max(1, round(share * count)) if share else 0)
    return names + [TRAIN] * (count - len(names))


def _row(photo: Photo, part: str, note: str) -> Row:
    return Row(absolute(photo.place.path), photo.place.label, part, photo.orientation, photo.size, note)


def _check(found: Found, split: Split) -> None:
    trained = split.counts(TRAIN)
    names = () if found.target.task == REGRESSION else found.class_names
    if missing := [name for name in names if not trained[name]]:
        same = any(missing[0] in found.target.names_in(row.label) and row.note.startswith(_SAME) for row in split.rows)
        raise ValueError(
            f"{found.root} has no images of {missing[0]!r} to train with{_BUT_THE_SAME if same else ''}; add some, or "
            "remove the class everywhere."
        )
    if not split.size(VAL):
        raise ValueError(
            f"{found.root} has no images to choose the weights by: all of a class show the same, or there is one of "
            "each; add others."
        )


def _remarks(found: Found, groups: np.ndarray, parts: Mapping[int, str], notes: Mapping[int, str]) -> Iterator[str]:
    """What is worth knowing about the division."""
    sizes = np.bincount(groups)
    if near := int((sizes - 1)[sizes > 1].sum()):
        yield f"Near-duplicates of other images, which stay on one side of the split: {near:,}."
    if several := _of_two_classes(found.photos, groups):
        photo, labels = several[0]
        shown = " and ".join(repr(label) if not found.target.is_single_label else label for label in sorted(labels))
        where = "In two classes lies" if found.target.is_single_label else "Two different labels has"
        yield (
            f"{where} what {photo.place.path} shows: {shown}; one must be wrong"
            f"{f', and so for {len(several) - 1:,} others' if len(several) > 1 else ''}."
        )
    if notes:
        yield f"Left out of training, since the part that measures shows the same: {len(notes):,}."
    yield from _unmeasured(found, parts)


def _unmeasured(found: Found, parts: Mapping[int, str]) -> Iterator[str]:
    """What nothing will be known about, or little."""
    target = found.target
    if target.task == REGRESSION:
        return
    if target.task == MULTI_LABEL and (none := sum(not photo.place.label for photo in found.photos)):
        yield f"Images of none of the classes: {none:,}."
    labels = [photo.place.label for i, photo in enumerate(found.photos) if parts[i] in (VAL, TEST)]
    measured = {name for label in labels for name in target.names_in(label)}
    if unmeasured := [name for name in found.class_names if name not in measured]:
        yield f"Too few images to measure how well it is recognized: {some_of(unmeasured)}."


def _of_two_classes(photos: Sequence[Photo], groups: np.ndarray) -> list[tuple[Photo, set[str]]]:
    """The first image of each group that lies in several classes, and these."""
    members: dict[int, list[Photo]] = {}
    for photo, number in zip(photos, groups, strict=True):
        members.setdefault(int(number), []).append(photo)
    found = [(inside[0], {photo.place.label for photo in inside}) for inside in members.values()]
    return [(photo, labels) for photo, labels in found if len(labels) > 1]
