"""How old files differ from today's trees: the whole list.

Published ViT files were written before Flax Linen, which numbers sub-modules per class and not over all classes.
Old Flax holds GroupNorm vectors as (1, 1, 1, C).
"""

import re

from keras_nest.choices import LAYOUTS
from keras_nest.conversion.names import Tree
from keras_nest.untrusted.tensors import check_names

# Module in an encoder layer: today's name, name before Linen.
_RENAMES = (
    ("LayerNorm_1", "LayerNorm_2"),
    ("MultiHeadDotProductAttention_0", "MultiHeadDotProductAttention_1"),
    ("MlpBlock_0", "MlpBlock_3"),
)
_GROUP_NORM = re.compile(r"/(gn(\d+|_root|_proj)|GroupNorm_\d+)/(scale|bias)$")


def to_linen(tree: Tree) -> Tree:
    """A tree of any age under today's names and shapes; today's trees stay as they are.

    Args:
        tree: "params/PATH" -> array.

    Raises:
        ValueError: a tensor is there under both names.
    """
    # Looked for in the whole tree: LayerNorm_1 is today's name, and an older tree has none.
    is_old = any(f"/{old}/" in path for path in tree for _, old in _RENAMES)
    names = {old: new for new, old in _RENAMES} if is_old else {}
    check_names(_rename(path, names) for path in tree)
    return {
        _rename(path, names): value.reshape(-1) if _GROUP_NORM.search(path) else value for path, value in tree.items()
    }


def to_layout(tree: Tree, layout: str) -> Tree:
    """A tree as files of a layout hold it.

    Args:
        tree: "params/PATH" -> array.
        layout: "linen", or "pre_linen" as the first published ViT files.

    Raises:
        ValueError: unknown layout.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; it must be one of {', '.join(map(repr, LAYOUTS))}.")
    if layout == "linen":
        return tree
    # Text towers are younger than Linen.
    names = {path: path if path.startswith("params/txt/") else _rename(path, dict(_RENAMES)) for path in tree}
    renamed = {names[path]: value for path, value in tree.items()}
    return {path: value.reshape(1, 1, 1, -1) if _GROUP_NORM.search(path) else value for path, value in renamed.items()}


def _rename(path: str, names: dict[str, str]) -> str:
    parts = path.split("/")
    inside = any(re.fullmatch(r"encoderblock_\d+", part) for part in parts)
    return "/".join(names.get(part, part) for part in parts) if inside else path
