"""Takes the picture of `keras-nest app` that the documentation shows, with the Chromium of the machine.

python examples/app_picture.py MODEL IMAGE docs/app.png [--method="Activation map"]
"""

import argparse
import io
import shutil
import threading

from PIL import Image
from playwright.sync_api import sync_playwright

from keras_nest.app.examples import find_examples
from keras_nest.app.model import open_app_model
from keras_nest.app.server import Server
from keras_nest.figures import picture_file

WIDTH, HEIGHT, COLORS = 1000, 700, 192


def main() -> None:
    """Serves the page, asks it, and writes what it shows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("image")
    parser.add_argument("picture", help="PNG file, overwritten")
    parser.add_argument("--method", default="Activation map", help="as the page calls it (default: %(default)s)")
    options = parser.parse_args()
    with Server(0) as server:
        server.model = open_app_model(options.model)
        server.show(find_examples(options.model))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        content = look(server.address, options.image, options.method)
        server.shutdown()
    with picture_file(options.picture, overwrite=True) as partial:
        # A palette takes a third of the bytes, and nobody sees it.
        Image.open(io.BytesIO(content)).convert("RGB").quantize(COLORS).save(partial, optimize=True)


def look(address: str, image: str, method: str) -> bytes:
    """The page as PNG, after it was given an image."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        page.set_input_files("#file", image)
        page.wait_for_selector("#pictures svg")
        page.click(f"#methods button:has-text('{method}')")
        page.wait_for_load_state("networkidle")
        page.locator("#pictures svg").first.wait_for()
        content = page.screenshot(full_page=True)
        browser.close()
        return content


if __name__ == "__main__":
    main()
