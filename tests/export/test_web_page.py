"""The page in a real Chromium: what it computes is what Python does, and it does so offline."""

import base64
import contextlib
import json
import os
import shutil

import numpy as np
import pytest

import keras_nest
from keras_nest import export
from keras_nest.explain import class_activation_map
from keras_nest.export.web import litert
from tests import families
from tests.browser import hand_over, needs_chromium, overflow, page, ready, served
from tests.data import photographs

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow"),
    needs_chromium(),
]

# By name: color, gray, transparent, of palette, turned by its camera; high, and larger than a screen.
FILES = {
    "rocket.png": photographs.encoded(photographs.small("rocket", (61, 44))),
    "camera.png": photographs.encoded(photographs.full_size("camera")),
    "logo.png": photographs.encoded(photographs.small("logo", (90, 90))),
    "china.png": photographs.encoded(photographs.full_size("china").rotate(90, expand=True)),
    "chelsea.gif": photographs.encoded(photographs.small("chelsea").convert("P"), "GIF"),
    "turned.png": photographs.encoded(photographs.small("flower", (80, 50)), orientation=6),
}
# No word of them may become a tag, widen the page, or turn the sentence around it.
NAMES = [
    "</script><script>fail()</script>",
    "<img src=x onerror=fail()>",
    "قطة (12)",
    "\u202ereversed",
    "\U0001f408",
    "a" * 300,
]
NAMES += ["__proto__", "&amp; {} ${x} %s", "e\u0301", "日本語の猫", "-1"]
# Runs in the page, with the module that the page itself has.
ASK = """async ([content, name, index]) => {
    const backend = await import("./backend.js");
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const image = { file: new Blob([bytes]), name };
    Object.assign(image, await backend.predict(image));
    if (image.error) return image;
    const found = await backend.explain(image, "cam", index);
    return { scores: image.scores, predictions: image.predictions, note: image.note, ...found };
}"""
PREPARE = """async ([content, width, height, specs]) => {
    const { prepare } = await import("./prepare.js");
    const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    const read = (left, top, columns, rows) => {
        const part = new Uint8ClampedArray(4 * columns * rows);
        for (let y = 0; y < rows; y++)
            for (let x = 0; x < columns; x++)
                for (let k = 0; k < 4; k++)
                    part[4 * (y * columns + x) + k] = k === 3 ? 255 : bytes[3 * ((top + y) * width + left + x) + k];
        return part;
    };
    return specs.map((spec) => [...prepare({ width, height, read }, spec)]);
}"""


def check_answers(seen, model, tolerance):
    """Scores and maps of photographs are those of Python."""
    for name, content in FILES.items():
        pixels = keras_nest.preprocessor(model)(keras_nest.predict.images.decode_image(content, name)[None])
        logits = model(pixels).numpy()[0]
        found = seen.evaluate(ASK, [base64.b64encode(content).decode(), name, 1])
        np.testing.assert_allclose(found["scores"], logits, atol=tolerance, err_msg=name)
        heat, shown = class_activation_map(model, pixels, 1)[0].numpy(), np.array(found["map"])
        np.testing.assert_allclose(shown, heat, atol=tolerance * np.abs(heat).max() + 1e-6, err_msg=name)
        assert shown.argmax() == heat.argmax(), name
        assert found["predictions"][0]["class"] == logits.argmax()
        shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        assert found["predictions"][0]["probability"] == pytest.approx(shares.max(), abs=tolerance)


