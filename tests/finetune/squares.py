"""Images of colored squares on a gray of some brightness: several labels and a number that a small model can learn."""

import csv

import numpy as np
from PIL import Image

COLORS = {"blue": (40, 60, 230), "green": (40, 220, 60), "red": (230, 40, 40)}
SIDE = 32


def draw(generator):
    """An image uint8 (32, 32, 3), the names of its squares, and its brightness."""
    brightness = float(generator.uniform(20, 200))
    image = np.full((SIDE, SIDE, 3), brightness) + generator.normal(0, 6, (SIDE, SIDE, 3))
    names = [name for name in COLORS if generator.random() < 0.4]
    for name in names:
        top, left = generator.integers(0, SIDE - 12, 2)
        image[top : top + 12, left : left + 12] = COLORS[name]
    return np.clip(image, 0, 255).astype(np.uint8), names, brightness


def write(folder, count=90, seed=0):
    """Writes images and lists of them; returns (file, names of squares, brightness) of each."""
    folder.mkdir(parents=True, exist_ok=True)
    generator, rows = np.random.default_rng(seed), []
    for number in range(count):
        image, names, brightness = draw(generator)
        Image.fromarray(image).save(folder / f"{number}.png")
        rows.append((f"{number}.png", names, brightness))
    write_list(folder / "squares.csv", ("file", "squares"), ((file, "|".join(names)) for file, names, _ in rows))
    write_list(folder / "brightness.csv", ("file", "brightness"), ((file, value) for file, _, value in rows))
    return rows


def write_list(path, columns, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path
