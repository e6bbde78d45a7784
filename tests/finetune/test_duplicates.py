"""Groups of images that show the same, against clusters of scikit-learn."""

import numpy as np
import pytest
from sklearn.cluster import DBSCAN

from keras_nest.finetune import duplicates


@pytest.mark.parametrize("rows", [1, 7, 500])
def test_groups_are_what_near_pairs_join(rows, monkeypatch):
    """Chains, crowds and single points, in an order that joins groups late; however many rows are compared at once."""
    monkeypatch.setattr(duplicates, "_ROWS", rows)
    random = np.random.default_rng(0)
    chain = np.arange(60)[:, None] * np.full(3, 0.5)
    points = np.concatenate(
        [chain, 90 + random.normal(0, 0.1, (40, 3)), random.uniform(-99, -50, (30, 3)), [[0, 0, 0]]]
    )
    points = random.permutation(points)
    expected = DBSCAN(eps=0.9, min_samples=1).fit_predict(points)
    np.testing.assert_array_equal(duplicates._joined(points, 0.9), expected)
    assert np.bincount(expected).tolist().count(1) >= 25
