"""The points of the plots of growth, and the plots; that each grows is for those who look at them."""

import pytest
from matplotlib.axes import Axes

import keras_nest
from benchmarks import growth


def test_points_are_models_that_exist():
    points = list(growth.published())
    assert len(set(map(str, points))) == len(points)
    assert {point.axis for point in points} == set(growth.AXES)
    assert {point.name for point in points} <= set(keras_nest.list_models())
    # A level more for twice the side: as many tokens in each block.
    deeper = [point for point in points if "num_layers_per_block" in point.fields]
    sides = [point.value / 2 ** len(point.fields["num_layers_per_block"]) for point in deeper]
    assert sides == [32, 32, 32]


@pytest.mark.parametrize("number", [1, 3])
def test_a_row(number):
    point = list(growth.toys())[number]
    row = growth.measure(point, runs=1)
    macs = 0.000426
    assert (row["axis"], row["line"]) == (point.axis, point.line)
    assert row["value"] == pytest.approx(point.value or macs, rel=0.01)
    assert row["ms an image"] > 0


def test_each_axis_has_a_column_and_each_line_its_points(tmp_path, monkeypatch):
    drawn = []
    plot = Axes.plot

    def recorded(axes, x, y, style, label):
        drawn.append((label, x, y))
        return plot(axes, x, y, style, label=label)

    monkeypatch.setattr(Axes, "plot", recorded)
    rows = [
        {"axis": axis, "line": line, "value": value, "ms an image": 2.0 * value, "peak MiB": 100.0 + value}
        for axis in growth.AXES[:2]
        for line in ("NesT-T", "ViT-S/16")
        for value in (4, 1)
    ]
    growth.draw(tmp_path / "growth.png", rows)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    times, memory = ((1.0, 4.0), (2.0, 8.0)), ((1.0, 4.0), (101.0, 104.0))
    assert sorted(drawn) == sorted((line, *axes) for line in ("NesT-T", "ViT-S/16") for axes in 2 * [times, memory])
