"""The folder of a page: what the model computes, who it is, examples, and the page itself."""

import base64
import hashlib
import html
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from keras_nest.backends import require_tensorflow
from keras_nest.choices import WEB_PRECISIONS
from keras_nest.export.exporter import check_option
from keras_nest.export.exporters import exporter_for
from keras_nest.export.lit import LiTExporter, open_tokenizer
from keras_nest.export.network import TO_A_FILE
from keras_nest.export.web import litert
from keras_nest.export.web.classifier import classifier_page
from keras_nest.export.web.examples import read_examples
from keras_nest.export.web.files import Page, as_json, write_networks
from keras_nest.export.web.scripts import WORKER, read_scripts
from keras_nest.export.web.zero_shot import zero_shot_page
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place

FACTS = "model.json"
"""What the page knows of its model; also how a folder is known to be such a page."""

_INDEX = "index.html"
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
    vocab: str | os.PathLike[str] | None = None,
    templates: Sequence[str] | None = None,
) -> Place:
    """Writes a page that classifies images in the browser: static files, for any web server.

    `DIRECTORY/index.html` takes images that are dropped, pasted, chosen or taken with the camera, prepares them as
    `keras_nest.preprocessor` does, and runs `model.tflite` with LiteRT.js, on WebGPU or in WebAssembly. It shows the
    most probable classes, and where in the image a class comes from: `explain.tflite` computes the class
    activation map. Nothing is sent anywhere, and once loaded the page works offline. It begins with a test that the
    browser computes what Python does.

    Of a LiT the classes are what people write there, and the answers those of `ZeroShotClassifier`: `image.tflite` and
    `text.tflite` are the towers, and token ids are made by JavaScript as by `get_tokenizer`. It has no heat maps.

    Args:
        model: a classifier of gray or color images, of this package or a user's around one; or a LiT.
        directory: the folder, or an address such as gs://bucket/site; it appears complete or not at all.
        overwrite: replace a page that lies there.
        precision: of the weights: "float16", "float32", or "dynamic_int8", a quarter of the size of the latter and less
            exact.
        class_names: in the order of the logits; None takes those of a published head. Of a LiT the texts that the page
            begins with; None has none.
        activation: from logits to probabilities, "softmax" or "sigmoid"; None as in `to_tflite`.
        title: what the page is called; None takes the name of the model.
        examples: image files to begin with, which become JPEG files of 1,024 pixels at most without what else was in
            them; None takes two photographs of scikit-learn.
        metrics: what the training measured, which the page tells: `top1` of `examples`.
        litert_from: a folder that `npm pack @litertjs/core@… @litertjs/wasm-utils@…` or `npm install` has filled; "npm"
            runs that; "cdn" writes a page that fetches LiteRT.js from a content network, by its checksums. None takes
            npm if it is installed and reaches its registry, else "cdn".
        preprocessing: as `to_saved_model` takes it.
        vocab: vocabulary file of LiT's text tower.
        templates: sentences in which `{}` stands for a text of a LiT, that the page begins with; None has the texts as
            they are.

    Returns:
        The folder.

    Raises:
        ValueError: a model that is no classifier of images, or does not say how its images are prepared; an unknown
            option, or one that means nothing to the model; not as many class names as classes; an example that is no
            image; a vocabulary that is missing or of a kind that the page does not know; a folder that is no page is in
            the way; files of another LiteRT.js; or Keras does not run on TensorFlow. Nothing is written then.
        FileExistsError: something lies there and `overwrite` is false.
        FileNotFoundError: there is no such folder or example.
        OSError: the folder cannot be written.
    """
    require_tensorflow("export.to_web", TO_A_FILE.format("web"))
    place = checked_place(directory, overwrite)
    check_option("precision", precision, WEB_PRECISIONS)
    exporter = exporter_for(model, preprocessing)
    exporter.check_web(activation)
    if isinstance(exporter, LiTExporter):
        tokenizer = open_tokenizer(exporter.model, vocab)
        whole = zero_shot_page(
            exporter.model, tokenizer, precision, class_names or (), templates, title, read_examples(examples)
        )
    else:
        if vocab is not None or templates is not None:
            raise ValueError("A vocabulary and templates are for LiT models; leave them out.")
        whole = classifier_page(
            exporter.model, precision, class_names, activation, title, metrics or {}, read_examples(examples)
        )
    return write_page(whole, place, overwrite, litert_from)


def checked_place(directory: str | os.PathLike[str], overwrite: bool) -> Place:
    """A place where a page may be written; arguments and errors as of `to_web`."""
    place = as_place(directory)
    if place.exists() and not place.is_dir():
        raise NotADirectoryError(f"{place} is a file; it must be a folder for the page.")
    if place.exists() and not overwrite:
        raise FileExistsError(f"{place} exists already; pass overwrite=True (--overwrite) to replace it.")
    if place.exists() and any(place.iterdir()) and not (place / FACTS).is_file():
        raise ValueError(f"{place} holds something else than a page of this command, and is not replaced.")
    return place


def write_page(page: Page, place: Place, overwrite: bool, litert_from: str | os.PathLike[str] | None) -> Place:
    """Writes a page; arguments and errors as of `to_web`.

    Args:
        page: what it has of its own.
        place: as `checked_place` gives it.
        overwrite: replace what lies there.
        litert_from: where LiteRT.js comes from.
    """
    library = litert.find_files(litert_from)
    networks, more = page.build()
    with output_at(place, overwrite) as folder:
        folder.mkdir()
        facts = {**page.facts, **more, "litert": {"version": litert.VERSION, "fetched": library is None}}
        facts |= write_networks(networks, folder)
        _write(folder, {FACTS: as_json(facts), _INDEX: _index(page), **page.scripts, **page.files})
        if library:
            _write(folder, {f"litert/{path}": content for path, content in library.items()})
            _write(folder, {"litert/NOTICE.txt": litert.NOTICE})
        # Last, since it knows all files.
        _write(folder, {WORKER: _worker(page, folder, library is None)})
    return place


def _worker(page: Page, folder: pathlib.Path, is_library_elsewhere: bool) -> str:
    """The script that keeps the files of a folder for the next visit."""
    text = read_scripts(WORKER)[WORKER]
    later = [file.name for file in sorted(folder.glob("*.tflite"))]
    remote = {f"litert/{path}": there for path, there in litert.fetched_by_pages().items()}
    site = {
        "files": ["./", FACTS, *page.scripts, *page.files],
        "later": [*later, *(f"litert/{path}" for path in litert.FILES)],
        "remote": remote if is_library_elsewhere else {},
    }
    version = hashlib.sha256(text.encode())
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        version.update(f"{file.relative_to(folder)} {litert.digest(file.read_bytes())}".encode())
    site["version"] = version.hexdigest()[:16]
    return f"const SITE = {json.dumps(site)};\n{text}"


def _index(page: Page) -> str:
    """The page's HTML, which loads nothing from elsewhere and sends nothing there."""
    imports = base64.b64encode(hashlib.sha256(_IMPORTS.encode()).digest()).decode()
    scripts = f"script-src 'self' 'wasm-unsafe-eval' 'sha256-{imports}'"
    policy = f"default-src 'self'; {scripts}; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'"
    name = page.facts["name"]
    head = _HEAD.format(policy=policy, description=html.escape(f"{name}: {page.summary}"), imports=_IMPORTS)
    whole = page.html.replace("<title>keras-nest</title>\n", f"<title>{html.escape(name)}</title>\n{head}")
    return whole.replace('<h1 id="name">&nbsp;</h1>', f'<h1 id="name">{html.escape(name)}</h1>')


def _write(folder: pathlib.Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
