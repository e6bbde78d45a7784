"""The size of a model's images in a checkpoint file, which tensors alone do not tell.

2 x 8 tokens are as many as 4 x 4. Files that we write say the size where no other reader minds: an .npz in the zip
archive's comment, msgpack in a variable collection of its own, Orbax in its custom metadata.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_nest.types import Size

COLLECTION = "keras_nest"
FIELD = "image_size"
_LONGEST = 2**16


def told_size(metadata: Any) -> Size | None:
    """Height and width that metadata hold, or None if they are not ours.

    Args:
        metadata: anything; ours is {"image_size": [height, width]}.
    """
    sides = metadata.get(FIELD) if isinstance(metadata, Mapping) else None
    # Of msgpack they are an array.
    sides = sides.tolist() if isinstance(sides, np.ndarray) else sides
    if not isinstance(sides, (list, tuple)) or not all(type(side) is int and 0 < side < _LONGEST for side in sides):
        return None
    return (sides[0], sides[1]) if len(sides) == 2 else None
