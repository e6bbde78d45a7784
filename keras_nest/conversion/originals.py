"""Weights of timm and transformers in these programs themselves, which need not be installed."""

import os
import pathlib
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from keras_nest import buckets
from keras_nest.conversion.pytorch.config_file import timm_architectures
from keras_nest.conversion.pytorch.files import CONFIG, IN_DIRECTORIES, is_pytorch, read_tensors
from keras_nest.conversion.pytorch.translate import family
from keras_nest.conversion.sources import locate
from keras_nest.copies import cached
from keras_nest.models import PublishedModel
from keras_nest.models.keras_file import find_keras_file
from keras_nest.optional import import_optional
from keras_nest.untrusted.json_text import read_object


class Original(NamedTuple):
    """The program that a checkpoint is of.

    Attributes:
        program: "timm" or "transformers".
        weights: the file.
        config: content of the config.json beside it; empty if there is none.
    """

    program: str
    weights: pathlib.Path
    config: dict[str, Any]

    def check(self) -> None:
        """Refuses what the program cannot open, or has not got.

        Raises:
            ModuleNotFoundError: it is not installed.
            ValueError: it opens no such files.
        """
        import_optional(
            self.program, f"Weights of {self.program} are compared with {self.program} itself", self.program
        )
        if self.weights.suffix == ".json" and self.program == "timm":
            raise ValueError("timm opens no weights in several files")
        if not self.config and self.program == "transformers":
            raise ValueError("transformers opens no weights without a config.json")

    def outputs(self, model: PublishedModel, name: str, images: np.ndarray) -> tuple[np.ndarray, str]:
        """What the program computes.

        Args:
            model: that of the same weights here; only its configuration is used.
            name: its full published name.
            images: normalized float32 (B, H, W, channels).

        Returns:
            float32 (B, num_classes), or (B, C) without a head; and name and version of the program.

        Raises:
            ValueError: it cannot open the weights.
        """
        import torch

        package = import_optional(self.program, "", self.program)
        build = {"timm": self._timm, "transformers": self._transformers}[self.program]
        try:
            with torch.inference_mode():
                outputs = build(package, model, name)(torch.from_numpy(np.moveaxis(images, -1, 1).copy()))
        # Which one it is that weights do not fit, or a model cannot be built, is the program's affair.
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{self.program} cannot open {self.weights}, so nothing was compared: {reason}") from None
        return outputs.numpy(), f"{self.program} {package.__version__}"

    def _timm(self, timm: Any, model: PublishedModel, name: str) -> Any:
        if self.config and self.weights.name in IN_DIRECTORIES:
            return timm.create_model(f"local-dir:{self.weights.parent}", pretrained=True).eval()
        architectures = [theirs for theirs, ours in timm_architectures().items() if ours == name]
        if not architectures:
            raise ValueError(f"it has no {name}")
        return timm.create_model(
            architectures[0],
            checkpoint_path=str(self.weights),
            num_classes=model.num_classes,
            img_size=model.image_size,
            in_chans=model.config["in_channels"],
        ).eval()

    def _transformers(self, transformers: Any, model: PublishedModel, name: str) -> Any:
        kind = transformers.ViTForImageClassification if model.num_classes else transformers.ViTModel
        opened = kind.from_pretrained(self.weights.parent).eval()

        def compute(images: Any) -> Any:
            outputs = opened(images)
            if model.num_classes:
                return outputs.logits
            # Without its pooler, what is seen is the class token.
            return outputs.pooler_output if model.config["representation_size"] else outputs.last_hidden_state[:, 0]

        return compute


def find_original(checkpoint: str | os.PathLike[str]) -> Original | None:
    """The program that a checkpoint is of; None where it is neither timm nor transformers.

    Args:
        checkpoint: as `keras_nest.conversion.read_checkpoint` takes it.

    Raises:
        FileNotFoundError: nothing there.
        ValueError: it is damaged, or weights of something else.
    """
    if find_keras_file(checkpoint):
        return None
    located = locate(os.fspath(checkpoint))
    if not is_pytorch(located):
        return None
    weights, beside = pathlib.Path(cached(located)), os.path.join(os.path.dirname(located), CONFIG)
    config = read_object(cached(beside)) if buckets.exists(beside) else {}
    if "architecture" in config:
        return Original("timm", weights, config)
    if config.get("model_type") == "vit":
        return Original("transformers", weights, config)
    kind = family(read_tensors(str(weights), _open))
    return Original("transformers" if kind == "transformers" else "timm", weights, {})


def _open(path: str) -> BinaryIO:
    return open(path, "rb")
