"""The JavaScript of pages, by the name of its file."""

import importlib.resources

from keras_nest import page


def read_scripts(*names: str) -> dict[str, str]:
    """Scripts and style sheets of this package, or of `keras_nest.page`."""
    ours = importlib.resources.files("keras_nest.export.web")
    return {name: page.read(name) if name in page.FILES else ours.joinpath(name).read_text("utf-8") for name in names}


WORKER = "worker.js"
"""What keeps the files of a page; it is completed for each."""

RUNTIME = ("visit.js", "network.js")
"""What opens the networks of any page."""

IMAGES = (*page.FILES, *RUNTIME, "photograph.js", "prepare.js", "backend.js")
"""What answers questions about images."""

TEXTS = ("texts.js", "tokenizer.js", "wordpiece.js", "sentencepiece.js")
"""What reads texts."""
