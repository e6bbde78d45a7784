"""The latency benchmark runs at toy size in its processes; what it says of the bars."""

import csv

import pytest

from benchmarks import latency

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")


@pytest.mark.slow
def test_quick_run(tmp_path, capsys):
    latency.main(["--quick", "--results", str(tmp_path)])
    with (tmp_path / "latency.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = ["Keras predict", "SavedModel", *(f"TFLite {precision}" for precision in latency.PRECISIONS)]
    assert [(row["threads"], row["candidate"]) for row in rows] == [(n, name) for n in "12" for name in names]
    for row in rows:
        assert float(row["median ms"]) > 0
        assert float(row["x SavedModel"]) == 1 or row["candidate"] != "SavedModel"
        assert float(row["x float32"]) == 1 or row["candidate"] != "TFLite float32"
    assert "TFLite dynamic_int8" in capsys.readouterr().out


def test_bars_are_kept_or_missed_with_two_threads(capsys):
    def row(threads, candidate, to_saved_model, to_float32):
        return {
            "model": "m",
            "threads": threads,
            "candidate": candidate,
            "x SavedModel": to_saved_model,
            "x float32": to_float32,
        }

    # With one thread both bars would end the other way round.
    rows = [row(1, latency.FLOAT32, 0.9, 1), row(1, latency.DYNAMIC_INT8, 0.9, 0.5)]
    latency._print_bars([*rows, row(2, latency.FLOAT32, 0.75, 1), row(2, latency.DYNAMIC_INT8, 0.4, 0.56)])
    assert capsys.readouterr().out.splitlines() == [
        "m: TFLite float32 takes 0.75 of SavedModel's time, bar 0.75: kept.",
        "m: TFLite dynamic_int8 takes 0.56 of TFLite float32's time, bar 0.55: MISSED.",
    ]
