"""README and docs/ as tests read them: pages by name, and the code that stands in them."""

import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Relative to the root; the pages of docs/api/ hold nothing but names.
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))]

# Pages whose Python blocks are one program each, with what is run before.
PYTHON = {
    "README.md": "",
    "docs/getting-started.md": "",
    "docs/guides/checkpoints.md": "",
    "docs/guides/fine-tuning.md": "",
    "docs/guides/your-own-model.md": "",
    "docs/guides/quantization-and-lora.md": "",
    "docs/guides/data.md": "",
    "docs/guides/explaining.md": "",
    "docs/guides/lit.md": "",
    "docs/guides/export.md": "",
    "docs/guides/tflite.md": "from keras_nest.data.sources import digits\n"
    "train_images, test_images = (part.images[:100] / 255.0 for part in digits.load()[:2])\n"
    "train_images, test_images, images = (x.astype('float32') for x in (train_images, test_images, test_images))\n",
    "docs/development/add-a-family.md": "",
    "docs/development/add-a-data-set.md": "",
    "docs/development/add-an-export-format.md": "",
}
# Blocks that other tests run, by words that stand in them.
ELSEWHERE = {
    'KERAS_BACKEND"] = "jax"': "tests/test_backends.py",
    "training.ContrastiveTrainer(": "tests/test_snippets.py",
    "grpc.insecure_channel": "tests/export/test_serving.py, on a stand-in for the server",
}


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
