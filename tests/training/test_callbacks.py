"""What happens at the steps of a training, with a model that only pretends to train."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.training import WarmupDecay, callbacks
from keras_nest.training.callbacks import Loop, NotFiniteError
from keras_nest.training.history import History
from keras_nest.training.plan import Plan

RATES = WarmupDecay(0.1, steps_per_epoch=4, num_epochs=5, warmup_epochs=1)
PLAN = Plan(8, 8, 12, 4.0, RATES, log_every=2, eval_every=6, checkpoint_every=4)


class Training:
    """Plays `fit` for a `Loop`, and writes down what the loop asks for.

    Each step takes a second, an evaluation a hundred, a checkpoint a thousand; the loss of step n is n.
    """

    def __init__(self, monkeypatch, plan=PLAN, first_step=0, losses=None, history=None, newest="ckpt-8"):
        self.now, self.events, self.losses = 0.0, [], losses or {}
        self.history = history or History(None, None, 0)
        self.weight = tf.Variable([1.0, 2.0])
        monkeypatch.setattr(callbacks.time, "perf_counter", lambda: self.now)
        checkpoints = types.SimpleNamespace(save=self.save, newest=newest, row=lambda step: None)
        bar = types.SimpleNamespace(advance=lambda step: None, update=self.tell, log_row=self.note, quantity="accuracy")
        self.loop = Loop(plan, self.history, bar, checkpoints, self.evaluate, first_step)
        self.loop.set_model(self)
        self.trainable_variables = [types.SimpleNamespace(value=self.weight)]
        self.plan, self.step, self.seen, self.waiting = plan, first_step, [], []

    def run(self, until=None):
        self.loop.on_train_begin()
        is_first = True
        while self.step < (until or self.plan.total_steps):
            self.loop.on_train_batch_begin(0)
            self.events.append(("called", self.step, self.steps_of_call))
            for _ in range(self.steps_of_call):
                self.step += 1
                self.now += 50 if is_first else 1  # the first one is compiled
                self.seen.append(self.losses.get(self.step, float(self.step)))
                is_first = False
            self.loop.on_train_batch_end(0)
        return self

    def set_steps_of_call(self, steps):
        self.steps_of_call = steps

    @property
    def watch(self):
        finite = np.cumprod(np.isfinite(self.seen))
        return types.SimpleNamespace(norm=float(np.mean(self.seen)) / 10, finite_steps=int(finite.sum()))

    def get_metrics_result(self):
        return {"loss": tf.constant(np.mean(self.seen)), "accuracy": 0.5}

    def reset_metrics(self):
        self.seen = []

    def evaluate(self):
        self.now += 100
        self.events.append(("evaluated", self.step))
        return {"loss": 0.25, "accuracy": 0.75, "top5": 1.0, "seconds": 100.0}

    def save(self, step, row):
        assert row is None
        self.now += 1000
        assert self.history.rows[-1]["step"] == step, "the row is written before"
        self.events.append(("saved", step))

    @property
    def waited(self):
        """A quarter of each step but the first was waited for data."""
        return 0.25 * self.step

    def tell(self, loss, accuracy, speed, waiting):
        self.events.append(("told", self.step, loss))

    def note(self, row, waiting):
        self.waiting.append(waiting)
        self.events.append(("row", row["step"]))

    def happened(self, event):
        return [step for name, step, *_ in self.events if name == event]


@pytest.fixture
def training(monkeypatch):
    return lambda *arguments, **options: Training(monkeypatch, *arguments, **options)


def test_rows_evaluations_and_checkpoints(training):
    done = training().run()
    assert done.happened("row") == [2, 4, 6, 8, 10, 12]
    assert done.happened("evaluated") == [6, 12]
    assert done.happened("saved") == [4, 8, 12]
    # Evaluated, written, saved, in this order.
    assert [event[:2] for event in done.events[-3:]] == [("evaluated", 12), ("row", 12), ("saved", 12)]


def test_what_is_due_comes_after_its_own_step_however_many_go_at_once(training):
    done, one_by_one = training(dataclasses.replace(PLAN, steps_per_execution=5, log_every=0)).run(), training().run()
    assert [event[1:] for event in done.events if event[0] == "called"] == [(0, 4), (4, 2), (6, 2), (8, 4)]
    assert done.happened("evaluated") == one_by_one.happened("evaluated")
    assert done.happened("saved") == one_by_one.happened("saved")
    assert [row["loss"] for row in done.history.rows] == [2.5, 5.5, 7.5, 10.5]


def test_the_share_of_waiting_is_that_of_the_steps_of_a_row(training):
    assert training().run().waiting == [pytest.approx(0.25)] * 6


def test_content_of_the_rows(training):
    rows = training().run().history.rows
    assert [row["loss"] for row in rows] == [1.5, 3.5, 5.5, 7.5, 9.5, 11.5], "means since the row before"
    assert [row["epoch"] for row in rows] == [0.5, 1, 1.5, 2, 2.5, 3]
    assert [row["grad_norm"] for row in rows] == pytest.approx([0.15, 0.35, 0.55, 0.75, 0.95, 1.15])
    assert [row["learning_rate"] for row in rows] == pytest.approx([float(RATES.at(n)) for n in range(2, 13, 2)])
    assert [("eval_loss" in row, row.get("eval_accuracy"), row.get("eval_top5")) for row in rows[2:4]] == [
        (True, 0.75, 1.0),
        (False, None, None),
    ]
    assert "eval_seconds" not in rows[2]


def test_times(training):
    rows = training().run().history.rows
    # Without compiling, evaluating and saving: eight images in each second.
    assert [row["images_per_second"] for row in rows] == pytest.approx([8] * 6)
    # With all of that, up to the row.
    assert [row["seconds"] for row in rows] == [51, 53, 1155, 1157, 2159, 2261]


def test_a_first_row_of_one_step_counts_compiling(training):
    plan = dataclasses.replace(PLAN, log_every=1)
    assert training(plan).run(until=2).history.rows[0]["images_per_second"] == pytest.approx(8 / 50)


def test_going_on(training):
    first = training().run(until=4)
    again = training(first_step=4, history=first.history).run()
    assert again.happened("row") == [6, 8, 10, 12]
    assert again.happened("evaluated") == [6, 12]
    whole = training().run()
    timing = ("seconds", "images_per_second")
    for one, other in zip(again.history.rows, whole.history.rows, strict=True):
        assert {k: v for k, v in one.items() if k not in timing} == {k: v for k, v in other.items() if k not in timing}
    # 53 of the first part, and its own 50 + 1 + 100.
    assert again.history.rows[2]["seconds"] == 53 + 151


def test_the_bar_is_told_between_rows_of_long_trainings(training):
    plan = dataclasses.replace(PLAN, total_steps=3000, log_every=0, eval_every=0, checkpoint_every=0)
    done = training(plan).run(until=20)
    assert done.happened("told") == [3, 6, 9, 12, 15, 18], "a thousand times in all"
    assert not done.history.rows


@pytest.mark.parametrize(
    ("bad", "told"),
    [({9: np.nan}, 9), ({10: np.inf}, 10), ({1: -np.inf}, 1), ({7: np.nan, 8: 1.0}, 7)],
)
def test_what_is_not_finite_stops_at_the_next_look(training, bad, told):
    stopped = training(losses=bad)
    message = rf"^At step {told} the loss, its gradient or a weight was infinite .* good checkpoint is ckpt-8; a lower"
    with pytest.raises(NotFiniteError, match=message) as error:
        stopped.run()
    assert "\n" not in str(error.value)
    assert stopped.step == max(2, told), "with the first step only the clock is looked at"
    assert all(step < told for step in (*stopped.happened("row"), *stopped.happened("saved")))


def test_a_step_after_going_on_has_its_own_number(training):
    with pytest.raises(NotFiniteError, match="At step 6 "):
        training(first_step=4, losses={6: np.nan}).run()


def test_without_a_checkpoint_that_is_said(training):
    with pytest.raises(NotFiniteError, match=r"There is no checkpoint before it; a lower learning rate"):
        training(losses={1: np.nan}, newest=None).run()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_saved(training, value):
    """The loss and the gradient of a step are those before its update."""
    stopped = training()
    stopped.run(until=3)
    stopped.weight.assign([1.0, value])
    with pytest.raises(NotFiniteError, match="At step 4 the loss, its gradient or a weight was infinite"):
        stopped.loop.on_train_batch_end(3)
    assert stopped.happened("saved") == []
    assert stopped.happened("row") == [2]


def test_the_first_step_that_was_not_finite_is_told(training):
    stopped = training(dataclasses.replace(PLAN, total_steps=4000), losses={3: np.nan})
    stopped.weight.assign([1.0, np.nan])
    with pytest.raises(NotFiniteError, match="At step 3 "):
        stopped.run(until=4)
