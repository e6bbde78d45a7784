"""A folder of photographs as people have them: uneven classes, awkward names, broken files, litter of systems."""

import functools

import numpy as np
import skimage.data
from PIL import Image
from sklearn.datasets import load_sample_image

PHOTOGRAPHS = {
    "Katze": skimage.data.chelsea,
    "Kaffee & Kuchen": skimage.data.coffee,
    "Blüten": lambda: load_sample_image("flower.jpg"),
    "rocket[1]": skimage.data.rocket,
    "temple": lambda: load_sample_image("china.jpg"),
    "Astronautin": skimage.data.astronaut,
}
COUNTS = {"Katze": 50, "Kaffee & Kuchen": 30, "Blüten": 60, "rocket[1]": 14, "temple": 40, "Astronautin": 22}
# In turns; the last is a JPEG file with the name of another format.
FORMATS = (("JPEG", "jpg"), ("JPEG", "JPEG"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"), ("TIFF", "tiff"))
FORMATS += (("GIF", "gif"), ("JPEG", "png"))


@functools.cache
def photograph(name):
    return Image.fromarray(PHOTOGRAPHS[name]())


def crop(name, generator, side=48):
    """A square of random size and place."""
    image = photograph(name)
    taken = int(generator.uniform(0.4, 0.8) * min(image.size))
    left, top = (int(generator.integers(length - taken + 1)) for length in image.size)
    return image.resize((side, side), box=(left, top, left + taken, top + taken))


def write_class(folder, name, count, generator, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        kind, suffix = FORMATS[number % len(FORMATS)]
        crop(name, generator).save(folder / f"IMG {number:04} (1).{suffix}", kind)


def write_flat(root, share=1.0, seed=0):
    """`root/CLASS/*`, well-behaved; returns `root`.

    Args:
        root: path of a directory.
        share: of the images of `COUNTS`.
        seed: of the crops.
    """
    generator = np.random.default_rng(seed)
    for name, count in COUNTS.items():
        write_class(root / name, name, max(3, int(share * count)), generator)
    return root


def make_awkward(root):
    """Adds what is wrong with folders of people; returns `root`."""
    whole = (root / "temple" / "IMG 0000 (1).jpg").read_bytes()
    (root / "temple" / "cut off.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "temple" / "empty.jpg").write_bytes(b"")
    (root / "Katze" / "no image.png").write_text("hello")
    (root / "Katze" / "notes.txt").write_text("my cats")
    (root / "Katze" / "without suffix").write_bytes(whole)
    (root / "Katze" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "Katze" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "__MACOSX").mkdir()
    (root / "__MACOSX" / "._IMG.jpg").write_bytes(b"\0\5\26\7")
    (root / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "nothing yet").mkdir()
    write_class(root / "only one", "Katze", 1, np.random.default_rng(9), first=2)
    # The same bytes, the same picture in another format, and both as if of two classes.
    (root / "temple" / "copy.jpg").write_bytes(whole)
    Image.open(root / "temple" / "IMG 0000 (1).jpg").save(root / "temple" / "again.png")
    (root / "Readme.md").write_text("# my photos")
    return root
