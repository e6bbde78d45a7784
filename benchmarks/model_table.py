"""The README's table of models: parameters, multiply-adds, checkpoints, and distance from the reference outputs.

The test-suite measures (`tests/models/test_published_models.py` leaves its numbers in runs/model_table); this command
counts multiply-adds, collects all into keras_nest/models/published.csv and writes the table into the README. `make
table` does both.
"""

import csv
import json
import pathlib
from typing import Any

from rich.progress import track

from keras_nest import registry
from keras_nest.console import console
from keras_nest.conversion.published import PUBLISHED
from keras_nest.factory import create_model
from keras_nest.profiling import count_macs

ROOT = pathlib.Path(__file__).resolve().parent.parent
MEASURED = ROOT / "runs" / "model_table"
RESULTS = ROOT / "keras_nest" / "models" / "published.csv"
README = ROOT / "README.md"
_BEGIN, _END = "<!-- table of models, written by `make table` -->\n", "<!-- end of the table -->\n"


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
    """Collects what was measured, counts what was not, and writes the CSV file and the README.

    Raises:
        FileNotFoundError: a model was not measured.
    """
    rows = [_row(name) for name in track(published_names(), "counting multiply-adds", console=console)]
    rows += [row for row in _read() if not row["multiply_adds"]]  # of LiT the parameters alone are known
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    README.write_text(with_table(README.read_text()))
    console.print(f"{len(rows)} models written to {RESULTS.relative_to(ROOT)} and {README.relative_to(ROOT)}.")


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


def with_table(readme: str) -> str:
    """The README with the table that the CSV file gives."""
    before, _, rest = readme.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + _table() + _END + after


def _table() -> str:
    lines = ["| name | parameters | multiply-adds | checkpoints | largest difference |", "|---|---:|---:|---|---:|"]
    lines += [_line(row) for row in _read() if row["multiply_adds"]]
    return "\n".join(lines) + "\n"


def _read() -> list[dict[str, str]]:
    with RESULTS.open(newline="") as file:
        return list(csv.DictReader(file))


def _line(row: dict[str, Any]) -> str:
    aliases = [f"`{alias}`" for alias, name in registry.ALIASES.items() if name == row["model"]]
    names = " ".join([f"`{row['model']}`", *aliases])
    parameters, multiply_adds = int(row["parameters"]) / 1e6, int(row["multiply_adds"]) / 1e9
    difference = float(row["largest_difference"])
    return f"| {names} | {parameters:.1f} M | {multiply_adds:.2f} G | {_checkpoints(row['model'])} | {difference:.1e} |"


def _checkpoints(model: str) -> str:
    """Patterns of the addresses of a model's checkpoints, one for each way of naming files."""
    folders: dict[tuple[str, str], dict[str, None]] = {}
    for row in PUBLISHED:
        if row.model == model:
            place, _, file = row.uri.rpartition("/")
            bucket, _, folder = place.rpartition("/")
            # AugReg names tell how a model was trained; of other files a suffix may tell the image size.
            pattern = f"{file.split('-i21k')[0]}-*.npz" if row.source == "augreg" else file.replace("-224.npz", ".npz")
            folders.setdefault((bucket, pattern), {})[folder] = None
    return "<br>".join(
        f"`{bucket}/{next(iter(names)) if len(names) == 1 else '{' + ','.join(names) + '}'}/{pattern}`"
        for (bucket, pattern), names in folders.items()
    )


if __name__ == "__main__":
    main()
