"""Parameters, multiply-adds and distance from the reference outputs of all published models: models/published.csv.

The test suite measures (`tests/models/test_published_models.py` leaves its numbers in runs/model_table); this command
counts multiply-adds, collects all and writes the tables into README and docs. `make table` does both.
"""

import csv
import json
import pathlib
from typing import Any

from rich.progress import track

from benchmarks import tables
from keras_nest import registry
from keras_nest.console import console
from keras_nest.factory import create_model
from keras_nest.profiling import count_macs

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEASURED = ROOT / "runs" / "model_table"
RESULTS = ROOT / "keras_nest" / "models" / "published.csv"


def record(model: str, parameters: int, largest_difference: float) -> None:
    """Keeps what a test measured.

    Args:
        model: published name.
        parameters: at the published size.
        largest_difference: of the logits from the reference's, absolute.
    """
    MEASURED.mkdir(parents=True, exist_ok=True)
    measured = {"parameters": parameters, "largest_difference": largest_difference}
    (MEASURED / f"{model}.json").write_text(json.dumps(measured))


def main() -> None:
    """Collects what was measured, counts what was not, and writes the CSV file and the tables of the pages.

    Raises:
        FileNotFoundError: a model was not measured.
    """
    rows = [_row(name) for name in track(published_names(), "counting multiply-adds", console=console)]
    # Of LiT the parameters alone are known.
    rows += [row for row in registry.read_measurements() if not row["multiply_adds"]]
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    console.print(f"{len(rows)} models written to {RESULTS.relative_to(ROOT)}.")
    tables.main()


def _row(name: str) -> dict[str, Any]:
    measured = json.loads((MEASURED / f"{name}.json").read_text())
    return {
        "model": name,
        "parameters": measured["parameters"],
        "multiply_adds": count_macs(create_model(name)),
        "largest_difference": measured["largest_difference"],
    }


def published_names() -> list[str]:
    """Models of the table: all classifiers but those for tests."""
    classifiers = (name for name in registry.list_models() if "num_classes" in registry.resolve(name)[2])
    return [name for name in classifiers if not name.startswith("testing")]


if __name__ == "__main__":
    main()
