"""The model that a configuration describes, with the weights it starts from."""

import fnmatch
import posixpath
from typing import Any

from ml_collections import ConfigDict

from keras_nest.conversion.own import read_own
from keras_nest.data import DatasetInfo, Recipe
from keras_nest.factory import augreg_checkpoint, create_model
from keras_nest.hints import did_you_mean
from keras_nest.layers.changes import layers_by_path
from keras_nest.models.base import ImageModel
from keras_nest.models.keras_file import find_keras_file
from keras_nest.training.config import is_of_vit
from keras_nest.types import Size


def model_of(config: ConfigDict, info: DatasetInfo, size: Size, recipe: Recipe) -> ImageModel:
    """Creates the model: the fields of the configuration, the classes and the size of the data.

    ViT's configurations always start with a new head, as the reference does; NesT's keep that of the checkpoint unless
    `reinit_head` says otherwise.

    Raises:
        ValueError: a field has no meaning, or the checkpoint does not fit.
        FileNotFoundError: there is no such checkpoint.
    """
    known = {"num_classes": info.num_classes, "image_size": size, "preprocessing": recipe.preprocessing.to_dict()}
    known["dtype"] = config.dtype_policy
    weights = checkpoint_of(config)
    if weights is not None:
        new_head = bool(config.reinit_head) or (is_of_vit(config) and not config.eval_only)
        known |= {"weights": weights, "reinit_head": new_head}
    model = create_model(config.model_name, **{**known, **config.model.to_dict()})
    freeze(model, config.freeze)
    return model


def start_of(config: ConfigDict) -> str | ImageModel:
    """What tells the preprocessing and the usual size: the .keras file that training starts from, or the model's name.

    Raises:
        ValueError: the file holds no model of this package.
        FileNotFoundError: there is no such file.
    """
    path = find_keras_file(config.init_checkpoint or (config.pretrained_dir if is_of_vit(config) else ""))
    return read_own(path) if path else config.model_name


def checkpoint_of(config: ConfigDict) -> str | None:
    """Where the weights lie that a configuration starts from; None for new ones.

    Raises:
        ValueError: weights are needed, or named twice.
        FileNotFoundError: the index of AugReg is not where it should be.
    """
    published = is_of_vit(config) and bool(config.pretrained_dir)
    if published and config.init_checkpoint:
        raise ValueError("pretrained_dir and init_checkpoint both name weights; give one of them.")
    if published and find_keras_file(config.pretrained_dir):
        return config.pretrained_dir
    if published and config.model_or_filename:
        return augreg_checkpoint(config.pretrained_dir, config.model_or_filename)
    if published:
        return posixpath.join(config.pretrained_dir, f"{config.model_name}.npz")
    if config.eval_only and not config.init_checkpoint:
        raise ValueError("eval_only needs weights; name them with init_checkpoint.")
    return config.init_checkpoint or None


def freeze(model: ImageModel, patterns: Any) -> None:
    """Keeps layers from being trained.

    Args:
        model: changed in place.
        patterns: globs; a layer is frozen, with all that is in it, when one matches its path, such as
            "EncoderNDBlock_0" or "Transformer/encoderblock_*".

    Raises:
        ValueError: a pattern matches no layer, or nothing is left to train.
    """
    paths = layers_by_path(model)
    for pattern in (patterns,) if isinstance(patterns, str) else patterns:
        found = fnmatch.filter(paths, pattern)
        if not found:
            raise ValueError(f"freeze names {pattern!r}, which no layer has; {did_you_mean(pattern, paths, count=3)}")
        for path in found:
            paths[path].trainable = False
    if not model.trainable_variables:
        raise ValueError("freeze leaves nothing to train; name fewer layers.")
