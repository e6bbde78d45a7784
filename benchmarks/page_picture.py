"""A picture of a page as the documentation shows it, with the Chromium of the machine.

python -m benchmarks.page_picture runs/own/report.html docs/report.png --height=2520
keras-nest app runs/own --no-browser &
python -m benchmarks.page_picture http://127.0.0.1:7860 docs/app.png --width=1000 --image=china.jpg
python -m http.server --directory site &
python -m benchmarks.page_picture http://127.0.0.1:8000 docs/web.png --width=1000 --image=china.jpg
"""

import argparse
import io
import pathlib
import shutil

from PIL import Image
from playwright.sync_api import sync_playwright

_COLORS = 256  # of a palette, with which the file is a third of the size


def main() -> None:
    """Takes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", help="file, or an address of this machine")
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=1240, help="of the window, in pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=2400, help="of the page, at most (default: %(default)s)")
    parser.add_argument("--image", help="given to the page of `keras-nest app`, or of `--format web`, first")
    parser.add_argument("--method", default="Activation map", help="what that explains it by (default: %(default)s)")
    options = parser.parse_args()
    whole = Image.open(io.BytesIO(look(options))).convert("RGB")
    whole = whole.crop((0, 0, whole.width, min(whole.height, options.height)))
    whole.quantize(_COLORS, dither=Image.Dither.NONE).save(options.picture, optimize=True)


def look(options: argparse.Namespace) -> bytes:
    """The whole page as PNG."""
    is_address = options.page.startswith("http")
    address = options.page if is_address else pathlib.Path(options.page).resolve().as_uri()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": options.width, "height": 700})
        page.goto(address)
        if options.image:
            page.wait_for_load_state("networkidle")  # a page of `--format web` comes twice at the first visit
            page.set_input_files("#file", options.image)
            page.wait_for_selector("#pictures svg, #why-not:visible")  # what words say has no map
            method = page.locator(f"#methods button:has-text('{options.method}')")
            if method.count():  # one alone is not offered
                method.click()
                page.wait_for_load_state("networkidle")
                page.locator("#pictures svg").first.wait_for()
        content = page.screenshot(full_page=True)
        browser.close()
        return content


if __name__ == "__main__":
    main()
