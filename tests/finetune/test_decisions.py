"""What is decided, and that every decision can be taken by a flag instead."""

import dataclasses
import math
import pathlib

import pytest

from keras_nest.finetune import decisions
from keras_nest.finetune.decisions import Times, balanced, batch_for, choose, clock, epochs_within
from keras_nest.finetune.plan import build_config
from keras_nest.finetune.request import Request
from keras_nest.finetune.split import divide
from keras_nest.finetune.start import open_start
from keras_nest.training.config import resolve
from tests.finetune.test_split import make

REQUEST = Request("/photos", "testing")
SPLIT = divide(make({"a": 120, "b": 30}), 0.15, 0.15, 0)  # 106 train, 22 val, 22 test
TIMES = Times(image=0.01, step=0.1, start=2.0, files=0.5)


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch):
    """Toys stand for models of usual sizes."""
    monkeypatch.setattr(decisions, "_SMALL", 0)


@pytest.fixture(scope="module")
def start():
    """A model whose weights count as given ones."""
    return dataclasses.replace(open_start("testing", None, 2), weights="somewhere.npz")


def say(decisions):
    return {decision.name: (decision.value, decision.reason) for decision in decisions}


class TestChoose:
    def test_what_is_left_open(self, start):
        settings = choose(REQUEST, SPLIT, start)
        assert (settings.batch, settings.blocks, settings.epochs, settings.minutes) == (8, 1, 77, 5.0)
        assert (settings.learning_rate, settings.patience, settings.class_weights) == (1e-4, 12, None)
        assert settings.fits_head
        said = say(settings.decisions)
        assert said["split"] == ("106 train, 22 val, 22 test", "of each class 15% choose the weights, 15% measure them")
        assert (
            said["class weights"][1] == "a has 84 images, b 22: `--class-weights balanced` makes rare ones count more"
        )
        assert all(value and reason for value, reason in said.values())

    def test_a_small_model_is_trained_whole_and_faster(self, start, monkeypatch):
        monkeypatch.setattr(decisions, "_SMALL", 2_000_000)
        settings = choose(REQUEST, SPLIT, start)
        assert (settings.blocks, settings.frozen, settings.learning_rate) == ("all", (), 4e-4)
        assert say(settings.decisions)["trained"] == ("all layers", "the head is fit first, and the model is small")

    def test_patience_is_of_epochs_where_they_are_long(self, start):
        split = divide(make({"a": 1500, "b": 1500}), 0.15, 0.15, 0)
        assert choose(REQUEST, split, start).patience == 5

    def test_new_weights_are_trained_whole(self, start):
        settings = choose(REQUEST, SPLIT, dataclasses.replace(start, weights=None))
        assert (settings.blocks, settings.frozen, settings.fits_head) == ("all", (), False)
        assert (settings.epochs, settings.learning_rate) == (100, 5e-4)

    def test_flags(self, start):
        asked = {"batch_size": 4, "blocks": 0, "epochs": 7, "learning_rate": 0.01, "patience": 2}
        settings = choose(dataclasses.replace(REQUEST, **asked, class_weights="balanced"), SPLIT, start)
        assert (settings.batch, settings.blocks, settings.epochs, settings.learning_rate) == (4, 0, 7, 0.01)
        assert settings.patience == 2
        assert settings.minutes == math.inf  # the epochs are what is asked for
        assert settings.class_weights == pytest.approx((106 / (2 * 84), 106 / (2 * 22)))
        for name in ("batch", "trained", "learning rate"):
            assert say(settings.decisions)[name][1] == "as asked for"

    def test_loss_and_sampling(self, start):
        asked = {"loss": "focal", "label_smoothing": 0.1, "sampling": "balanced"}
        request = dataclasses.replace(REQUEST, **asked)
        settings = choose(request, SPLIT, start)
        said = say(settings.decisions)
        assert [said[name][0] for name in ("loss", "label smoothing", "sampling")] == ["focal", "0.1", "balanced"]
        config = resolve(build_config(request, settings, start, pathlib.Path("run"), 1) | {"num_epochs": 1})
        assert (config.loss, config.sampling, config.mix.smoothing) == ("focal", "balanced", 0.1)

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"label_smoothing": 1.0}, r"^--label-smoothing is 1\.0; it must be a share, from 0 to below 1\.$"),
            (
                {"blocks": 0, "loss": "focal"},
                r"^--loss is of training steps, and with --blocks 0 there are none: the h",
            ),
            ({"blocks": 0, "label_smoothing": 0.1}, r"^--label-smoothing is of training steps, and with --blocks 0 th"),
            ({"sampling": "balanced", "class_weights": "balanced"}, r" are for the same; give one of them\.$"),
        ],
    )
    def test_what_has_no_meaning(self, asked, sentence):
        with pytest.raises(ValueError, match=sentence):
            dataclasses.replace(REQUEST, **asked)

    def test_a_batch_that_cannot_be_filled(self, start):
        with pytest.raises(ValueError, match=r"^--batch-size is 107, and there are 106 images to train with"):
            choose(dataclasses.replace(REQUEST, batch_size=107), SPLIT, start)


