"""Image-text retrieval: recall@k of images by their captions, and of captions by their images."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_nest.data.prompts import TEXTS, Progress, silent
from keras_nest.data.sources.pairs import Pairs
from keras_nest.predict.images import read_image
from keras_nest.zero_shot.classifier import Embedder

_QUERIES = 256  # compared at a time


class Recalls(NamedTuple):
    """Shares of queries that are answered right, in [0, 1], by k.

    Attributes:
        image_to_text: images that have one of their captions among the k nearest.
        text_to_image: captions that have their image among the k nearest.
    """

    image_to_text: dict[int, float]
    text_to_image: dict[int, float]


def retrieval_recalls(
    zimg: np.ndarray, ztxt: np.ndarray, image_of_text: Sequence[int] | np.ndarray, ks: Sequence[int] = (1, 5, 10)
) -> Recalls:
    """Recall@k in both directions, as on Flickr30k and COCO.

    Ties count against the model: what is as near as the right answer is taken to be nearer. So embeddings that are all
    the same find nothing, nor do captions that several images have word for word.

    Args:
        zimg: (I, C), embeddings of images, each image once; L2-normalized, since products are compared.
        ztxt: (T, C), embeddings of captions.
        image_of_text: integers (T,), the row of the image that each caption belongs to; each image has one or more.
        ks: numbers of answers that are looked at.

    Raises:
        ValueError: shapes that do not fit, an image without caption, a caption without image, or a k below 1.
    """
    zimg, ztxt, owners = np.asarray(zimg), np.asarray(ztxt), np.asarray(image_of_text)
    _check(zimg, ztxt, owners, ks)
    images = np.arange(len(zimg))
    return Recalls(_recalls(zimg, images, ztxt, owners, ks), _recalls(ztxt, owners, zimg, images, ks))


def embed_pairs(
    embedder: Embedder, pairs: Pairs, batch_size: int = 32, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Embeddings of images and captions, as `retrieval_recalls` takes them.

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


def _recalls(
    queries: np.ndarray, images: np.ndarray, answers: np.ndarray, owners: np.ndarray, ks: Sequence[int]
) -> dict[int, float]:
    """Share of queries that find an answer of their own image, by k; what is of which image is told beside it."""
    # Equal vectors have equal similarities only after rounding: sums depend on the place in the matrix.
    queries, answers = queries.astype(np.float64), answers.astype(np.float64)
    ranks = np.empty(len(queries))
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        similar = (queries[part] @ answers.T).astype(np.float32)
        own = images[part, None] == owners
        best = np.max(similar, axis=1, keepdims=True, initial=-np.inf, where=own)
        # Written so that NaN counts as ahead.
        ahead = np.sum(~(similar < best) & ~own, axis=1)
        ranks[part] = np.where(np.isnan(best[:, 0]), np.inf, ahead)
    return {k: float(np.mean(ranks < k)) for k in ks}


def _check(zimg: np.ndarray, ztxt: np.ndarray, owners: np.ndarray, ks: Sequence[int]) -> None:
    if zimg.ndim != 2 or ztxt.ndim != 2 or zimg.shape[1] != ztxt.shape[1] or owners.shape != ztxt.shape[:1]:
        raise ValueError(
            f"zimg, ztxt and image_of_text have the shapes {zimg.shape}, {ztxt.shape} and {owners.shape}; they must be "
            "(I, C), (T, C) and (T,)."
        )
    if not np.array_equal(np.unique(owners), np.arange(len(zimg))) or not len(zimg):
        raise ValueError(f"image_of_text must name each of the {len(zimg)} images, from 0, once or more, and no other.")
    if min(ks, default=1) < 1:
        raise ValueError(f"ks is {tuple(ks)}; each must be 1 or more.")
