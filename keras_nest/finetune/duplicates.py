"""Images that show the same: copies, other sizes and formats, the next picture of a series."""

from collections.abc import Sequence

import numpy as np

from keras_nest.finetune.found import Photo

# Between the thumbnails of two images, as a share of their contrast. Copies in JPEG of a low quality stay below .02.
_NEAR = 0.06
# Comparing all pairs of more takes minutes; of these only those are found whose thumbnails are the same.
MOST_COMPARED = 30_000
_ROWS = 500


def group(photos: Sequence[Photo]) -> np.ndarray:
    """Which images belong together.

    Two do whose thumbnails, divided by their contrast, differ by less than a few percent, and so do those that are
    joined by others between them.

    Args:
        photos: N images.

    Returns:
        int64 (N,): numbers of groups.
    """
    thumbnails = np.stack([photo.thumbnail for photo in photos]).reshape(len(photos), -1).astype(np.float32)
    if len(photos) > MOST_COMPARED:
        return np.unique(thumbnails, axis=0, return_inverse=True)[1].reshape(-1)
    # A level at least: what is all of one color has no contrast.
    contrast = np.maximum(thumbnails.std(axis=1, keepdims=True), 1)
    return _joined(thumbnails.astype(np.float64) / contrast, _NEAR * np.sqrt(thumbnails.shape[1]))


def _joined(points: np.ndarray, radius: float) -> np.ndarray:
    """Numbers of groups (N,) of points (N, C): near ones are in one, and so are those that others join.

    Some rows of distances are in memory at a time, since frames of one camera may all be near each other.
    """
    squares, groups = (points**2).sum(axis=1), np.arange(len(points))
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        # To those before them they were compared already.
        distances = squares[rows, None] + squares[start:] - 2 * points[rows] @ points[start:].T
        near = distances <= radius**2
        near[np.arange(len(near)), np.arange(len(near))] = True
        for others in near[near.sum(axis=1) > 1]:
            found = np.unique(groups[start:][others])
            if len(found) > 1:
                groups[np.isin(groups, found)] = found[0]
    return np.unique(groups, return_inverse=True)[1]