def check_page(seen, folder):
    """What people do with it."""
    photographs.full_size("chelsea").save(folder / "my cat.jpg")
    (folder / "notes.txt").write_text("no image")
    assert overflow(seen) == []
    seen.keyboard.press("Tab")
    assert seen.evaluate("document.activeElement.id") == "file"
    seen.set_input_files("#file", folder / "my cat.jpg")
    seen.wait_for_selector("#pictures svg")
    assert seen.evaluate("document.activeElement.id") == "other"  # not on what is gone
    assert seen.inner_text("#file-name") == "my cat.jpg"
    assert seen.inner_text("#note").endswith("ms with WebAssembly, 2 threads.") or (os.cpu_count() or 1) != 2
    best, other = seen.locator("#classes button span:first-of-type").all_inner_texts()[:2]
    assert seen.text_content("#said").startswith(f"my cat.jpg: most probable is {best}, ")
    seen.locator("#classes button").nth(1).focus()
    seen.keyboard.press("Enter")
    seen.wait_for_function(
        "asked => document.getElementById('question').textContent === asked", arg=f"What speaks for {other}"
    )
    assert seen.get_attribute("#pictures svg", "aria-label").startswith(f"Heat map of {other}.")
    for width in (390, 1280):
        seen.set_viewport_size({"width": width, "height": 900})
        assert overflow(seen) == []
    seen.focus("#other")
    seen.set_input_files("#file", folder / "notes.txt")
    seen.wait_for_selector("#error:not([hidden])")
    assert seen.inner_text("#error").startswith("notes.txt cannot be read as an image by this browser;")
    assert seen.evaluate("document.activeElement.id") == "file"
    for kind in ("drop", "paste"):
        hand_over(seen, kind, f"{kind}.png", FILES["rocket.png"])
        seen.wait_for_selector(f"#file-name:text-is('{kind}.png')")
    hand_over(
        seen, "drop", "turned.webp", photographs.encoded(photographs.small("flower", (80, 50)), "WEBP", orientation=6)
    )
    seen.wait_for_selector("#error:not([hidden])")
    assert seen.inner_text("#error").startswith("turned.webp is to be turned, as its EXIF data say")
    hand_over(
        seen, "drop", "upright.webp", photographs.encoded(photographs.small("flower", (80, 50)), "WEBP", orientation=1)
    )
    seen.wait_for_selector("#file-name:text-is('upright.webp')")
    hand_over(seen, "paste", "words")
    assert seen.locator("#error").is_hidden()
    hand_over(seen, "drop", "words")
    assert seen.inner_text("#error").startswith("What was dropped is no file;")
    seen.click("#camera")
    seen.wait_for_selector("#take:focus")
    seen.click("#take")
    seen.wait_for_selector("#file-name:text-is('camera')")
    assert seen.locator("#error").is_hidden()
    seen.click("#thumbnails button")
    seen.wait_for_selector("#file-name:text-is('china.jpg')")


def publish_again(site, title):
    """Another version of a page in the same place, as another export would write it."""
    facts, worker = site / "model.json", site / "worker.js"
    facts.write_text(json.dumps({**json.loads(facts.read_text("utf-8")), "name": title}), "utf-8")
    worker.write_text(worker.read_text("utf-8").replace('"version": "', '"version": "2'), "utf-8")


@pytest.fixture(scope="module")
def nest():
    return families.nest(num_classes=11, image_size=32)


def test_a_nest_with_its_files_beside_it(library, nest, tmp_path):
    """float16; the folder holds all that the page needs, also without the server."""
    assert library
    site = export.to_web(nest, tmp_path / "site", title="Owls & cats", litert_from="npm", class_names=NAMES)
    with contextlib.ExitStack() as stack:
        server = contextlib.ExitStack()
        address = server.enter_context(served(site))
        stack.callback(server.close)
        seen = stack.enter_context(page(f"{address}/index.html?x=1", width=1280))
        ready(seen)
        assert (seen.title(), seen.inner_text("h1")) == ("Owls & cats", "Owls & cats")
        assert seen.inner_text("#facts") == "11 classes · sees 32 x 32 pixels"
        assert seen.locator("#all option").evaluate_all("all => all.map((each) => each.value)") == NAMES
        check_page(seen, tmp_path)
        check_answers(seen, nest, 1e-3)
        publish_again(site, "Cats & owls")
        seen.reload()
        seen.wait_for_selector("h1:text-is('Cats & owls')")
        ready(seen)
        seen.context.set_offline(True)
        server.close()
        seen.reload()
        ready(seen)
        check_answers(seen, nest, 1e-3)


