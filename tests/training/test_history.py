"""The table of a run: as CSV, and as TensorBoard reads it."""

import resource

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata, plugin_data_pb2
from tensorflow import make_ndarray

from keras_nest.training.history import COLUMNS, History, read_history, write_history

TRAINING = {column: 0.1 + place for place, column in enumerate(COLUMNS) if not column.startswith("eval_")}
EVALUATED = {column: 0.3 + place for place, column in enumerate(COLUMNS)}
ROWS = [{**TRAINING, "step": 2}, {**EVALUATED, "step": 4}, {**TRAINING, "step": 6, "loss": 1e-12}]


def written(board):
    """What TensorBoard finds in a directory."""
    events = EventAccumulator(str(board), size_guidance={"tensors": 0})
    events.Reload()
    return events


def curve(board, tag):
    return [(event.step, float(make_ndarray(event.tensor_proto))) for event in written(board).Tensors(tag)]


def test_round_trip(tmp_path):
    write_history(tmp_path / "history.csv", ROWS)
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert lines[1].endswith(",,,"), "no evaluation, empty cells"
    assert read_history(tmp_path / "history.csv") == ROWS
    assert all(type(row["step"]) is int for row in read_history(tmp_path / "history.csv"))


def test_file_grows_with_the_rows(tmp_path):
    path = tmp_path / "new" / "history.csv"
    history = History(path, None, 0)
    assert (history.rows, history.seconds) == ([], 0)
    for count, row in enumerate(ROWS, 1):
        history.append(row)
        assert read_history(path) == history.rows == ROWS[:count]
    assert history.seconds == ROWS[-1]["seconds"]
    assert [file.name for file in path.parent.iterdir()] == ["history.csv"]


@pytest.mark.parametrize(("step", "kept"), [(0, 0), (1, 0), (2, 1), (5, 2), (6, 3), (99, 3)])
def test_rows_after_the_checkpoint_are_dropped(step, kept, tmp_path):
    write_history(tmp_path / "history.csv", ROWS)
    history = History(tmp_path / "history.csv", None, step)
    assert history.rows == ROWS[:kept]
    assert read_history(tmp_path / "history.csv") == ROWS, "until the next row, nothing is lost"
    row = {**EVALUATED, "step": 8}
    history.append(row)
    assert read_history(tmp_path / "history.csv") == [*ROWS[:kept], row]


def test_tensorboard(tmp_path):
    history = History(None, tmp_path / "board", 0)
    for row in ROWS:
        history.append(row)
    training = ("epoch", "loss", "accuracy", "learning_rate", "grad_norm", "images_per_second")
    tags = {f"train/{name}" for name in training} | {"eval/loss", "eval/accuracy", "eval/top5"}
    assert set(written(tmp_path / "board").Tags()["tensors"]) == tags
    for name in ("loss", "learning_rate"):
        assert curve(tmp_path / "board", f"train/{name}") == [(row["step"], pytest.approx(row[name])) for row in ROWS]
    assert curve(tmp_path / "board", "eval/accuracy") == [(4, pytest.approx(EVALUATED["eval_accuracy"]))]


def test_hyper_parameters_on_the_board(tmp_path):
    history = History(None, tmp_path / "board", 0)
    config = {"seed": 3, "optim": "adamw", "model": {"num_layers": (1, 2), "mix": {"alpha": 0.5}}, "freeze": None}
    history.note_configuration({**config, "eval_only": False})
    history.append(ROWS[0])
    content = written(tmp_path / "board").SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    shown = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert {name: value.WhichOneof("kind") for name, value in shown.items()} == {
        "seed": "number_value",
        "optim": "string_value",
        "model.num_layers": "string_value",
        "model.mix.alpha": "number_value",
        "freeze": "string_value",
        "eval_only": "bool_value",
    }
    assert shown["model.num_layers"].string_value == "(1, 2)"
    assert (shown["seed"].number_value, shown["optim"].string_value) == (3, "adamw")


def test_without_a_directory_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = History(None, None, 0)
    history.note_configuration({"seed": 3})
    history.append(ROWS[0])
    assert history.rows == ROWS[:1]
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told(tmp_path):
    history = History(None, tmp_path / "board", 0)
    history.append(ROWS[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(OSError, match=r"The file for TensorBoard cannot be written: File too large\."):
            history.append(ROWS[1])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_damaged_table_is_told(tmp_path):
    (tmp_path / "history.csv").write_text("step,loss\n1,abc\n")
    with pytest.raises(ValueError, match=r"history\.csv cannot be read as a history; put it right, or remove it"):
        read_history(tmp_path / "history.csv")
