"""Contrastive tuning of a LiT: a text tower learns what an image tower sees."""

import dataclasses
import functools
import pathlib
from typing import Any

from ml_collections import ConfigDict

from keras_nest import data
from keras_nest.data import Source
from keras_nest.data.captions import Captions, captions_of_classes
from keras_nest.data.prompts import check_labels, check_templates, unique_labels
from keras_nest.factory import create_model
from keras_nest.models.base import ImageModel
from keras_nest.models.lit import LiT
from keras_nest.opening import open_model
from keras_nest.registry import merge_fields
from keras_nest.registry import resolve as resolve_name
from keras_nest.tokenizers import check_tokenizer, get_tokenizer
from keras_nest.training import config as fields
from keras_nest.training.config import Config
from keras_nest.training.contrastive import ContrastiveTrainer
from keras_nest.training.evaluation import ZeroShotEvaluator
from keras_nest.training.experiment import Experiment
from keras_nest.training.setup import Setup, freeze, get_start, get_weights, set_up
from keras_nest.training.strategies import Strategy
from keras_nest.training.tasks import Task
from keras_nest.types import Size


def resolve(config: Config) -> ConfigDict:
    """The complete configuration; `keras_nest.training.config.resolve` with the checks of a LiT.

    Raises:
        ValueError: a field has no meaning for a LiT.
    """
    resolved = fields.resolve(config)
    _check(resolved)
    return resolved


def prepare(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    overwrite: bool = False,
    strategy: str | Strategy = "auto",
    tpu: str | None = None,
) -> Experiment:
    """Everything before the first step of a LiT; arguments and errors are those of a classifier.

    Raises:
        ValueError: a field has no meaning, or the towers or the vocabulary do not fit.
        ModuleNotFoundError: tensorflow-text is not installed, or the package with the data.
    """
    setup = set_up(config, workdir, overwrite, strategy, tpu)
    captions = get_captions(config, setup.source)
    setup = dataclasses.replace(setup, source=with_class_texts(config, setup.source))
    start = None if config.image_tower else get_start(config)
    with setup.scope():
        tower = image_tower(config)
        recipe, size = setup.build_recipe(start or tower)
        model = build_lit(config, tower, captions, size, recipe.preprocessing.to_dict())
        trainer = _compile(model, setup)
        kept = setup.get_kept(model)
        texts = captions.of_test(setup.source)
        evaluator = ZeroShotEvaluator(kept, captions.tokenizer, texts, config.jit_compile)
    batches = functools.partial(data.captioned_batches, captions=captions, service=config.data_service)
    return setup.build_experiment(trainer, kept, evaluator, recipe, size, batches)


TASK = Task(resolve, prepare)


def get_captions(config: ConfigDict, source: Source) -> Captions:
    """What the images of a data set are called.

    Raises:
        ValueError: a field has no meaning, or there are no templates.
        FileNotFoundError: there is no vocabulary.
        ModuleNotFoundError: tensorflow-text is not installed.
    """
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
    texts = tuple(config.class_texts) or unique_labels(source.info.class_names)
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
    if not isinstance(model, ImageModel):
        raise ValueError(
            f"image_tower {config.image_tower} is a {type(model).__name__}; it must be one of images, such as a ViT."
        )
    tower = type(model).from_config({**model.get_config(), "num_classes": 0, "name": "img"})
    for layer in tower.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    return tower


def build_lit(
    config: ConfigDict, tower: ImageModel | None, captions: Captions, size: Size, preprocessing: dict[str, Any]
) -> LiT:
    """Creates the model, its image tower locked if the configuration says so.

    Args:
        config: complete.
        tower: takes the place of the model's own image tower.
        captions: what the text tower reads.
        size: of the images.
        preprocessing: of the images.

    Raises:
        ValueError: a field has no meaning, the towers or the vocabulary do not fit, or nothing is left to train.
        FileNotFoundError: there is no such checkpoint.
    """
    fields = {**config.model.to_dict(), "preprocessing": preprocessing}
    if tower is not None:
        given = config.model.get("text_model", {})
        text = {**_text_fields(config), "out_dim": given.get("out_dim", tower.output_shape[-1])}
        fields |= {"image_model": tower, "text_model": text}
        model = LiT(dtype=config.dtype_policy, **{"name": config.model_name, **fields})
    else:
        fields |= {"image_size": size, "dtype": config.dtype_policy}
        model = create_model(config.model_name, weights=get_weights(config), **fields)
    check_tokenizer(captions.tokenizer, model.text_model)
    model.image_model.trainable = not config.lock_image
    freeze(model, config.freeze)
    return model


def _compile(model: LiT, setup: Setup) -> ContrastiveTrainer:
    """The train step of the configuration."""
    optimizer, sharpness = setup.build_optimizer(model)
    trainer = ContrastiveTrainer(model, setup.plan.clip_norm, sharpness)
    trainer.compile(optimizer, jit_compile=setup.config.jit_compile)
    trainer.log_every_step = False
    return trainer


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
    if config.class_weights is not None:
        raise ValueError("class_weights are of a classifier; a LiT compares images with texts, leave them out.")


def _text_fields(config: ConfigDict) -> dict[str, Any]:
    """Fields of the text tower."""
    given = config.model.to_dict().get("text_model", {})
    return merge_fields(resolve_name(config.model_name)[0], {}, {"text_model": given})["text_model"]
