"""A page about a model: everything in one file, names as text, and nothing beyond the edge of a window."""

import dataclasses
import html.parser
import json

import numpy as np
import pytest
from PIL import Image

from keras_nest.data.sources.table import Row, write_table
from keras_nest.evaluation.images import images_of_run
from keras_nest.evaluation.measure import ask
from keras_nest.evaluation.other_tasks import AllAnswers
from keras_nest.predict.predictor import Predictor
from keras_nest.report.write import Measured, write_report
from keras_nest.training.history import write_history
from tests import browser

NASTY = (
    "<script>alert(1)</script>",
    "Blüten & \"Gräser\" 'rot'",
    "\u202etxt.exe",
    "bell\x07",
    "{{ 7 * 7 }}",
    "a name without an end " * 4 + "x" * 60,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a run whose files say what a fine-tuning says, and what a model of it answered."""
    workdir = tmp_path_factory.mktemp("a run") / "<b>run"
    generator = np.random.default_rng(0)
    rows = []
    for number in range(40):
        path = workdir / f"IMG \u202e{number}\" onerror='alert(1)' <i>.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (30, 20 + number, 3), np.uint8)).save(path)
        rows.append(Row(str(path), NASTY[number % len(NASTY)], "test"))
    write_table(workdir / "images.csv", rows)
    request = {"folder": "photos/<u>mine", "model": "ViT-S_16", "weights": None, "val": 0.15, "epochs": 3}
    plan = {"request": request, "decisions": [["batch", "8 images", "<em>because</em>"]], "remarks": ["& so on"]}
    (workdir / "finetune.json").write_text(json.dumps(plan))
    val = {"top1": 0.5, "loss": 1.0, "examples": 4}
    facts = {"part": "test", "val": val, "best_step": 4, "head_top1": 0.25, "steps": 6, "train_seconds": 2.0}
    (workdir / "metrics.json").write_text(json.dumps(facts))
    history = [{"step": 2 * k, "epoch": k, "loss": 3 / k, "accuracy": 0.2 * k} for k in (1, 2, 3)]
    write_history(workdir / "history.csv", [{**row, "eval_loss": 1.0, "eval_accuracy": 0.5} for row in history])

    def compute(images):
        logits = np.array([np.random.default_rng(image.shape[1]).normal(size=len(NASTY)) for image in images])
        return np.exp(2 * logits) / np.exp(2 * logits).sum(axis=1, keepdims=True)

    predictor, images = Predictor(compute, len(NASTY), NASTY), images_of_run(workdir)
    return workdir, Measured(str(workdir), images, ask(predictor, images, pytest.fail), predictor)


class Reader(html.parser.HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page(run):
    workdir, measured = run
    write_report(workdir / "report.html", measured, workdir)
    return workdir / "report.html"


def test_names_are_text(page):
    read = Reader(page.read_text("utf-8"))
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "i1", "u", "em", "iframe", "link1"})
    assert not [name for _, attributes in read.tags for name in attributes if name.startswith("on")]
    for name in ("<script>alert(1)</script>", NASTY[1], r"\u202etxt.exe", r"bell\x07", "{{ 7 * 7 }}", "<em>because"):
        assert name in read.text, name
    assert "\u202e" not in read.text
    assert "keras-nest finetune 'photos/<u>mine' --model ViT-S_16 --epochs 3 --workdir" in read.text


def test_nothing_is_loaded(page):
    read = Reader(page.read_text("utf-8"))
    addresses = [value for _, found in read.tags for name, value in found.items() if name in ("src", "href")]
    assert {address.partition(":")[0] if address[0] != "#" else "#" for address in addresses} == {"data", "#"}
    targets = {found.get("id") for _, found in read.tags}
    assert {address[1:] for address in addresses if address[0] == "#"} <= targets
    assert "url(" not in page.read_text("utf-8")


def test_figures_are_those_that_were_measured(run, page):
    _, measured = run
    text = " ".join(Reader(page.read_text("utf-8")).text.split())
    right = int(measured.answers.right.sum())
    assert f"{100 * right / 40:.1f} %" in text
    assert f"{100 * measured.figures['ece']:.1f} %" in text
    assert "The weights of epoch 2 are kept." in text


def test_what_is_not_known_is_left_out(run, tmp_path):
    """Of a model without a run, of one class, all right."""
    _, measured = run
    few = [k for k in range(40) if measured.answers.labels[k] == 0][:1]
    columns = (column[few] for column in measured.answers[1:])
    answers = type(measured.answers)((measured.answers.names[few[0]],), *columns)
    answers = answers._replace(predicted=answers.labels)
    write_report(tmp_path / "report.html", dataclasses.replace(measured, answers=answers))
    read = Reader((tmp_path / "report.html").read_text("utf-8"))
    ids = {found["id"] for _, found in read.tags if "id" in found}
    assert ids.isdisjoint({"training", "wrong", "decided", "confusion"})
    assert "of 1 test images" in " ".join(read.text.split())


@pytest.fixture(scope="module", params=["multi-label", "regression"])
def other_page(request, run, tmp_path_factory):
    """The page of the same images with several nasty labels, or a number with a nasty name."""
    _, measured = run
    generator, names = np.random.default_rng(1), measured.answers.names
    if request.param == "regression":
        found = AllAnswers(
            names, 1e6 * generator.normal(size=(40, 1)), np.zeros((40, 1)), NASTY[:1], (0.5,), request.param
        )
    else:
        truth = (generator.random((40, len(NASTY))) < 0.3).astype(float)
        shares = np.clip(0.3 * truth + 0.7 * generator.random(truth.shape), 0, 1)
        found = AllAnswers(names, truth, shares, NASTY, (0.5,) * len(NASTY), request.param)
    path = tmp_path_factory.mktemp("other") / "report.html"
    write_report(path, dataclasses.replace(measured, answers=found))
    return path, found


def test_pages_of_other_tasks(other_page):
    path, found = other_page
    read = Reader(path.read_text("utf-8"))
    text = " ".join(read.text.split())
    assert {tag for tag, _ in read.tags}.isdisjoint({"script", "i1", "u", "iframe"})
    targets = {given.get("id") for _, given in read.tags}
    assert {given["href"][1:] for tag, given in read.tags if tag == "a"} <= targets
    figures = found.figures()
    if found.task == "regression":
        assert f"{figures['mae']:.3g}" in text
        assert "<script>alert(1)</script>" in text
        assert len([tag for tag, given in read.tags if given.get("class") == "dot"]) == 40
    else:
        assert f"{100 * figures['map']:.1f} %" in text
        assert all(f"{100 * row['average_precision']:.1f} %" in text for row in figures["classes"])
        assert "best F1 on the validation images" not in text  # the thresholds are those of no training
        worst = found.names[int(found.losses.argmax())]
        assert [given for _, given in read.tags if given.get("title", "").endswith(worst.rpartition("/")[2][-8:])]


def test_images_of_none_of_the_classes(run, tmp_path):
    """Nothing is known of a class then, which is said."""
    _, measured = run
    names = measured.answers.names
    found = AllAnswers(names, np.zeros((40, 2)), np.full((40, 2), 0.2), ("a", "b"), (0.5, 0.5), "multi-label")
    write_report(tmp_path / "report.html", dataclasses.replace(measured, answers=found))
    text = " ".join(Reader((tmp_path / "report.html").read_text("utf-8")).text.split())
    assert "mean average precision unknown" in text
    assert "every class right100 %of the images" in text


@pytest.mark.slow
@browser.needs_chromium()
def test_pages_of_other_tasks_in_a_browser(other_page):
    for width in (400, 1400):
        with browser.page(other_page[0].as_uri(), width) as seen:
            assert browser.overflow(seen) == []
            assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
@browser.needs_chromium()
@pytest.mark.parametrize("width", [400, 1400])
def test_in_a_browser(width, page):
    for dark in (False, True):
        with browser.page(page.as_uri(), width, dark=dark) as seen:
            assert browser.overflow(seen) == []
            assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")
            broken = "[...document.images].filter(each => !each.complete || !each.naturalWidth).length"
            assert seen.evaluate(broken) == 0
            assert seen.evaluate("document.images.length") > 15
