"""The composites of `benchmarks.gradcat`, and a short training after which GradCAT finds the digits."""

import csv

import numpy as np
import pytest

from benchmarks import composites, gradcat
from benchmarks.composites import Canvas


@pytest.fixture(scope="module")
def digits():
    return composites.load()


@pytest.mark.parametrize("training", [False, True])
def test_digits_are_where_the_cells_say(digits, training):
    canvas, (split, _) = Canvas(4, (1, 1, 1)), digits
    images, cells = canvas.compose(split, 20, np.random.default_rng(0), training)
    known = {label: {image.tobytes() for image in split.images[split.labels == label]} for label in range(10)}
    for image, where in zip(images, cells, strict=True):
        present = np.flatnonzero(where != composites.NOWHERE)
        assert len(present) == len(set(where[present]))
        assert len(present) in range(1, 5) if training else len(present) == 4
        blocks = image.reshape(4, 16, 4, 16, 3).swapaxes(1, 2).reshape(16, 16, 16, 3)
        for cell, block in enumerate(blocks):
            labels = present[where[present] == cell]
            assert block.any() == (len(labels) == 1)
            if len(labels) and not training:
                assert block.tobytes() in known[labels[0]]


def test_a_leaf_is_a_cell():
    for side, depths in ((2, (1, 1)), (4, (1, 1, 1))):
        model = Canvas(side, depths).model()
        assert model.image_size == (16 * side, 16 * side)
        assert model.endpoints["PositionEmbedding_0"].shape[1] == side**2


@pytest.mark.slow
def test_quick_run(tmp_path):
    places = {"--results": tmp_path, "--picture": tmp_path / "picture.png", "--models": tmp_path / "models"}
    gradcat.main(["--quick", *(str(part) for pair in places.items() for part in pair)])
    with (tmp_path / "gradcat.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["canvas"] for row in rows] == ["2 x 2"] * 4 + ["4 x 4"] * 4
    assert [float(row["right %"]) for row in rows if row["method"] == "by chance"] == [25, 6.25]
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    assert {file.name for file in (tmp_path / "models" / "4x4").iterdir()} >= {"model.keras", "composite-1.png"}


@pytest.mark.slow
def test_gradcat_finds_the_digit_that_it_is_asked_for(digits):
    """After less than a third of the benchmark's training; by chance it would be 25 %."""
    train, test = digits
    canvas, steps = gradcat.CANVASES["2 x 2"]
    model = canvas.train(train, 3 * steps // 10)
    rows = gradcat.measure("2 x 2", canvas, model, canvas.compose(test, 500, np.random.default_rng(1)))
    right = {row["method"]: row["right %"] for row in rows}
    assert right["GradCAT, +"] >= 90
    assert right["GradCAT, -"] <= 10
