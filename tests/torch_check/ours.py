"""Our side of `make test-torch`, without PyTorch: writes models for timm and transformers, and reads theirs."""

import pathlib
import sys

import numpy as np

import keras_nest
from keras_nest.conversion import write_timm, write_transformers
from tests import keras_models
from tests.families import randomized

# timm's architecture -> ours of that size.
MODELS = {"nest_tiny_jx": "nest_tiny_s196_224", "vit_small_patch16_224": "ViT-S_16", "mixer_b16_224": "Mixer-B_16"}
TOLERANCE = 2e-5  # of the largest logit


def write(folder: pathlib.Path) -> None:
    """Models of random weights for each program, and an archive of two images with the logits."""
    for seed, (architecture, name) in enumerate(MODELS.items()):
        model = randomized(keras_nest.create_model(name, num_classes=1000, activation="gelu"), seed)
        images = np.random.default_rng(seed).standard_normal((2, *model.input_shape[1:])).astype(np.float32)
        write_timm(model, folder / "ours" / "timm" / architecture)
        if architecture.startswith("vit"):
            write_transformers(model, folder / "ours" / "transformers" / architecture)
        np.savez(folder / f"{architecture}.npz", images=images, logits=np.asarray(model(images)))


def read(folder: pathlib.Path) -> None:
    """What theirs.py wrote after comparing gives the same logits."""
    written = sorted((folder / "theirs").glob("*/*"))
    assert len(written) == 7, written  # 3 directories and 3 files of timm, 1 directory of transformers
    for path in written:
        architecture = path.stem
        # A file without config.json says less than its architecture does.
        name = MODELS[architecture] if path.suffix else None
        model = keras_nest.create_model(name, weights=str(path), **({"activation": "gelu"} if name else {}))
        with np.load(folder / f"{architecture}.npz") as told:
            gap = keras_models.gap(np.asarray(model(told["images"])), told["logits"]) / np.abs(told["logits"]).max()
        print(f"{path.relative_to(folder)}: {gap:.1e}")
        assert gap <= TOLERANCE, path


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](pathlib.Path(sys.argv[2]))
