"""Figures of a model, against those of scikit-learn."""

import unicodedata

import numpy as np
import pytest
from sklearn import metrics

from keras_nest.evaluation.images import LabeledImage, LabeledImages
from keras_nest.evaluation.measure import ask, figures, match_classes
from keras_nest.imagenet import read_classes
from keras_nest.predict.predictor import Predictor

CLASSES = ("a", "b", "c", "d", "e", "f", "g")


def predictor_of(rows, class_names=CLASSES):
    """Answers with rows of probabilities; the first pixel of an image is the number of its row."""
    rows = np.asarray(rows, np.float32)
    return Predictor(lambda images: rows[[int(image[0, 0, 0]) for image in images]], rows.shape[1], class_names)


def images_of(labels):
    def read(tell):
        for number, label in enumerate(labels):
            yield LabeledImage(f"{number}.png", label, np.full((2, 2, 3), number, np.uint8))

    return LabeledImages("data", "test", tuple(sorted(set(labels))), len(labels), read, None)


def test_scikit_learn_agrees():
    """Of images of three of seven classes, in another order than the model's."""
    generator = np.random.default_rng(0)
    labels = generator.choice(["f", "b", "c"], 90).tolist()
    rows = generator.dirichlet(np.full(len(CLASSES), 0.4), 90)
    answers = ask(predictor_of(rows), images_of(labels), pytest.fail, batch_size=7)
    found = figures(answers, CLASSES)
    true, taken = [CLASSES.index(label) for label in labels], rows.argmax(axis=1)
    assert found["top1"] == pytest.approx(metrics.accuracy_score(true, taken))
    assert found["top5"] == pytest.approx(metrics.top_k_accuracy_score(true, rows, k=5, labels=range(7)))
    assert found["loss"] == pytest.approx(metrics.log_loss(true, rows, labels=range(7)), rel=1e-5)
    present = sorted({*true, *taken.tolist()})
    assert found["confusion"] == metrics.confusion_matrix(true, taken, labels=present).tolist()
    report = metrics.classification_report(
        true, taken, labels=present, target_names=[CLASSES[k] for k in present], output_dict=True, zero_division=0
    )
    for row in found["classes"]:
        theirs = report[row["name"]]
        ours = row["precision"], row["recall"], row["f1"], row["images"]
        assert ours == pytest.approx([theirs[name] for name in ("precision", "recall", "f1-score", "support")])
    of_images = [report[name]["f1-score"] for name in "bcf"]
    assert found["macro_f1"] == pytest.approx(np.mean(of_images))


def test_a_tie_is_no_answer():
    answers = ask(predictor_of([[0.5, 0.5, 0], [0.4, 0.4, 0.2]], "abc"), images_of(["a", "c"]), pytest.fail)
    assert answers.right.tolist() == [False, False]
    assert answers.predicted.tolist() == [1, 0]
    assert answers.lead == pytest.approx([0, 0], abs=1e-6)


def test_probabilities_of_their_own():
    """Of a sigmoid, which do not add up to 1: the loss is that of every class."""
    answers = ask(predictor_of([[0.9, 0.2, 0.7]], "abc"), images_of(["c"]), pytest.fail)
    assert answers.losses == pytest.approx([-np.log(0.1) - np.log(0.8) - np.log(0.7)], rel=1e-5)


def test_names_are_found():
    composed, apart = (unicodedata.normalize(form, "Blüten") for form in ("NFC", "NFD"))
    assert composed != apart
    names = (composed, "b")
    assert match_classes([apart], predictor_of(np.eye(2), names), "data") == {apart: 0}
    imagenet = tuple(each.name for each in read_classes("imagenet2012"))
    answers = match_classes(["n01443537", "tench"], predictor_of(np.eye(1000), imagenet), "data")
    assert answers == {"n01443537": 1, "tench": 0}


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (None, r"The model's classes have no names, .* with --labels FILE\."),
        (("cat", "dig"), r"data has images of 'dog' and 1 others, which the model does not know; did you mean dig\?"),
        (("dog", "dog"), r"The model has 'dog' more than once; give its classes different names"),
    ],
)
def test_one_sentence(names, sentence):
    wanted = ["dog", "owl"] if names == ("cat", "dig") else ["dog"]
    with pytest.raises(ValueError, match=sentence):
        match_classes(wanted, predictor_of(np.eye(2), names), "data")


def test_answers_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"The model does not answer with numbers, of 0\.png for one"):
        ask(predictor_of([[np.nan, 1]], "ab"), images_of(["a"]), pytest.fail)
