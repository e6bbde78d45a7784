"""A page in a real Chromium, as its reader sees it: `with page(address, width=400) as seen: …`."""

import base64
import contextlib
import functools
import http.server
import os
import shutil
import threading

import pytest

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
# A camera that films a test picture, and that nobody asks whether it may.
_FLAGS += ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]


def needs_chromium():
    """Skips a test on machines without Chromium; where everything must be tested, it fails there."""
    return pytest.mark.skipif(
        shutil.which("chromium") is None and not os.environ.get("CI"), reason="there is no program `chromium`"
    )


@contextlib.contextmanager
def page(address, width=1400, height=900, dark=False, faulty=False):
    """Opens an address (file:// or http://127.0.0.1:…) in a window; yields a page of Playwright.

    Nothing of other hosts is loaded. At the end the test fails for errors of scripts, what the console calls an error,
    and requests that got no answer or that another host should have answered; of a `faulty` page, if there are none.
    """
    from playwright.sync_api import sync_playwright

    errors = []

    def only_this_machine(route):
        if route.request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:")):
            route.continue_()
        else:
            errors.append(f"asks for {route.request.url}")
            route.abort()

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        try:
            scheme = "dark" if dark else "light"
            seen = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            seen.set_default_timeout(180_000)  # what answers may be compiling, on a machine with other work
            seen.on("pageerror", lambda error: errors.append(str(error)))
            seen.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
            seen.on("requestfailed", lambda request: errors.append(f"no answer from {request.url}"))
            seen.route("**/*", only_this_machine)
            seen.goto(address)
            yield seen
        finally:
            browser.close()
    assert bool(errors) == faulty, errors


def overflow(seen):
    """Elements that reach beyond the right edge of the window, as their opening tags; of a good page none."""
    return seen.evaluate(
        """() => [...document.body.querySelectorAll('*')]
            .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
            .filter(each => !each.closest('[data-scrolls]'))
            .map(each => each.cloneNode(false).outerHTML.slice(0, 200))"""
    )


# Drops or pastes a file, or words.
_HAND_OVER = """([kind, content, name]) => {
    const bytes = Uint8Array.from(atob(content ?? ""), (letter) => letter.charCodeAt(0));
    const data = new DataTransfer();
    if (content === null) data.setData("text/plain", name);
    else data.items.add(new File([bytes], name));
    const facts = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
    const event = kind === "paste" ? new ClipboardEvent(kind, facts) : new DragEvent(kind, facts);
    document.body.dispatchEvent(event);
}"""


def hand_over(seen, kind, name, content=None):
    """Drops ("drop") or pastes ("paste") a file of this name and content, bytes; without content the name as text."""
    seen.evaluate(_HAND_OVER, [kind, content and base64.b64encode(content).decode(), name])


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Any web server: no header that a page of static files cannot count on, but that others may read it."""

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def served(folder):
    """Address of a folder on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def ready(seen):
    """Waits until the page has its model, which it may load twice: the worker takes the second time."""
    seen.wait_for_selector("#about:not([hidden]), #error:not([hidden])")
    assert seen.inner_text("#error") == ""
