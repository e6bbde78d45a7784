"""How an image is to be turned, as its file says."""

import io

from PIL import ExifTags, Image

UPRIGHT = 1
"""The orientation, counted as EXIF does, of an image that need not be turned."""


def orientation_of(encoded: bytes) -> int:
    """Orientation that the EXIF data of an image file states.

    Args:
        encoded: content of the file, as `image_files.decodable` makes it.

    Returns:
        1 (upright, also where nothing or nonsense is stated) to 8.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # what Pillow raises about bad EXIF data is not listed anywhere
        return UPRIGHT
    return int(orientation) if orientation in range(1, 9) else UPRIGHT
