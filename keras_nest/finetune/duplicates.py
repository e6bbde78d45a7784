"""Images that show the same: copies, other sizes and formats, the next picture of a series."""

from collections.abc import Sequence

import numpy as np

from keras_nest.finetune.found import Photo
from keras_nest.optional import import_optional

# Between the thumbnails of two images, as a share of their contrast. Copies in JPEG of a low quality stay below .02.
_NEAR = 0.06
# Comparing all pairs of more takes minutes; of these only those are found whose thumbnails are the same.
MOST_COMPARED = 30_000


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
    radius = _NEAR * np.sqrt(thumbnails.shape[1])
    cluster = import_optional("sklearn.cluster", "Near-duplicates are found by scikit-learn", "scikit-learn")
    # With a single image being enough for a cluster, clusters are what is joined by near pairs.
    return cluster.DBSCAN(eps=radius, min_samples=1).fit_predict(thumbnails / contrast)
