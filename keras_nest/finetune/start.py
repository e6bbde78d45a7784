"""The model that fine-tuning starts from: its name, where its weights lie, and which of its layers are trained."""

import dataclasses
import itertools
import os
from typing import Literal, TypeAlias

from keras_nest.conversion import published
from keras_nest.conversion.hugging_face import on_this_machine
from keras_nest.conversion.load import name_of
from keras_nest.conversion.own import read_own
from keras_nest.factory import create_model
from keras_nest.files import is_address
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.base import ImageModel
from keras_nest.models.configured import split_depth
from keras_nest.models.keras_file import find_keras_file
from keras_nest.registry import published_name, published_weights, resolve
from keras_nest.types import Size

Blocks: TypeAlias = int | Literal["all"]
"""How many of the last blocks are trained beside the head."""


@dataclasses.dataclass(frozen=True)
class Start:
    """A model with weights and a head of its own for the classes.

    Attributes:
        name: a published name.
        weights: where they lie; None for new ones.
        model: image classifier; the head of loaded weights is zero.
    """

    name: str
    weights: str | None
    model: ImageModel

    @property
    def depth(self) -> int:
        """Number of blocks; 0 of a model that has none to count, such as a ResNet."""
        blocks = type(self.model).BLOCKS
        return sum(split_depth(self.model.config[blocks[0]])) if blocks else 0

    def frozen(self, blocks: Blocks) -> tuple[str, ...]:
        """Paths of the layers that stay as they are, where the head and the last so many blocks are trained.

        What the model lists before the first of these blocks is frozen, the embedding of patches and the normalization
        behind a ViT's last block among it.

        Raises:
            ValueError: there are no such blocks.
        """
        if blocks == "all":
            return ()
        if not 0 <= blocks <= self.depth:
            has = f"{self.depth} blocks" if self.depth else "no blocks to count"
            raise ValueError(f"--blocks is {blocks}, and {self.name} has {has}; it must be 0 (the head alone) or all.")
        layers = layers_by_path(self.model)
        first = (type(self.model).BLOCKS or ("", ""))[1].format(self.depth - blocks) if blocks else self.model.HEAD[0]
        before = itertools.takewhile(lambda path: path != first, layers)
        frozen = [path for path in before if layers[path].weights and not first.startswith(f"{path}/")]
        return tuple(path for path in frozen if not any(path.startswith(f"{outer}/") for outer in frozen))


def find_start(model: str, weights: str | None) -> tuple[str, str | None]:
    """What a user means by a model and its weights, which are not read if a name tells the model.

    Args:
        model: a published name; or without weights a .keras file, the directory of a training, or a checkpoint that
            tells its model, such as "hf://timm/nest_tiny_jx.goog_in1k".
        weights: a checkpoint as `keras_nest.create_model` takes it, or a published one as `keras-nest list --urls` has
            them, such as "sam/ViT-S_16"; "pretrained" for what timm published under the name; None for new weights.

    Returns:
        The full name of the model, and where its weights lie.

    Raises:
        ValueError: there is no such model or checkpoint, or it is no classifier of images.
        FileNotFoundError: there is no model in the directory.
    """
    if weights is None and (path := find_keras_file(model)):
        name, weights = _name_in(path), model
    elif weights is None and (os.path.exists(model) or is_address(model)):
        name, weights = _name_told(model), model
    else:
        name = model
    name, architecture, _ = resolve(name)
    if not issubclass(architecture, ImageModel):
        raise ValueError(f"{name} is no classifier of images; give one such as ViT-S_16.")
    if weights is not None:
        weights = os.fspath(published_weights(name, weights))
    if weights is not None and not (os.path.exists(weights) or is_address(weights)):
        weights = published.find(weights).uri
    return name, weights


def open_start(name: str, weights: str | None, num_classes: int, image_size: int | Size | None = None) -> Start:
    """Creates the model, with a head for so many classes.

    Args:
        name: as `find_start` gives it.
        weights: likewise.
        num_classes: of the head.
        image_size: side or (height, width) in pixels; None is that of the weights, or the published one.

    Raises:
        ValueError: name and weights do not fit, or the model has no size of this kind, or gives no classes.
        FileNotFoundError: the weights are not there.
    """
    model = create_model(name, num_classes, image_size, weights, reinit_head=weights is not None)
    if not (isinstance(model, ImageModel) and len(model.output_shape) == 2):
        raise ValueError(f"{name} does not give classes for an image; give another model, such as ViT-S_16.")
    return Start(name, weights, model)


def _name_told(checkpoint: str) -> str:
    """The published name that weights of timm or transformers tell, or those of AugReg by their file name."""
    path = on_this_machine(checkpoint)
    try:
        return name_of(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{checkpoint} holds no model; give a name, a .keras file or a finished training's directory."
        ) from None


def _name_in(path: str) -> str:
    """The published name of the model in a .keras file."""
    name = read_own(path).name
    known = published_name(name)
    if known is None:
        raise ValueError(f"{path} holds {name!r}, no published model; give its name: --model NAME --weights {path}.")
    return known
