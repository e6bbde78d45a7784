"""Recall of captions and images, against counting."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_nest.zero_shot import retrieval_recalls

RNG = np.random.default_rng(0)


def counted(queries, images, answers, owners, k):
    """Share of queries with an own answer among the first k; of equally near ones, own ones come last."""
    hits = 0
    for similar, image in zip((queries @ answers.T).tolist(), images, strict=True):
        order = sorted((-value, image == owner) for value, owner in zip(similar, owners, strict=True))
        hits += any(own for _, own in order[:k])
    return hits / len(queries)


@st.composite
def embeddings(draw):
    """Small whole numbers, so that there are ties; each image has a caption, some more."""
    num_images, size = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    further = draw(st.lists(st.integers(0, num_images - 1), max_size=8))
    owners = draw(st.permutations([*range(num_images), *further]))
    values = st.integers(-2, 2).map(float)
    vectors = [draw(hnp.arrays(np.float32, (n, size), elements=values)) for n in (num_images, len(owners))]
    return *vectors, owners


@settings(deadline=None)
@given(embeddings(), st.lists(st.integers(1, 12), min_size=1, max_size=3, unique=True))
def test_against_counting(case, ks):
    zimg, ztxt, owners = case
    images = range(len(zimg))
    found = retrieval_recalls(zimg, ztxt, owners, ks)
    assert found.image_to_text == pytest.approx({k: counted(zimg, images, ztxt, owners, k) for k in ks})
    assert found.text_to_image == pytest.approx({k: counted(ztxt, owners, zimg, images, k) for k in ks})


def test_more_than_fit_into_one_step():
    zimg = RNG.standard_normal((300, 4)).astype(np.float32)
    owners = np.repeat(np.arange(300), 2)
    ztxt = (zimg[owners] + 0.5 * RNG.standard_normal((600, 4))).astype(np.float32)
    found = retrieval_recalls(zimg, ztxt, owners)
    assert found.image_to_text == {k: counted(zimg, range(300), ztxt, owners, k) for k in (1, 5, 10)}
    assert found.text_to_image == {k: counted(ztxt, owners, zimg, range(300), k) for k in (1, 5, 10)}
    assert 0.01 < found.text_to_image[1] < found.text_to_image[5] < found.text_to_image[10] < 0.9


@pytest.mark.parametrize("num_images", [13, 37, 300])
def test_embeddings_that_are_all_the_same_find_nothing(num_images):
    """Whatever the order in which a matrix product adds up."""
    vector = RNG.standard_normal(768).astype(np.float32)
    zimg, ztxt = np.tile(vector, (num_images, 1)), np.tile(vector, (2 * num_images, 1))
    owners = np.arange(2 * num_images) % num_images
    assert retrieval_recalls(zimg, ztxt, owners) == ({1: 0, 5: 0, 10: 0}, {1: 0, 5: 0, 10: 0})


def test_embeddings_that_are_no_numbers_find_nothing():
    zimg, ztxt = np.eye(3), np.eye(3)
    assert retrieval_recalls(zimg, ztxt, [0, 1, 2], [1, 3]) == ({1: 1, 3: 1}, {1: 1, 3: 1})
    ztxt[1] = np.nan
    found = retrieval_recalls(zimg, ztxt, [0, 1, 2], [1, 3])
    assert found.image_to_text == {1: 0, 3: pytest.approx(2 / 3)}, "of the others, it may be ahead"
    assert found.text_to_image == {1: pytest.approx(2 / 3), 3: pytest.approx(2 / 3)}


@pytest.mark.parametrize(
    ("shapes", "owners", "ks", "message"),
    [
        (((2, 3), (2, 4)), [0, 1], [1], r"shapes \(2, 3\), \(2, 4\) and \(2,\); they must be \(I, C\)"),
        (((2, 3), (3, 3)), [0, 1], [1], "must be"),
        (((2, 3), (2, 3)), [0, 0], [1], "must name each of the 2 images"),
        (((2, 3), (2, 3)), [1, 2], [1], "must name each of the 2 images"),
        (((0, 3), (0, 3)), [], [1], "must name each of the 0 images"),
        (((2, 3), (2, 3)), [0, 1], [1, 0], r"ks is \(1, 0\); each must be 1 or more"),
    ],
)
def test_mistakes(shapes, owners, ks, message):
    with pytest.raises(ValueError, match=message):
        retrieval_recalls(*map(np.zeros, shapes), owners, ks)
