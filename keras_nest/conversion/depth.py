"""Checkpoints of deeper models: the first blocks of them, where fewer are asked for."""

import itertools
from collections.abc import Mapping
from typing import Any

from keras_nest.conversion.names import Tree, belongs_to
from keras_nest.conversion.parts import Part, parts
from keras_nest.models.base import PublishedModel
from keras_nest.models.configured import split_depth


def shorten(
    model: PublishedModel, tree: Tree, given: Mapping[str, Any], source: Mapping[str, Any]
) -> tuple[Tree, list[str]]:
    """A checkpoint without the blocks behind the last one of the model, where its depth was asked for.

    Args:
        model: the model.
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        given: fields of the model that the user set.
        source: fields of the checkpoint's model, as far as they are known.

    Returns:
        The rest of the tree, and a sentence for each tower of which blocks are left out.

    Raises:
        ValueError: others than the last blocks would be left out.
    """
    sentences = []
    for part in parts(model, given, source):
        path = _blocks_of(part)
        if path is None:
            continue
        depth, there = sum(split_depth(_wanted(part))), _count(tree, path)
        _check_depth(part, depth, there)
        if depth < there:
            surplus = [path.format(i) for i in range(depth, there)]
            tree = {name: value for name, value in tree.items() if not belongs_to(name, surplus)}
            sentences.append(
                f"The first {depth} of {there} blocks {path.format('…')} are used, and the others left out."
            )
    return tree, sentences


def missing_blocks(model: PublishedModel, tree: Tree, given: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Of a model with more blocks than the checkpoint: a sentence that says so, and the paths of those missing.

    Args:
        model: the model.
        tree: "params/PATH" and "batch_stats/PATH" -> array.
        given: fields of the model that the user set.

    Returns:
        "" and an empty list where none is missing, or the depth was not asked for.
    """
    sentences, missing = [], []
    for part in parts(model, given):
        path = _blocks_of(part)
        depth, there = (sum(split_depth(_wanted(part))), _count(tree, path)) if path else (0, 0)
        if path and depth > there > 0:
            field = part.model.BLOCKS[0]
            sentences.append(
                f"{field} is {_wanted(part)}, and the checkpoint has {there} blocks; give no more than that."
            )
            missing += [path.format(i) for i in range(there, depth)]
    return " ".join(sentences), missing


def _blocks_of(part: Part) -> str | None:
    """The path of a block of a tower whose depth was asked for."""
    if not part.sets(part.model.BLOCKS) or _wanted(part) is None:
        return None
    return part.prefix + part.model.BLOCKS[1]


def _wanted(part: Part) -> Any:
    return part.model.config[part.model.BLOCKS[0]]


def _count(tree: Tree, path: str) -> int:
    return next(i for i in itertools.count() if not any(belongs_to(name, [path.format(i)]) for name in tree))


def _check_depth(part: Part, depth: int, there: int) -> None:
    field = part.model.BLOCKS[0]
    levels, known = split_depth(_wanted(part)), split_depth(part.source.get(field))
    if depth < there == sum(known) and levels[:-1] != known[:-1]:
        raise ValueError(
            f"{field} is {levels}, and the checkpoint has {known}: blocks can be left out at its end only, so shorten "
            "the last level."
        )
