"""What the training of a LiT has of its own: two towers, and captions instead of labels."""

import dataclasses
from typing import Any

from ml_collections import ConfigDict

from keras_nest.data import Source
from keras_nest.data.captions import Captions, captions_of_classes
from keras_nest.data.prompts import check_labels, check_templates, labels_of
from keras_nest.factory import create_model
from keras_nest.models.base import ImageModel
from keras_nest.models.lit import LiT
from keras_nest.opening import open_model
from keras_nest.registry import merge_fields, resolve
from keras_nest.tokenizers import check_tokenizer, get_tokenizer
from keras_nest.training.models import checkpoint_of, freeze
from keras_nest.types import Size

_OWN_FIELDS = ("vocab", "image_tower", "class_texts")


def is_lit(config: ConfigDict) -> bool:
    """Whether a configuration trains a LiT."""
    return issubclass(resolve(config.model_name)[1], LiT)


def captions_of(config: ConfigDict, source: Source) -> Captions | None:
    """What the images of a data set are called; None if the model is no LiT.

    Raises:
        ValueError: a field has no meaning, or the data set has captions that the model cannot read.
        FileNotFoundError: there is no vocabulary.
        ModuleNotFoundError: tensorflow-text is not installed.
    """
    if not is_lit(config):
        if given := [field for field in _OWN_FIELDS if config[field]]:
            raise ValueError(f"{given[0]} is a field of LiT; {config.model_name} has no text tower.")
        if source.info.has_captions:
            raise ValueError(f"{source.info.name} has captions and no classes; train a LiT on it.")
        return None
    _check(config)
    tokenizer = get_tokenizer(config.vocab, _text_fields(config).get("max_len", 16))
    if source.info.has_captions:
        return Captions(tokenizer)
    templates = check_templates(config.templates)
    return Captions(tokenizer, captions_of_classes(class_texts(config, source), templates))


def class_texts(config: ConfigDict, source: Source) -> tuple[str, ...]:
    """What stands for the classes in captions.

    Raises:
        ValueError: there are not as many as classes, or one stands for two.
    """
    texts = tuple(config.class_texts) or labels_of(source.info.class_names)
    if len(texts) != source.info.num_classes:
        raise ValueError(
            f"class_texts has {len(texts)} texts, but {source.info.name} has {source.info.num_classes} classes; there "
            "must be one for each."
        )
    return check_labels(texts)


def with_class_texts(config: ConfigDict, source: Source) -> Source:
    """The data set with the texts of its classes as their names, where the configuration gives some."""
    if not config.class_texts:
        return source
    named = dataclasses.replace(source.info, class_names=class_texts(config, source))
    return dataclasses.replace(source, info=named)


def image_tower(config: ConfigDict) -> ImageModel | None:
    """The trained model that becomes the image tower, without its head; None if LiT has its own.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it cannot be read.
    """
    if not config.image_tower:
        return None
    model = open_model(config.image_tower).model
    if not isinstance(model, ImageModel) or isinstance(model, LiT):
        raise ValueError(
            f"image_tower {config.image_tower} is a {type(model).__name__}; it must be one of images, such as a ViT."
        )
    tower = type(model).from_config({**model.get_config(), "num_classes": 0, "name": "img"})
    for layer in tower.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return tower


def lit_of(config: ConfigDict, captions: Captions, size: Size, preprocessing: dict[str, Any]) -> LiT:
    """Creates the model, its image tower locked if the configuration says so.

    Raises:
        ValueError: a field has no meaning, the towers or the vocabulary do not fit, or nothing is left to train.
        FileNotFoundError: there is no such checkpoint.
    """
    fields = {**config.model.to_dict(), "preprocessing": preprocessing}
    if tower := image_tower(config):
        given = config.model.get("text_model", {})
        text = {**_text_fields(config), "out_dim": given.get("out_dim", tower.output_shape[-1])}
        fields |= {"image_model": tower, "text_model": text}
        model = LiT(dtype=config.dtype_policy, **{"name": config.model_name, **fields})
    else:
        fields |= {"image_size": size, "dtype": config.dtype_policy}
        model = create_model(config.model_name, weights=checkpoint_of(config), **fields)
    check_tokenizer(captions.tokenizer, model.text_model)
    model.image_model.trainable = not config.lock_image
    freeze(model, config.freeze)
    return model


def _check(config: ConfigDict) -> None:
    """Refuses what has no meaning for a LiT."""
    if not config.vocab:
        raise ValueError("The configuration does not say vocab; a LiT needs the vocabulary file of its text tower.")
    if config.image_tower and config.eval_only:
        raise ValueError("eval_only needs a whole LiT; name it with init_checkpoint instead of image_tower.")
    if config.image_tower and (config.init_checkpoint or "image_model" in config.model):
        other = "init_checkpoint" if config.init_checkpoint else "model.image_model"
        raise ValueError(f"image_tower and {other} both say what the image tower is; give one of them.")
    for field, only in (("accum_steps", 1), ("transfer", "float32"), ("loss", "softmax"), ("mix", {})):
        given = config[field].to_dict() if isinstance(config[field], ConfigDict) else config[field]
        if given != only:
            raise ValueError(
                f"{field} is {given!r}; for a LiT, whose loss compares all pairs of a batch, it must be {only!r}."
            )


def _text_fields(config: ConfigDict) -> dict[str, Any]:
    """Fields of the text tower."""
    given = config.model.to_dict().get("text_model", {})
    return merge_fields(resolve(config.model_name)[0], {}, {"text_model": given})["text_model"]
