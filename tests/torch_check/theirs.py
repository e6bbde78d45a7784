"""The side of timm and transformers in `make test-torch`: opens what ours.py wrote, compares, writes back."""

import csv
import pathlib
import sys
from unittest.mock import MagicMock

import numpy as np
import torch
from transformers import ViTForImageClassification

# timm imports torchvision for data, augmentation and feature extraction, of which nothing here is used; the real one
# wants a PyTorch with CUDA of 5 GB.
_UNUSED = (
    "",
    ".datasets",
    ".models",
    ".models.feature_extraction",
    ".ops",
    ".ops.misc",
    ".transforms",
    ".transforms.functional",
)
sys.modules |= {f"torchvision{name}": MagicMock() for name in _UNUSED}

import timm  # noqa: E402
from timm.models import _registry, save_for_hf  # noqa: E402

TOLERANCE = 2e-5  # of the largest logit
TABLE = pathlib.Path(__file__).parents[2] / "keras_nest" / "models" / "timm.csv"


def check_tags() -> None:
    """Names without a tag mean the same here as in timm, and old names, too."""
    with TABLE.open(newline="") as file:
        rows = [(*row["name"].split("."), row["default"], row["old_names"]) for row in csv.DictReader(file)]
    ours = {architecture: tag for architecture, tag, default, _ in rows if default}
    assert ours == {architecture: timm.models.get_pretrained_cfg(architecture).tag for architecture, *_ in rows}
    for architecture, tag, default, old_names in rows:
        new = {f"{architecture}.{tag}"} | ({architecture} if default else set())
        assert all(_registry._deprecated_models[name] in new for name in old_names.split()), old_names


def check(folder: pathlib.Path) -> None:
    """Opens, compares, and writes each model with the program's own means."""
    opened = sorted((folder / "ours").glob("*/*"))
    assert len(opened) == 4, opened
    for path in opened:
        program, architecture = path.parent.name, path.name
        back = folder / "theirs" / program / architecture
        back.parent.mkdir(parents=True, exist_ok=True)
        if program == "timm":
            model = timm.create_model(f"local-dir:{path}", pretrained=True)
            assert model.default_cfg["architecture"] == architecture
            save_for_hf(model, back, safe_serialization=True)
            torch.save(model.state_dict(), back.with_suffix(".pth"))
        else:
            model = ViTForImageClassification.from_pretrained(path)
            model.save_pretrained(back)
        with np.load(folder / f"{architecture}.npz") as told, torch.inference_mode():
            outputs = model.eval()(torch.from_numpy(told["images"]).permute(0, 3, 1, 2))
            logits = getattr(outputs, "logits", outputs).numpy()
            gap = float(np.abs(logits - told["logits"]).max() / np.abs(told["logits"]).max())
        print(f"{path.relative_to(folder)}: {gap:.1e}")
        assert gap <= TOLERANCE, path


if __name__ == "__main__":
    check_tags()
    check(pathlib.Path(sys.argv[1]))