@pytest.mark.parametrize(
    ("class_weights", "reason"),
    [
        ("none", "each class has 28 images"),
        ("balanced", "all classes count the same, and each class has 28 images"),
    ],
)
def test_classes_of_the_same_size(class_weights, reason, start):
    request = dataclasses.replace(REQUEST, class_weights=class_weights)
    settings = choose(request, divide(make({"a": 40, "b": 40}), 0.15, 0.15, 0), start)
    assert say(settings.decisions)["class weights"][1] == reason


def test_the_memory_is_the_reason_where_it_is(start):
    for largest, reason in ((16, "13 steps an epoch"), (4, "larger ones do not fit into the memory")):
        assert say(choose(REQUEST, SPLIT, start, largest).decisions)["batch"][1] == reason


@pytest.mark.parametrize(("images", "batch"), [(2, 2), (20, 4), (106, 8), (300, 32), (10**6, 32)])
def test_batches(images, batch):
    assert batch_for(images) == batch
    assert batch_for(images, largest=2) == 2


def test_balanced_weights_leave_the_size_of_the_loss():
    counts = {"b": 10, "a": 30}
    weights = balanced(counts)
    assert weights == pytest.approx((40 / 60, 2.0))
    assert weights[0] * 30 + weights[1] * 10 == pytest.approx(40)


class TestTime:
    """106 images are 13 steps of 8: an epoch takes 1.3 + 0.22 + 0.5 s, the head 1.28 s, the end 0.22 + 0.5 s."""

    def settings(self, start, **asked):
        return choose(dataclasses.replace(REQUEST, **asked), SPLIT, start)

    def test_enough(self, start):
        epochs, _, decisions = epochs_within(self.settings(start), TIMES, SPLIT, spent=10)
        assert epochs == 77
        assert say(decisions)["time"] == ("about 2:40", "0:01 for the head; a step takes 0.1 s, an epoch 2 s, measured")

    def test_not_for_all_epochs(self, start):
        epochs, seconds, decisions = epochs_within(self.settings(start, minutes=0.5), TIMES, SPLIT, spent=10)
        assert (epochs, seconds) == (7, pytest.approx(30 - 10 - 0.72)), "the rest is for head and training"
        assert say(decisions)["epochs"] == ("7", "77 would end after 2:50, and --minutes is 0.5")

    def test_graphs_and_a_second_model_take_time_too(self, start):
        times = dataclasses.replace(TIMES, graph=1.0, opening=3.0)
        epochs, seconds, _ = epochs_within(self.settings(start, minutes=0.5), times, SPLIT, spent=10)
        assert seconds == pytest.approx(30 - 10 - (1 + 0.72))
        assert epochs == int((seconds - (3 + 2 + 1.28) - (2 + 1 + 0.22)) / 2.02)

    def test_for_the_head_alone(self, start):
        for settings in (self.settings(start, minutes=0.1), self.settings(start, blocks=0)):
            epochs, _, decisions = epochs_within(settings, TIMES, SPLIT, spent=10)
            assert (epochs, say(decisions)["epochs"][0]) == (0, "none, the head alone")
            assert say(decisions)["time"][0] == "about 0:02"

    def test_more_than_there_is_time_for_is_told(self, start):
        settings = self.settings(dataclasses.replace(start, weights=None), minutes=3)
        epochs, _, decisions = epochs_within(settings, dataclasses.replace(TIMES, step=30.0), SPLIT, spent=10)
        assert (epochs, say(decisions)["time"][1]) == (1, "a step takes 30 s, an epoch 6:31, measured")
        assert say(decisions)["epochs"][1].endswith(", and --minutes is 3; even this ends only after 6:44")
        _, _, decisions = epochs_within(self.settings(start, minutes=0.1, blocks=0), TIMES, SPLIT, spent=10)
        assert say(decisions)["epochs"][1].endswith("; even this ends only after 0:12")

    def test_new_weights_get_an_epoch_in_any_case(self, start):
        settings = choose(dataclasses.replace(REQUEST, minutes=0.1), SPLIT, dataclasses.replace(start, weights=None))
        assert epochs_within(settings, TIMES, SPLIT, spent=10)[0] == 1

    def test_epochs_that_are_asked_for_have_all_the_time(self, start):
        assert epochs_within(self.settings(start, epochs=5000), TIMES, SPLIT, spent=10)[0] == 5000


def test_clock():
    assert [clock(seconds) for seconds in (0.4, 61, 3725)] == ["0:00", "1:01", "1:02:05"]


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("val", 0, r"--val is 0 and --test 0\.15; they must be shares, --val above 0, that leave something to train"),
        ("test", 0.9, r"--val is 0\.15 and --test 0\.9; they must be shares"),
        ("max_broken", 2, r"--max-broken is 2; it must be a share, from 0 to 1"),
        ("blocks", "some", r"--blocks is 'some'; it must be a number of blocks, 0 or more, or all"),
        ("blocks", True, r"--blocks is True; it must be a number"),
        ("blocks", -1, r"--blocks is -1; it must be a number"),
        ("learning_rate", 0, r"--learning-rate is 0; it must be above 0"),
        ("minutes", -1, r"--minutes is -1; it must be above 0"),
    ],
)
def test_what_cannot_be_asked_for(field, value, sentence):
    with pytest.raises(ValueError, match=rf"^{sentence}.*\.$"):
        dataclasses.replace(REQUEST, **{field: value})
