"""The benchmark of pages runs at toy size, without what npm would fetch for comparison."""

import csv

import pytest

from benchmarks import browser
from tests.browser import needs_chromium

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow"), needs_chromium()]


def test_quick_run(library, tmp_path):
    assert library
    browser.main(["--quick", "--ort", "none", "--results", str(tmp_path)])
    with (tmp_path / "browser.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["way"].partition(",")[0] for row in rows} == {"TFLite in Python", "page"}
    assert all(float(row["median ms"]) > 0 < float(row["x TFLite"]) for row in rows)
    (first,) = [row for row in rows if row[browser.NEXT]]
    assert first["way"].startswith("page, ")
    assert float(first[browser.FIRST]) > float(first["median ms"])
