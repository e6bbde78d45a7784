"""README and docs/ as tests read them: pages by name, and the code that stands in them."""

import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Relative to the root; the pages of docs/api/ hold nothing but names.
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]


@functools.cache
def read(page):
    """Text of a page."""
    return (ROOT / page).read_text("utf-8")


def blocks(page, language):
    """Content of the fenced blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)


def block(page, *words):
    """The one Python block of a page that has all these words."""
    (found,) = [each for each in blocks(page, "python") if all(word in each for word in words)]
    return found


def commands(page):
    """Lines of the shell blocks, without comments; a line that goes on is one command."""
    lines = "\n".join(blocks(page, "shell")).replace("|\n", "|").splitlines()
    return [line.split("  #")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
