"""`keras-nest app`, as its user sees it: a process, and a page in Chromium."""

import io
import pathlib
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_nest.cli import commands as cli
from tests.browser import needs_chromium, overflow, page
from tests.data import photographs


def test_a_port_in_use_is_one_sentence(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = cli.main(["app", "nothing", "--port", str(port)])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err == f"error: Port {port} cannot be had (Address already in use); choose another: --port N.\n"


def test_a_model_that_is_not_there_is_one_sentence(capsys):
    assert cli.main(["app", "nest_tny", "--port", "0"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: There is no model 'nest_tny'; did you mean nest_tiny")
    assert len(err.splitlines()) == 1


@pytest.fixture
def start():
    """Starts the command; the process, and the address that it prints first."""
    started = []

    def run(*words):
        command = [
            pathlib.Path(sys.executable).with_name("keras-nest"),
            "app",
            "--port",
            "0",
            "--no-browser",
            *map(str, words),
        ]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1], started[-1].stdout.readline().strip()

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
@needs_chromium()
@pytest.mark.parametrize(("width", "dark"), [(400, True), (1400, False)])
def test_the_page(start, files, tmp_path, width, dark):
    photographs.full_size("chelsea").save(tmp_path / "my cat.png")
    (tmp_path / "notes.txt").write_text("no image")
    process, address = start(files["run"])
    with page(address, width=width, dark=dark) as seen:
        seen.wait_for_selector("#thumbnails img")
        assert seen.title() == seen.inner_text("h1") == "nest_tiny_s196_224"
        assert overflow(seen) == []
        seen.set_input_files("#file", tmp_path / "my cat.png")
        seen.wait_for_selector("#pictures svg")
        first, *others = seen.locator("#classes button").all()
        name, share = first.inner_text().split("\n")
        assert name in ("owl", "cat, tabby", "猫")
        assert share.endswith(" %")
        assert seen.inner_text("#question") == f"What speaks for {name}"
        other = others[0].inner_text().split("\n")[0]
        seen.click("#methods button:has-text('Activation map')")
        others[0].click()
        seen.wait_for_function("name => document.querySelector('#question').textContent.endsWith(name)", arg=other)
        assert seen.inner_text("#caption").startswith(f"Red speaks for {other}, blue against it.")
        assert shows_a_map(seen.locator("#pictures svg").screenshot())
        assert overflow(seen) == []
        seen.set_input_files("#file", tmp_path / "notes.txt")
        seen.wait_for_selector("#error:not([hidden])")
        assert seen.inner_text("#error").startswith("notes.txt cannot be read as an image;")
        assert seen.locator("#answer").is_hidden()
        seen.click("#thumbnails button")
        seen.wait_for_selector("#answer:not([hidden])")
        assert seen.inner_text("#file-name") == "china.jpg"
        assert seen.locator("#error").is_hidden()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)
    assert process.returncode == 0
    assert "Traceback" not in err


def shows_a_map(encoded):
    """Whether there is a gray photograph, and a map in color over it."""
    pixels = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB")).astype(int)
    colored = np.ptp(pixels, axis=-1) > 40
    return colored.mean() > 0.02 and np.ptp(pixels[~colored].mean(-1)) > 50


@pytest.mark.slow
@needs_chromium()
def test_the_page_asks_a_lit_in_words(start, run, tmp_path):
    Image.new("RGB", (20, 30), (0, 0, 255)).save(tmp_path / "blue.png")
    _, address = start(run)
    with page(address) as seen:
        seen.wait_for_selector("#texts:not([hidden])")
        seen.set_input_files("#file", tmp_path / "blue.png")
        seen.wait_for_selector("#error:not([hidden])")
        assert seen.inner_text("#error").startswith("blue.png is taken. Now write its possible classes in words")
        seen.fill("#labels", "red\nhouse")
        seen.click("#ask")
        seen.wait_for_selector("#classes button")
        assert seen.inner_text("#classes button >> nth=0").startswith("house")
        assert "not for texts" in seen.inner_text("#why-not")
