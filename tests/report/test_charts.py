"""Axes of the charts, and what is written at them."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from keras_nest.metrics import reliability
from keras_nest.report.charts import Line, confusion_matrix, curves, percent, reliability_diagram


def texts(chart, style):
    return [each.text for each in ElementTree.fromstring(chart).iter("text") if style in each.get("class", "").split()]


@pytest.mark.parametrize(
    ("values", "is_share", "ticks"),
    [
        ((0.65, 0.97), True, ["50 %", "60 %", "70 %", "80 %", "90 %", "100 %"]),
        ((0.1, 1.0), True, ["0 %", "25 %", "50 %", "75 %", "100 %"]),
        ((2.7, 0.3), False, ["0", "1", "2", "3"]),
        ((0.0, 0.0), False, ["0", "0.25", "0.5", "0.75", "1"]),
        ((7000.0, 1.0), False, ["0", "2000", "4000", "6000", "8000"]),
    ],
)
def test_ticks(values, is_share, ticks):
    """A probability ends at 100 %, and lines stay inside."""
    chart = curves([Line("eval", [(1, values[0]), (2, values[1])])], "loss", is_share)
    assert texts(chart, "up") == ticks
    points = re.search(r'polyline class="eval" points="([^"]*)"', chart)[1]
    assert all(10 <= float(point.split(",")[1]) <= 212 for point in points.split())


@pytest.mark.parametrize(("last", "most"), [(1, 1), (5, 5), (300, 10), (12345, 10)])
def test_epochs_are_whole(last, most):
    chart = curves([Line("eval", [(1, 0.5), (last, 0.6)])], "accuracy", True)
    shown = texts(chart, "across")
    assert 1 <= len(shown) <= most
    assert all(text.isdecimal() for text in shown)


def test_the_kept_epoch_is_marked():
    lines = [Line("eval", [(1, 0.5), (4, 0.6)])]
    assert 'class="kept"' in curves(lines, "accuracy", True, kept=2)
    assert 'class="kept"' not in curves(lines, "accuracy", True, kept=0)


def test_counts_are_in_their_cells():
    chart = ElementTree.fromstring(confusion_matrix(np.array([[3, 1], [0, 2]]), ("<a>", "b")))
    told = [each.find("title").text for each in chart.iter("rect")]
    assert told == ["<a> taken for <a>: 3", "<a> taken for b: 1", "b taken for <a>: 0", "b taken for b: 2"]
    assert [each.text for each in chart.iter("text") if "count" in each.get("class")] == ["3", "1", "2"]


def test_a_bar_for_each_bin_with_images():
    bins = reliability(np.array([0.95, 0.96, 0.5]), np.array([True, False, True]))
    chart = reliability_diagram([each._asdict() for each in bins])
    told = [each.text for each in ElementTree.fromstring(chart).iter("title")]
    assert told == ["1 images, 50.0 % sure, 100 % right", "2 images, 95.5 % sure, 50.0 % right"]


def test_only_all_is_100_percent():
    assert [percent(share) for share in (1.0, 0.99999, 0.5, 0.0)] == ["100 %", "99.9 %", "50.0 %", "0.0 %"]
