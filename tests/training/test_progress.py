"""What is on the screen, and what in a file, while a model trains."""

import io

import pytest
from rich.console import Console

from keras_nest.training import progress
from keras_nest.training.progress import ProgressBar

ROW = {"step": 1500.0, "epoch": 0.75, "loss": 1.23456, "accuracy": 0.54321, "images_per_second": 2345.6}
EVALUATED = {**ROW, "eval_accuracy": 0.6}


@pytest.fixture
def screen(monkeypatch):
    """Makes what is shown go into a file; `terminal` pretends that it is one."""

    def open_screen(terminal, width=80):
        # A height keeps rich from asking the real terminal; NO_COLOR and the like must not change what is tested.
        file = io.StringIO()
        console = Console(file=file, force_terminal=terminal, width=width, height=25, _environ={"TERM": "xterm"})
        monkeypatch.setattr(progress, "console", console)
        return file

    return open_screen


@pytest.fixture
def clock(monkeypatch):
    """A time that passes when it is told to."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    return now


def test_bar_on_a_terminal(screen):
    file = screen(terminal=True)
    with ProgressBar(0, 4000, steps_per_epoch=2000) as bar:
        bar.advance(1500)
        bar.update(ROW["loss"], ROW["accuracy"], ROW["images_per_second"], 0.123)
    shown = file.getvalue()
    last = shown.split("\x1b[1A")[-1]
    assert "epoch 0.8/2  loss 1.2346  accuracy 54.32%  2,346 images/s  waiting 12%" in last
    assert "1500/4000" in last
    assert "\x1b" in shown


@pytest.mark.parametrize("width", [80, 110])
def test_nothing_of_the_bar_is_cut_off(screen, width):
    file = screen(terminal=True, width=width)
    with ProgressBar(0, 312000, steps_per_epoch=1040) as bar:
        bar.advance(155000)
        bar.update(11.23456, 1.0, 123456.7, 1.0)
    last = file.getvalue().split("\x1b[1A")[-1]
    assert "epoch 149.0/300  loss 11.2346  accuracy 100.00%  123,457 images/s  waiting 100%" in last
    assert "155000/312000" in last
    assert "-:--:--" in last, "time left, not known yet"
    assert "…" not in last


def test_time_left_on_a_terminal(screen):
    file = screen(terminal=True)
    with ProgressBar(0, 100) as bar:
        now = [0.0]
        bar._bar.get_time = lambda: now[0]
        bar._bar.reset(bar._task)
        for step in range(1, 51):
            now[0] = step * 2.0
            bar.advance(step)
    assert "0:01:40" in file.getvalue().split("\r")[-1]


def test_rows_with_an_evaluation_stand_above_the_bar(screen):
    file = screen(terminal=True)
    with ProgressBar(0, 4000) as bar:
        bar.log_row(ROW)
        assert "epoch" not in file.getvalue()
        bar.log_row(EVALUATED)
    assert "step 1,500 of 4,000  epoch 0.75  loss 1.2346  accuracy 54.32%  test 60.00%" in file.getvalue()


def test_in_a_file_there_is_a_line_for_each_minute_and_each_evaluation(screen, clock):
    file = screen(terminal=False, width=110)
    with ProgressBar(500, 4000) as bar:
        for step in range(501, 1501):
            bar.advance(step)
            bar.update(1.0, 0.5, 100.0)
        clock[0] += 1000
        bar.log_row(ROW)
        bar.log_row({**ROW, "step": 1501.0})
        bar.log_row({**EVALUATED, "step": 4000.0}, 0.5)
    assert file.getvalue().splitlines() == [
        "step 1,500 of 4,000  epoch 0.75  loss 1.2346  accuracy 54.32%  2,346 images/s  41:40 left",
        "step 4,000 of 4,000  epoch 0.75  loss 1.2346  accuracy 54.32%  test 60.00%  2,346 images/s  "
        "waiting 50%  0:00 left",
    ]
    assert all(character.isprintable() or character == "\n" for character in file.getvalue())


def test_in_a_file_there_is_a_line_for_each_epoch(screen, clock):
    file = screen(terminal=False, width=110)
    with ProgressBar(0, 40, steps_per_epoch=10) as bar:
        for step in range(1, 41):
            bar.log_row({**ROW, "step": step, "epoch": step / 10})
    assert [line.split("  ")[1] for line in file.getvalue().splitlines()] == [f"epoch {n}" for n in (1, 2, 3, 4)]


def test_lines_of_long_trainings_are_not_broken(screen, clock):
    file = screen(terminal=False, width=110)
    with ProgressBar(0, 1_234_567) as bar:
        clock[0] += 3600 * 30
        row = {"step": 312_000.0, "epoch": 123.4567, "accuracy": 1.0, "loss": 11.0, "images_per_second": 123456.0}
        bar.log_row({**row, "eval_accuracy": 1.0})
    (line,) = file.getvalue().splitlines()
    assert line.endswith("epoch 123.5  loss 11.0000  accuracy 100.00%  test 100.00%  123,456 images/s  88:42:30 left")


@pytest.mark.parametrize("terminal", [True, False])
def test_other_processes_show_nothing(screen, terminal):
    file = screen(terminal)
    with ProgressBar(0, 10, shown=False) as bar:
        bar.advance(3)
        bar.update(1.0, 0.5, 100.0)
        bar.log_row(EVALUATED)
    assert file.getvalue() == ""


def test_a_failure_leaves_no_bar_behind(screen):
    file = screen(terminal=True)
    with pytest.raises(RuntimeError), ProgressBar(0, 10):
        raise RuntimeError
    assert file.getvalue().endswith("\x1b[?25h"), "the cursor is back"
