"""Models of every kind answer the page, and say what they cannot."""

import threading

import numpy as np
import pytest

import keras_nest
from keras_nest.app.model import AppModel, open_app_model
from keras_nest.predict import read_image
from tests import keras_models
from tests.predict.conftest import NAMES, SMALL


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["run", "bare", "saved_model", "versions", "tflite"])
def test_every_kind_of_file(files, photos, expected, kind):
    model = open_app_model(str(files[kind]))
    image = read_image(photos / "astronaut.png")
    found = model.predict(image)
    shares = [each["probability"] for each in found]
    np.testing.assert_allclose(shares, sorted(expected[0], reverse=True), atol=1e-5)
    names = [f"class {k}" for k in range(3)] if kind == "bare" else NAMES
    assert [each["label"] for each in found] == [names[each["class"]] for each in found]
    if kind in ("run", "bare"):
        assert (list(model.methods), model.why_not) == (["gradcat", "attention", "cam"], "")
    else:
        assert model.methods == {}
        assert model.why_not.startswith("Where this comes from cannot be shown: an exported file has no layers;")
        with pytest.raises(ValueError, match="an exported file has no layers"):
            model.explain(image, "cam", 0)


def test_methods_are_those_that_the_model_has(tmp_path):
    size = {"image_size": 16, "patch_size": 4, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
    model = keras_nest.create_model("ViT-Ti_16", num_classes=3, **size)
    keras_models.randomize(model)
    model.save(tmp_path / "model.keras")
    assert list(open_app_model(str(tmp_path / "model.keras")).methods) == ["attention", "cam"]


def test_class_names_of_a_file(files, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    for kind in ("bare", "tflite"):
        model = open_app_model(str(files[kind]), labels=tmp_path / "names.txt")
        assert model.choose(()).class_names == ("a", "b", "c")
    (tmp_path / "names.txt").write_text("a\n")
    with pytest.raises(ValueError, match=r"names\.txt has 1 class names for 3 classes"):
        open_app_model(str(files["bare"]), labels=tmp_path / "names.txt")


def test_what_classifies_nothing_is_refused(tmp_path):
    keras_nest.create_model("nest_tiny", **{**SMALL, "num_classes": 0}).save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="gives no classes; it must be a classifier of images"):
        open_app_model(str(tmp_path / "model.keras"))


def test_answers_that_are_no_numbers(photos, tmp_path):
    model = keras_nest.create_model("nest_tiny", **SMALL)
    model.weights[-1].assign(np.full(model.weights[-1].shape, np.nan))
    model.save(tmp_path / "model.keras")
    opened = open_app_model(str(tmp_path / "model.keras"))
    with pytest.raises(ValueError, match=r"^The model does not answer with numbers"):
        opened.predict(read_image(photos / "rocket.png"))


def test_it_is_closed_when_the_question_in_progress_is_answered():
    began, go_on, events = threading.Event(), threading.Event(), []

    def choose(labels):
        began.set()
        go_on.wait()
        events.append("answered")
        raise ValueError("asked")

    def ask():
        with pytest.raises(ValueError, match="asked"):
            model.predict(np.zeros((2, 2, 3), np.uint8))

    def close():
        model.close()
        events.append("closed")

    model = AppModel("toy", (), choose)
    threads = [threading.Thread(target=ask), threading.Thread(target=close)]
    threads[0].start()
    began.wait()
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert events == ["answered", "closed"]
    assert not model._lock.acquire(blocking=False)
