"""Signals and clocks: a training ends in order, and goes on as one that nothing disturbed."""

import contextlib
import json
import signal

import pytest
import tensorflow as tf

from keras_nest.cli.train import execute, main, prepare
from keras_nest.training import callbacks, experiment, stopping
from keras_nest.training.stopping import Cut, Stopped, Stopping
from tests.training import runs


def send(number=signal.SIGTERM):
    # To this thread: one that another thread takes may come late.
    signal.raise_signal(number)


@pytest.fixture(autouse=True)
def signals_as_in_a_shell():
    """In the background SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_is_ignored_stays_so(one):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    training(one, [signal.SIGINT])
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.fixture
def one():
    return tf.distribute.get_strategy()


def training(one, signals, saved=7):
    """A block that gets signals, and then ends in order if it is asked to."""
    with Stopping(one) as asked:
        assert asked.due() == (False, False)
        asked.note_saved(saved)
        for number in signals:
            send(number)
        if asked.due()[0]:
            raise asked.stopped()


def evaluation(one, before=(), inside=()):
    """A block that can be given up, with signals before and in it; whether it was begun."""
    begun = []
    with contextlib.suppress(Cut), Stopping(one) as asked:
        for number in before:
            send(number)
        with asked.cutting():
            begun.append(True)
            for number in inside:
                send(number)
            begun.append(True)
    return begun


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_told_at_the_end_of_a_step(one, number, status, capfd):
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as raised:
        training(one, [number])
    assert (raised.value.status, raised.value.step) == (status, 7)
    assert str(raised.value) == f"Stopped by {signal.Signals(number).name} after step 7."
    assert "a checkpoint" in capfd.readouterr().err
    assert signal.getsignal(number) is before


def test_the_second_signal_ends_at_once(one):
    with pytest.raises(KeyboardInterrupt) as raised:
        training(one, [signal.SIGINT, signal.SIGINT])
    assert not isinstance(raised.value, Stopped)


def test_a_signal_after_the_last_step_counts(one, monkeypatch):
    monkeypatch.setattr(Stopping, "due", lambda self: (False, False))
    with pytest.raises(Stopped, match="after step 7"):
        training(one, [signal.SIGTERM])


def test_an_evaluation_is_given_up(one):
    assert evaluation(one) == [True, True]
    assert evaluation(one, inside=[signal.SIGTERM]) == [True]
    assert evaluation(one, before=[signal.SIGTERM]) == []


def test_minutes_from_one_checkpoint_to_the_next(one, monkeypatch):
    now = 0.0
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
    often, seldom, never = Stopping(one, 2), Stopping(one), Stopping(one, 0)
    now = 121.0
    assert [asked.due()[1] for asked in (often, seldom, never)] == [True, False, False]
    often.note_saved(1)
    assert often.due() == (False, False)
    now = 901.0
    assert [asked.due()[1] for asked in (often, seldom, never)] == [True, True, False]


# Inside a row, again inside the same one, at its end, where an evaluation and a row are due, and in the last step of
# all; then the steps whose checkpoints must be there.
MOMENTS = {
    5: runs.in_step(5),
    7: runs.in_step(7),
    20: runs.in_step(20),
    22: (experiment.Experiment, "_evaluate", lambda *_: True),
    44: runs.in_step(44),
}


@pytest.mark.slow
def test_any_moment(finished, tmp_path, capfd):
    for step, moment in MOMENTS.items():
        with runs.signaled(*moment), pytest.raises(SystemExit) as raised:
            train(tmp_path / "run")
        assert raised.value.code == 143
        assert f"Stopped after step {step}; the same command goes on from there." in capfd.readouterr().out
        assert tf.train.latest_checkpoint(str(tmp_path / "run" / "checkpoints")).endswith(f"ckpt-{step}")
    train(tmp_path / "run")
    runs.assert_same_weights(tmp_path / "run", finished[0])
    runs.assert_same_rows_but_for_rounding(tmp_path / "run", finished[0])
    metrics = [json.loads((path / "metrics.json").read_text()) for path in (tmp_path / "run", finished[0])]
    assert runs.without_timing(metrics[0]) == runs.without_timing(metrics[1])


def train(workdir):
    """As the command line, in this process."""
    ready = prepare(runs.CONFIG, workdir)
    return execute(ready.execute, ready.strategy, ready.workdir)


@pytest.mark.slow
def test_checkpoints_by_the_clock(finished, tmp_path, monkeypatch):
    saved = []
    original = callbacks.Checkpoints.save

    def save(checkpoints, step, row):
        saved.append((step, row is None))
        original(checkpoints, step, row)

    monkeypatch.setattr(callbacks.Checkpoints, "save", save)
    ticks = iter(range(10**6))
    monkeypatch.setattr(stopping.time, "monotonic", lambda: float(next(ticks)))
    # A look at the clock is a second, and there is one after each step: three steps without a checkpoint are too long.
    main({**runs.CONFIG, "checkpoint_every_minutes": 2.5 / 60}, tmp_path / "run")
    steps = [step for step, _ in saved]
    assert all(after - before <= 3 for before, after in zip([0, *steps], steps, strict=False))
    assert {(8, True), (16, True), (44, True)} <= set(saved)
    assert (3, False) in saved
    runs.assert_same_results(tmp_path / "run", finished[0])
