"""Time of an image in Chromium: the page of `--format web`, beside TFLite in Python and ONNX Runtime Web.

One image at a time, random weights. The page and TFLite compute the same float16 file, ONNX Runtime Web the float32
file of `--format onnx`, in WebAssembly; a graphics processor that a processor plays is none. All ways take turns, with
one thread and with one for each processor. The first answer is from nothing to the classes of a photograph, with the
files on this machine: of TFLite from opening the file, of the page also at the next visit, from what its worker kept.

Needs `chromium`, and `npm` for LiteRT.js and ONNX Runtime Web. Writes the table to results/browser.csv.
"""

import argparse
import contextlib
import functools
import http.server
import importlib.resources
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from benchmarks import timing
from benchmarks.latency import MODELS
from keras_nest import create_model, export
from keras_nest.export.decoding import unit_preprocessing
from keras_nest.files import local_path
from keras_nest.predict import read_image
from keras_nest.tflite import TFLiteModel

ORT = "1.30.0"
NPM, NONE = "npm", "none"
"""Where ONNX Runtime Web comes from, beside a folder."""
THREADS = os.cpu_count() or 1
FIRST, NEXT = "first answer ms", "at the next visit ms"
_IMAGE = importlib.resources.files("sklearn.datasets") / "images" / "china.jpg"
_PATIENCE = 300_000  # milliseconds
Calls = dict[str, Callable[[], Any]]
# Pages that compute and show nothing: `ready` when they can, `answer()` for one image.
_LITERT = """<!doctype html><link rel="icon" href="data:,"><script type="importmap">{"imports": {
"@litertjs/core": "./litert/core/dist/index.js", "@litertjs/wasm-utils": "./litert/wasm-utils/dist/index.js"}}</script>
<script type="module">
import { open } from "./network.js";
const facts = await (await fetch("model.json")).json();
const wanted = new URLSearchParams(location.search).get("backend");
const networks = await open(facts, wanted, () => {});
const { size, channels } = facts.preprocessing;
const shape = [1, ...size, channels];
const images = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, k) => ((7 * k) % 256) / 255);
window.answer = async () => void (await networks.run("answer", { images: [images, shape] }));
window.ready = networks.backend;
</script>"""
_ONNX = """<!doctype html><link rel="icon" href="data:,"><script type="module">
import * as ort from "./ort/ort.wasm.min.mjs";
const asked = new URLSearchParams(location.search);
ort.env.wasm.wasmPaths = new URL("ort/", location).href;
ort.env.wasm.numThreads = Number(asked.get("threads"));
const session = await ort.InferenceSession.create("model.onnx", { executionProviders: ["wasm"] });
const shape = asked.get("shape").split(",").map(Number);
const images = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, k) => ((7 * k) % 256) / 255);
window.answer = async () => void (await session.run({ images: new ort.Tensor("float32", images, shape) }));
window.ready = "ONNX Runtime Web";
</script>"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=MODELS, help="names of keras_nest.list_models()")
    parser.add_argument("--runs", type=int, default=11, help="interleaved rounds; of first answers a third as many")
    parser.add_argument("--ort", default=NPM, help="folder dist/ of npm's onnxruntime-web; none leaves it out")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    models = {"nest_tiny_s16_32": timing.TOY_NEST} if options.quick else {name: {} for name in options.models}
    rows = []
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        browser = stack.enter_context(_browser())
        library = _library(options.ort, folder)
        for name, fields in models.items():
            model = create_model(name, **fields)
            write_site(model, folder / name, library)
            rows += measure(model, folder / name, browser, 2 if options.quick else options.runs)
    timing.report("One image in Chromium", rows, options.results / "browser.csv", f"on {THREADS} processors")


@contextlib.contextmanager
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def _library(source: str, folder: pathlib.Path) -> pathlib.Path | None:
    """Where ONNX Runtime Web lies, for which npm has the folder."""
    if source != NPM:
        return None if source == NONE else pathlib.Path(source)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder / "npm")]
    subprocess.run([*command, f"onnxruntime-web@{ORT}"], check=True)
    return folder / "npm/node_modules/onnxruntime-web/dist"


def write_site(model: keras.Model, folder: pathlib.Path, library: pathlib.Path | None) -> None:
    """Writes the page, the ONNX file, and pages that compute without showing anything.

    Args:
        model: a classifier.
        folder: where to write.
        library: ONNX Runtime Web; None leaves it out.
    """
    export.to_web(model, folder, litert_from="npm")
    (folder / "litert.html").write_text(_LITERT, "utf-8")
    if library is None:
        return
    export.to_onnx(model, folder / "model.onnx", activation="none")
    (folder / "ort").mkdir()
    for file in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        shutil.copy(library / file, folder / "ort")
    (folder / "onnx.html").write_text(_ONNX, "utf-8")


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Any web server; `headers_of_all` are those of a particular one."""

    headers_of_all: ClassVar[Mapping[str, str]] = {}

    def end_headers(self) -> None:
        for name, value in self.headers_of_all.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


