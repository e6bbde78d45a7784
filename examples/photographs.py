"""Writes the photographs inside scikit-learn and scikit-image as class folders, for trainings that need no download.

python examples/photographs.py photos [--train=200] [--test=20]

photos/{train,test}/CLASS/ get random crops of one photograph a class, photos/mosaic.png four photographs in one. Crops
of the same photograph overlap: this shows how the commands work on your own, not how well a model recognizes others.
"""

import argparse
import pathlib

import numpy as np
import skimage.data
from PIL import Image, ImageOps
from sklearn.datasets import load_sample_image

PHOTOGRAPHS = {
    "astronaut": skimage.data.astronaut,
    "cat": skimage.data.chelsea,
    "coffee": skimage.data.coffee,
    "flower": lambda: load_sample_image("flower.jpg"),
    "rocket": skimage.data.rocket,
    "temple": lambda: load_sample_image("china.jpg"),
}
# Sides of the crops, as fractions of the shorter side of a photograph.
SMALLEST, LARGEST = 0.3, 1.0
SIDE = 160
MOSAIC = ("cat", "temple", "coffee", "flower")


def main() -> None:
    """Writes all crops and the mosaic."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--train", type=int, default=200, metavar="N", help="crops a class (default: %(default)s)")
    parser.add_argument("--test", type=int, default=20, metavar="N", help="likewise (default: %(default)s)")
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    for name, read in PHOTOGRAPHS.items():
        photograph = Image.fromarray(read())
        for split, count in (("train", options.train), ("test", options.test)):
            folder = options.folder / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                random_crop(photograph, generator).save(folder / f"{number:04}.jpg", quality=92)
    mosaic([Image.fromarray(PHOTOGRAPHS[name]()) for name in MOSAIC]).save(options.folder / "mosaic.png")
    print(f"{len(PHOTOGRAPHS)} photographs, {options.train + options.test} crops of each, in {options.folder}.")


def random_crop(photograph: Image.Image, generator: np.random.Generator) -> Image.Image:
    """A square of random size and place, resized to `SIDE` pixels."""
    side = int(generator.uniform(SMALLEST, LARGEST) * min(photograph.size))
    left, top = (int(generator.integers(length - side + 1)) for length in photograph.size)
    return photograph.resize((SIDE, SIDE), box=(left, top, left + side, top + side))


def mosaic(photographs: list[Image.Image]) -> Image.Image:
    """The middle squares of four photographs, two in a row."""
    image = Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for number, photograph in enumerate(photographs):
        row, column = divmod(number, 2)
        image.paste(ImageOps.fit(photograph, (SIDE, SIDE)), (column * SIDE, row * SIDE))
    return image


if __name__ == "__main__":
    main()
