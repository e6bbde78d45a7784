"""A picture of a page, such as the report of a run, as the documentation shows it; it takes Chromium and playwright.

python -m benchmarks.page_picture runs/own/report.html docs/report.png [--width=1240] [--height=2400]
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
    parser.add_argument("page", type=pathlib.Path)
    parser.add_argument("picture", type=pathlib.Path)
    parser.add_argument("--width", type=int, default=1240, help="of the window, in pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=2400, help="of the page, at most (default: %(default)s)")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": options.width, "height": 900})
        page.goto(options.page.resolve().as_uri())
        whole = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        browser.close()
    whole.crop((0, 0, whole.width, min(whole.height, options.height))).quantize(_COLORS, dither=Image.Dither.NONE).save(
        options.picture, optimize=True
    )


if __name__ == "__main__":
    main()