@pytest.mark.large
@pytest.mark.parametrize("name", ["nest_tiny_s196_224", "ViT-Ti_16"])
def test_published_sizes(library, name, tmp_path):
    assert library
    model = families.randomized(keras_nest.create_model(name))
    site = export.to_web(model, tmp_path / "site", precision="float32", litert_from="npm")
    with served(site) as address, page(address, width=1280) as seen:
        ready(seen)
        check_answers(seen, model, 1e-4)


def test_a_vit_whose_library_is_fetched(library, tmp_path, monkeypatch):
    """float32; LiteRT.js comes from another address, by its checksums."""
    model = families.vit(num_classes=11, image_size=48)
    for path, content in library.items():
        file = tmp_path / "npm" / "@litertjs" / path.replace("/", f"@{litert.VERSION}/", 1)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    with served(tmp_path / "npm") as elsewhere:
        monkeypatch.setattr(litert, "ADDRESS", elsewhere)
        site = export.to_web(model, tmp_path / "site", precision="float32", litert_from="cdn", examples=())
        assert not (site / "litert").exists()
        with served(site) as address, page(address, width=390, dark=True) as seen:
            ready(seen)
            check_answers(seen, model, 1e-5)
            assert overflow(seen) == []
        wrong = tmp_path / "npm/@litertjs" / f"core@{litert.VERSION}" / "dist/index.js"
        wrong.write_bytes(wrong.read_bytes() + b"\n")
        with served(site) as address, page(address, width=390, faulty=True) as seen:
            seen.wait_for_selector("#error:not([hidden])")
            assert seen.inner_text("#error").startswith("LiteRT.js 2.5.3 is not there, or is not what the page was")


def test_preparation(tmp_path):
    """Within one level of 255, for every way in which images are resized and cropped."""
    shutil.copy(litert.__file__.replace("litert.py", "prepare.js"), tmp_path)
    (tmp_path / "index.html").write_text("<!doctype html><title>x</title><link rel='icon' href='data:,'>")
    ways = [
        {"crop_ratio": 0.875},
        {"crop_ratio": 0.9, "interpolation": "bicubic"},
        {"stretch": True},
        {"stretch": True, "truncate": True},
        {"stretch": True, "interpolation": "bicubic"},
        {"crop_ratio": 0.9, "interpolation": "bicubic", "pillow": True},
        {"crop_ratio": 0.875, "pillow": True},
        {"stretch": True, "pillow": True},
    ]
    layers = [
        keras_nest.EvalPreprocessing(size, [0.0] * channels, [1.0] * channels, **way)
        for size in ((24, 24), (20, 33))
        for channels in (3, 1)
        for way in ways
    ]
    specs = [
        {
            "size": layer.image_size,
            "resized": layer.spec.resized(layer.image_size),
            "channels": len(layer.mean),
            **{name: getattr(layer.spec, name) for name in ("interpolation", "stretch", "truncate", "pillow")},
        }
        for layer in layers
    ]
    rocket = photographs.full_size("rocket")
    images = [rocket.resize(size) for size in ((24, 24), (97, 61), (13, 17), (300, 301), (5, 900))]
    with served(tmp_path) as address, page(address) as seen:
        for image in images:
            pixels = np.asarray(image.convert("RGB"))
            content = base64.b64encode(pixels.tobytes()).decode()
            found = seen.evaluate(PREPARE, [content, *image.size, specs])
            for spec, layer, values in zip(specs, layers, found, strict=True):
                expected = layer(pixels).numpy().ravel()
                worst = 255 * np.abs(expected - values)
                assert worst.max() <= 1.001, (image.size, spec)
                assert worst.mean() < 0.05, (image.size, spec)
