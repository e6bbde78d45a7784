"""Real photographs that come inside scikit-learn and scikit-image, small, and in class folders."""

import functools
import io

import numpy as np
import skimage.data
import sklearn.datasets
from PIL import ExifTags, Image

CLASSES = {"flower": ["flower"], "person": ["astronaut", "camera"], "place": ["china", "rocket"], "pet": ["chelsea"]}


@functools.cache
def full_size(name):
    """One photograph as stored: uint8, color, gray ("camera", "brick") or with transparency ("logo")."""
    if name in ("china", "flower"):
        bunch = sklearn.datasets.load_sample_images()
        names = [file.rpartition("/")[2] for file in bunch.filenames]
        return Image.fromarray(bunch.images[names.index(f"{name}.jpg")])
    return Image.fromarray(getattr(skimage.data, name)())


@functools.cache
def small(name, size=(48, 36)):
    """The same, width and height as given."""
    return full_size(name).resize(size)


def encoded(image, format="PNG", orientation=None, **options):
    """Content of an image file."""
    if orientation is not None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def noisy(image, seed):
    """Another photograph of the same thing: sensor noise of a few levels."""
    pixels = np.asarray(image).astype(np.int16)
    noise = np.random.default_rng(seed).integers(-9, 10, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def write_folder(root, num_train=4, num_test=2, size=(48, 36)):
    """Writes `root/{train,test}/CLASS/`, JPEG and PNG in turn, gray photographs among them; returns `root`.

    Args:
        root: path of a directory; it may not be there.
        num_train: training images a class.
        num_test: test images a class.
        size: width and height in pixels.
    """
    for split, count, first in (("train", num_train, 0), ("test", num_test, num_train)):
        for class_name, names in CLASSES.items():
            folder = root / split / class_name
            folder.mkdir(parents=True)
            for n in range(first, first + count):
                image = noisy(small(names[n // 2 % len(names)], size), n)
                format, suffix = (("JPEG", "jpg"), ("PNG", "png"))[n % 2]
                (folder / f"{n:03}.{suffix}").write_bytes(encoded(image, format))
    return root
