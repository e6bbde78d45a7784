"""The folder of a page: what the model computes, who it is, examples, and the page itself."""

import base64
import hashlib
import html
import importlib.resources
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest import page
from keras_nest.backends import require_tensorflow
from keras_nest.choices import WEB_PRECISIONS
from keras_nest.export.exporter import check_option
from keras_nest.export.exporters import exporter_for
from keras_nest.export.network import TO_A_FILE
from keras_nest.export.web import litert
from keras_nest.export.web.examples import Example, read_examples
from keras_nest.export.web.files import EXPLANATION, NETWORK, describe, write_networks
from keras_nest.export.web.networks import split
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place

FACTS = "model.json"
"""What the page knows of its model; also how a folder is known to be such a page."""

_INDEX, _WORKER = "index.html", "worker.js"
_SCRIPTS = ("backend.js", "network.js", "photograph.js", "prepare.js")
_IMPORTS = json.dumps(
    {"imports": {f"@litertjs/{name}": f"./litert/{name}/dist/index.js" for name in litert.PACKAGES}}, indent=None
)
_HEAD = """<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="description" content="{description}">
<script type="importmap">{imports}</script>
"""


def to_web(
    model: keras.Model,
    directory: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    precision: str = WEB_PRECISIONS[0],
    class_names: Sequence[str] | None = None,
    activation: str | None = None,
    title: str | None = None,
    examples: Sequence[str | os.PathLike[str]] | None = None,
    metrics: Mapping[str, Any] | None = None,
    litert_from: str | os.PathLike[str] | None = None,
    preprocessing: Preprocessing = AUTO,
) -> Place:
    """Writes a page that classifies images in the browser: static files, for any web server.

    `DIRECTORY/index.html` takes images that are dropped, pasted, chosen or taken with the camera, prepares them as
    `keras_nest.preprocessor` does, and runs `model.tflite` with LiteRT.js, on WebGPU or in WebAssembly. It shows the
    most probable classes, and where in the image a class comes from: `explain.tflite` computes the class
    activation map. Nothing is sent anywhere, and once loaded the page works offline. It begins with a test that the
    browser computes what Python does.

    Args:
        model: a classifier of gray or color images, of this package or a user's around one.
        directory: the folder, or an address such as gs://bucket/site; it appears complete or not at all.
        overwrite: replace a page that lies there.
        precision: of the weights: "float16", "float32", or "dynamic_int8", a quarter of the size of the latter and less
            exact.
        class_names: in the order of the logits; None takes those of a published head.
        activation: from logits to probabilities, "softmax" or "sigmoid"; None as in `to_tflite`.
        title: what the page is called; None takes the name of the model.
        examples: image files to begin with, which become JPEG files of 1,024 pixels at most without what else was in
            them; None takes two photographs of scikit-learn.
        metrics: what the training measured, which the page tells: `top1` of `examples`.
        litert_from: a folder that `npm pack @litertjs/core@… @litertjs/wasm-utils@…` or `npm install` has filled; "npm"
            runs that; "cdn" writes a page that fetches LiteRT.js from a content network, by its checksums. None takes
            npm if it is installed and reaches its registry, else "cdn".
        preprocessing: as `to_saved_model` takes it.

    Returns:
        The folder.

    Raises:
        ValueError: a model that is no classifier of images, or does not say how its images are prepared; an unknown
            option; not as many class names as classes; an example that is no image; a folder that is no page is in the
            way; files of another LiteRT.js; or Keras does not run on TensorFlow. Nothing is written then.
        FileExistsError: something lies there and `overwrite` is false.
        FileNotFoundError: there is no such folder or example.
        OSError: the folder cannot be written.
    """
    require_tensorflow("export.to_web", TO_A_FILE.format("web"))
    place = _checked_place(directory, overwrite)
    check_option("precision", precision, WEB_PRECISIONS)
    exporter = exporter_for(model, preprocessing)
    exporter.check_web(activation)
    facts = describe(exporter.model, class_names, activation, title, metrics or {})
    pictures = read_examples(examples)
    library = litert.find_files(litert_from)
    networks = split(exporter.model)
    with output_at(place, overwrite) as folder:
        folder.mkdir()
        facts |= write_networks(networks, folder, precision, facts)
        facts |= _write_examples(pictures, folder) | {"litert": {"version": litert.VERSION, "fetched": library is None}}
        _write_page(folder, facts, library)
    return place


def _checked_place(directory: str | os.PathLike[str], overwrite: bool) -> Place:
    place = as_place(directory)
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"{place} is a file; it must be a folder for the page.")
    if place.exists() and not overwrite:
        raise FileExistsError(f"{place} exists already; pass overwrite=True (--overwrite) to replace it.")
    if place.exists() and any(place.iterdir()) and not (place / FACTS).is_file():
        raise ValueError(f"{place} holds something else than a page of this command, and is not replaced.")
    return place


def _write_examples(pictures: Sequence[Example], folder: pathlib.Path) -> dict[str, Any]:
    rows = []
    for number, picture in enumerate(pictures, 1):
        path = folder / "examples" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(picture.content)
        rows.append({"name": picture.name, "file": path.relative_to(folder).as_posix()})
    credits = dict.fromkeys(picture.credit for picture in pictures if picture.credit)
    return {"examples": rows, "credits": " ".join(credits)}


def _write_page(folder: pathlib.Path, facts: Mapping[str, Any], library: Mapping[str, bytes] | None) -> None:
    """The page around what is there already; the worker comes last, since it knows all files."""
    _write(folder, FACTS, json.dumps(facts, ensure_ascii=False))
    _write(folder, _INDEX, _index(facts["name"]))
    for name in page.FILES:
        _write(folder, name, page.read(name))
    for name in _SCRIPTS:
        _write(folder, name, _read(name))
    kept = ["./", FACTS, *page.FILES, *_SCRIPTS, *(row["file"] for row in facts["examples"])]
    for path, content in {**library, "NOTICE.txt": litert.NOTICE.encode()}.items() if library else ():
        file = folder / "litert" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    remote = {} if library else {f"litert/{path}": place for path, place in litert.fetched_by_pages().items()}
    later = [name for name in (NETWORK, EXPLANATION) if (folder / name).exists()]
    site = {"files": kept, "later": [*later, *(f"litert/{path}" for path in litert.FILES)], "remote": remote}
    version = hashlib.sha256(_read(_WORKER).encode())
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        version.update(f"{file.relative_to(folder)} {litert.digest(file.read_bytes())}".encode())
    site["version"] = version.hexdigest()[:16]
    _write(folder, _WORKER, f"const SITE = {json.dumps(site)};\n{_read(_WORKER)}")


def _index(name: str) -> str:
    """The page's HTML, which loads nothing from elsewhere and sends nothing there."""
    imports = base64.b64encode(hashlib.sha256(_IMPORTS.encode()).digest()).decode()
    scripts = f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{imports}'"
    policy = f"default-src 'self'; {scripts}; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
    description = f"{name}: what is in an image, computed in this browser."
    head = _HEAD.format(policy=policy, description=html.escape(description), imports=_IMPORTS)
    whole = page.read(page.HTML).replace("<title>keras-nest</title>\n", f"<title>{html.escape(name)}</title>\n{head}")
    return whole.replace('<h1 id="name">&nbsp;</h1>', f'<h1 id="name">{html.escape(name)}</h1>')


def _read(name: str) -> str:
    return importlib.resources.files("keras_nest.export.web").joinpath(name).read_text("utf-8")


def _write(folder: pathlib.Path, name: str, text: str) -> None:
    (folder / name).write_text(text, "utf-8")
