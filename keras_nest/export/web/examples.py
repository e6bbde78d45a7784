"""Images that a page begins with."""

import importlib.resources
import io
import os
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from keras_nest.predict.images import read_image

_SHOWN = 1024  # pixels of the longer side
_CREDIT = "Examples: photographs by danielbuechele and vultilion, CC BY 2.0, from scikit-learn."


class Example(NamedTuple):
    """An image to begin with.

    Attributes:
        name: of its file.
        content: a JPEG file, without what cameras write beside the pixels, such as the place.
        credit: whose it is, in a sentence; "" where that is not known.
    """

    name: str
    content: bytes
    credit: str = ""


def read_examples(paths: Sequence[str | os.PathLike[str]] | None) -> list[Example]:
    """Images for a page.

    Args:
        paths: files; None takes two photographs of scikit-learn.

    Raises:
        ValueError: a file is no image.
        FileNotFoundError: it is not there.
    """
    if paths is None:
        samples = importlib.resources.files("sklearn.datasets") / "images"
        files = [pathlib.Path(str(samples / name)) for name in ("china.jpg", "flower.jpg")]
        return [Example(file.name, _encoded(file), _CREDIT) for file in files]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(f"There is no file {os.fspath(missing[0])}; each example must be an image file.")
    return [Example(pathlib.Path(path).name, _encoded(pathlib.Path(path))) for path in paths]


def _encoded(path: pathlib.Path) -> bytes:
    image, content = Image.fromarray(read_image(path)), io.BytesIO()
    image.thumbnail((_SHOWN, _SHOWN))
    image.save(content, "jpeg", quality=90)
    return content.getvalue()
