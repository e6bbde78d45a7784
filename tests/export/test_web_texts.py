"""The page of a LiT in a real Chromium: probabilities of words as Python has them, and what people do there."""

import base64
import contextlib

import numpy as np
import pytest

import keras_nest
from keras_nest import export
from keras_nest.tokenizers import get_tokenizer
from tests.browser import needs_chromium, overflow, page, ready, served
from tests.data import photographs
from tests.export import toy_lit

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow"),
    needs_chromium(),
]

LABELS = ["a cat", "the red house", "NAÏVE café, 你好 — dogs", "qqq ﬁsh", "İstanbul 😀", "walking, walked", "12 $"]
WIDE = "\uff43\uff41\uff54"  # the same letters, as wide as Chinese ones
TEMPLATES = ["{}", "a photo of the {} and the {}", "{} is walking"]
# Runs in the page, with the module that the page itself has.
ASK = """async ([content, labels, templates]) => {
    const backend = await import("./backend.js");
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    return backend.predict({ file: new Blob([bytes]), name: "image" }, labels, templates);
}"""


def asked(seen, content, labels, templates=("{}",)):
    return seen.evaluate(ASK, [base64.b64encode(content).decode(), list(labels), list(templates)])


def check_probabilities(seen, model, kind, tolerance):
    """Of photographs, labels that are odd or many, and sentences around them: those of Python's classifier."""
    tokenizer = get_tokenizer(toy_lit.vocabulary(kind), model.text_model.input_shape[1])
    words = ["the", "a", "cat", "dogs", "runs", "walking", "red", "house", "tree", "sun"]
    many = [f"{word} {number}" for number in range(10) for word in words]
    first = keras_nest.ZeroShotClassifier(model, tokenizer, LABELS)
    for labels, templates in ((LABELS, ("{}",)), (LABELS, TEMPLATES), (many, TEMPLATES[1:])):
        classifier = first.with_labels(labels, templates)
        for name in ("rocket", "camera", "chelsea"):
            content = photographs.encoded(photographs.small(name, (61, 44)))
            expected = classifier.probabilities([keras_nest.predict.images.decode_image(content, name)])[0]
            found = asked(seen, content, labels, templates)
            np.testing.assert_allclose(found["shares"], expected, atol=tolerance, err_msg=name)
            best = found["predictions"][0]
            assert best["label"] == labels[best["class"]]
            assert len(found["predictions"]) == (len(labels) if len(labels) <= 10 else 5)


def check_what_is_wrong(seen):
    content = photographs.encoded(photographs.small("rocket", (20, 20)))
    for labels, templates, sentence in (
        ([], ["{}"], "There are no labels; write one a line, such as: a dog."),
        (["red", "red"], ["{}"], "There is more than one label 'red'; each class must have a label of its own."),
        (["red"], [], "There are no sentences; write {} for the label as it is."),
        (["red"], ["a dog"], "The sentence 'a dog' has no {}, where the label goes: a photo of a {}."),
    ):
        assert asked(seen, content, labels, templates) == {"error": sentence}
    labels = ["cat", WIDE, "cat Ж", "cat " * 40]
    note = asked(seen, content, labels)["note"]
    assert f"The model reads the same in 'cat' and '{WIDE}', so that their probabilities are equal." in note
    assert "It does not know all of 'cat Ж'." in note
    assert "It reads only the beginning of 'cat cat " in note
    assert "new text" not in asked(seen, content, labels)["note"]  # they are kept


def check_page(seen, folder):
    """What people do with it, keyboard in hand."""
    photographs.full_size("chelsea").save(folder / "my cat.png")
    assert seen.input_value("#labels") == "a cat\nthe red house"
    assert overflow(seen) == []
    seen.set_input_files("#file", folder / "my cat.png")
    seen.wait_for_selector("#answer:not([hidden])")
    assert seen.locator("#classes li").count() == 2
    assert seen.locator("#why, #more").locator("visible=true").count() == 0
    assert seen.inner_text("#why-not").endswith("not for texts.")
    seen.focus("#labels")
    seen.keyboard.press("Control+A")
    seen.keyboard.type("dogs, a cat , the sun")  # answered without a press of a button
    seen.wait_for_selector("#classes li:nth-child(3)")
    shown = seen.locator("#classes button span:first-of-type").all_inner_texts()
    assert sorted(shown) == ["a cat", "dogs", "the sun"]
    assert seen.text_content("#said").startswith(f"my cat.png: most probable is {shown[0]}, ")
    assert seen.evaluate("document.activeElement.id") == "labels"
    seen.keyboard.press("Control+A")
    seen.keyboard.press("Delete")
    seen.wait_for_selector("#error:not([hidden])")
    assert seen.inner_text("#error").startswith("my cat.png is taken. Now write its possible classes in words")
    assert seen.locator("#photo").is_visible()
    seen.keyboard.type("dogs\nred, or blue")
    seen.wait_for_selector("#answer:not([hidden])")
    assert seen.locator("#error").is_hidden()
    assert "red, or blue" in seen.locator("#classes button span:first-of-type").all_inner_texts()
    seen.keyboard.press("Tab")
    seen.keyboard.press("Enter")
    seen.keyboard.press("Tab")
    assert seen.evaluate("document.activeElement.id") == "templates"
    seen.keyboard.press("Control+A")
    seen.keyboard.type("a dog")
    seen.wait_for_selector("#error:not([hidden])")
    for width in (390, 1280):
        seen.set_viewport_size({"width": width, "height": 900})
        assert overflow(seen) == []


@pytest.mark.parametrize(("kind", "precision"), [("bert", "float16"), ("text", "float32")])
def test_a_lit(library, kind, precision, tmp_path):
    """Also without the server, once it was loaded."""
    model = toy_lit.build(kind)
    assert library
    options = {"vocab": toy_lit.vocabulary(kind), "class_names": ["a cat", "the red house"], "precision": precision}
    site = export.to_web(model, tmp_path / "site", litert_from="npm", **options)
    with contextlib.ExitStack() as stack:
        server = contextlib.ExitStack()
        address = server.enter_context(served(site))
        stack.callback(server.close)
        seen = stack.enter_context(page(address, width=1280))
        ready(seen)
        assert seen.inner_text("#facts") == "classes are texts · sees 16 x 16 pixels"
        check_probabilities(seen, model, kind, 1e-3)
        check_what_is_wrong(seen)
        check_page(seen, tmp_path)
        seen.context.set_offline(True)
        server.close()
        seen.reload()
        ready(seen)
        check_probabilities(seen, model, kind, 1e-3)
