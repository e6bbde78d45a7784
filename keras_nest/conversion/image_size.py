"""The size of a model's images in a checkpoint file, which tensors alone do not tell.

2 x 8 tokens are as many as 4 x 4. Files that we write say the size where no other reader minds: an .npz in the zip
archive's comment, msgpack in a variable collection of its own, Orbax in its custom metadata.
"""

from collections.abc import Mapping
from typing import Any

from keras_nest.types import Size

COLLECTION = "keras_nest"
FIELD = "image_size"


def told_size(metadata: Any) -> Size | None:
    """Height and width that metadata hold, or None if they are not ours.

    Args:
        metadata: anything; ours is {"image_size": [height, width]}.
    """
    if not isinstance(metadata, Mapping) or FIELD not in metadata:
        return None
    sides = [int(side) for side in metadata[FIELD]]
    return (sides[0], sides[1]) if len(sides) == 2 and min(sides) > 0 else None
