"""Embeddings of images with captions."""

import numpy as np

from keras_nest.data.pairs import Pairs
from keras_nest.predict.images import read_image
from keras_nest.zero_shot.embedder import TEXTS, Embedder, Progress, silent


def embed_pairs(
    embedder: Embedder, pairs: Pairs, batch_size: int = 32, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `retrieval_recalls` takes, of a list of images and captions.

    Args:
        embedder: of a LiT.
        pairs: images and captions.
        batch_size: images at a time.
        progress: is shown meanwhile.

    Returns:
        zimg (I, C), ztxt (T, C), image_of_text (T,); the I different images are in the order of the list.

    Raises:
        ValueError: a file is broken or no image.
        OSError: it cannot be read.
    """
    rows = {file: row for row, file in enumerate(dict.fromkeys(pairs.images))}
    files = list(rows)
    zimg = [
        embedder.images([read_image(file) for file in files[start : start + batch_size]])
        for start in progress(range(0, len(files), batch_size), "embedding images")
    ]
    ztxt = [
        embedder.texts(pairs.texts[start : start + TEXTS])
        for start in progress(range(0, len(pairs.texts), TEXTS), "embedding captions")
    ]
    return np.concatenate(zimg), np.concatenate(ztxt), np.array([rows[file] for file in pairs.images])