class _Isolated(_Handler):
    """With the headers that threads need."""

    headers_of_all: ClassVar = {
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
    }


@contextlib.contextmanager
def _served(folder: pathlib.Path, handler: type[_Handler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measure(model: keras.Model, folder: pathlib.Path, browser: Browser, runs: int) -> list[dict[str, Any]]:
    """A row for each way to compute.

    Args:
        model: a classifier.
        folder: as `write_site` has written it.
        browser: that computes.
        runs: interleaved rounds.
    """
    shape = (1, *model.input.shape[1:])
    asked = f"shape={','.join(map(str, shape))}"
    with contextlib.ExitStack() as stack:
        plain, isolated = (stack.enter_context(_served(folder, handler)) for handler in (_Handler, _Isolated))
        calls: Calls = {}
        for threads in sorted({1, THREADS}):
            file = TFLiteModel(folder / "model.tflite", threads)
            calls[_python(threads)] = functools.partial(file, np.full(shape, 0.5, np.float32))
        for address in (
            f"{plain}/litert.html?backend=wasm",
            f"{isolated}/litert.html?backend=wasm",
            f"{isolated}/litert.html",
        ):
            page = _opened(browser.new_context(), address)
            calls[f"page, {page.evaluate('ready')}"] = functools.partial(page.evaluate, "answer()")
        has_onnx = (folder / "onnx.html").exists()
        for threads in sorted({1, THREADS} if has_onnx else ()):
            page = _opened(browser.new_context(), f"{isolated}/onnx.html?threads={threads}&{asked}")
            calls[_onnx(threads)] = functools.partial(page.evaluate, "answer()")
        rounds = timing.interleave(calls, runs, model.name)
        for context in browser.contexts:
            context.close()
        onnx = f"{isolated}/onnx.html?threads={THREADS}&{asked}" if has_onnx else None
        visits = _first_answers(model, folder, browser, plain, onnx)
        firsts = timing.interleave(visits, -(-runs // 3), "first answers", settled=False)
    best = next(name for name in reversed(calls) if name.startswith("page, "))
    told = {
        _python(THREADS): {FIRST: "TFLite"},
        best: {FIRST: "page", NEXT: "page again"},
        _onnx(THREADS): {FIRST: "ONNX"},
    }
    return [
        {
            "model": model.name,
            "way": name,
            "median ms": rounds.median(name) * 1e3,
            "x TFLite": rounds.ratio(name, _python(1 if name.endswith("one thread") else THREADS)),
            **{
                column: firsts.median(call) * 1e3 if (call := told.get(name, {}).get(column)) else None
                for column in (FIRST, NEXT)
            },
        }
        for name in calls
    ]


def _python(threads: int) -> str:
    return f"TFLite in Python, {_in_words(threads)}"


def _onnx(threads: int) -> str:
    return f"ONNX Runtime Web, {_in_words(threads)}"


def _in_words(threads: int) -> str:
    return f"{threads} threads" if threads > 1 else "one thread"


def _opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.set_default_timeout(_PATIENCE)
    page.goto(address)
    page.wait_for_function("window.ready")
    return page


def _first_answers(model: keras.Model, folder: pathlib.Path, browser: Browser, plain: str, onnx: str | None) -> Calls:
    """Calls that end with the first answer."""
    prepare = unit_preprocessing(model)
    kept = browser.new_context()

    def page(context: BrowserContext) -> None:
        seen = context.new_page()
        seen.set_default_timeout(_PATIENCE)
        seen.goto(f"{plain}/")
        seen.wait_for_selector("#about:not([hidden])")
        seen.set_input_files("#file", str(_IMAGE))
        seen.wait_for_selector("#answer:not([hidden])")
        seen.close()

    def afresh(look: Callable[[BrowserContext], Any]) -> Callable[[], None]:
        def call() -> None:
            with browser.new_context() as context:
                look(context)

        return call

    return {
        "TFLite": lambda: TFLiteModel(folder / "model.tflite", THREADS)(prepare([read_image(str(_IMAGE))]).numpy()),
        "page": afresh(page),
        "page again": lambda: page(kept),
        **({"ONNX": afresh(lambda context: _opened(context, onnx).evaluate("answer()"))} if onnx else {}),
    }


if __name__ == "__main__":
    main()
