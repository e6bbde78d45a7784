"""The recipe that a training configuration describes, in the fields of the papers' own configurations.

NesT has `augment`, `randerasing`, `mix` and `colorjitter`, and a stage that is not named is left out. ViT and Mixer
have `pp`: crop and flip.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any

from keras_nest.data.color_jitter import random_color_jitter
from keras_nest.data.crops import pad_and_crop
from keras_nest.data.erasing import random_erasing
from keras_nest.data.mixing import random_mix
from keras_nest.data.randaugment import RandAugment
from keras_nest.data.recipes import Mix, Recipe, Stage, create_recipe
from keras_nest.data.sources.base import DatasetInfo
from keras_nest.hints import did_you_mean
from keras_nest.specs import PreprocessingSpec
from keras_nest.types import Size

Fields = Mapping[str, Any]

_TYPES = ("randaugment", "default", "shift", "none")
_RANDAUGMENT = {
    "randaugment_num_layers": "num_layers",
    "randaugment_magnitude": "magnitude",
    "randaugment_magstd": "magnitude_std",
    "randaugment_num_levels": "num_levels",
    "randaugment_prob_to_apply": "prob_to_apply",
}
_MIX = {
    "mixup_alpha": "mixup_alpha",
    "cutmix_alpha": "cutmix_alpha",
    "smoothing": "label_smoothing",
    "prob_to_apply": "probability",
}
# Sizes follow from the model, and only one kind of jitter is published.
_FOLLOWS = ("type", "size", "impl")


def recipe_of(config: Fields, info: DatasetInfo, image_size: Size, published: Fields) -> Recipe:
    """What a configuration does with images.

    Args:
        config: `augment` of type "randaugment", "default" (NesT without RandAugment), "shift" (with `max_shift` pixels)
            or "none"; `randerasing` with `erase_prob`; `mix` with `mixup_alpha`, `cutmix_alpha`, `smoothing` and
            `prob_to_apply`; `colorjitter` of type "colorjitter" or "default" (none), with `colorjitter_strength`; `pp`
            of ViT, beside which the others may stand; a shift takes the place of its crop and flip. All may be missing.
            `model.preprocessing` stands above what the recipe says.
        info: the data set.
        image_size: (height, width) of the model in pixels.
        published: preprocessing of the model's variant, a `PreprocessingSpec` or its dictionary, which holds where
            nothing else says another.

    Raises:
        ValueError: an unknown field or type, or a value out of range.
    """
    groups = ("augment", "randerasing", "mix", "colorjitter")
    augment, erasing, mix, jitter = (dict(config.get(group) or {}) for group in groups)
    kind = augment.get("type", "none")
    if kind not in _TYPES:
        raise ValueError(f"augment.type is {kind!r}; it must be one of {', '.join(_TYPES)}.")
    _check_augment(augment)
    preprocessing = PreprocessingSpec.from_dict(published)
    if kind == "shift":
        base = Recipe(preprocessing, shift=_shift(augment, image_size))
    elif config.get("pp"):
        base = create_recipe("vit", info, image_size)
    elif kind != "none" or erasing or mix or jitter:
        base = create_recipe("nest", info, image_size)
    else:
        base = Recipe(preprocessing)
    recipe = dataclasses.replace(
        base,
        randaugment=_randaugment(augment, image_size) if kind == "randaugment" else None,
        color_jitter=_color_jitter(jitter),
        erasing=_erasing(erasing),
        mix=_mix(mix) if mix else None,
    )
    given = (config.get("model") or {}).get("preprocessing")
    return dataclasses.replace(recipe, preprocessing=PreprocessingSpec.from_dict(given)) if given else recipe


def _check_augment(fields: Fields) -> None:
    """Refuses what no type has; fields of another type may stand, so that a command line can change the type."""
    known = ("type", "max_shift", "randaugment_cutout", *_RANDAUGMENT)
    for field in fields:
        if field not in (*known, *_FOLLOWS):
            raise ValueError(f"There is no field augment.{field}; {did_you_mean(field, known)}")


def _randaugment(fields: Fields, image_size: Size) -> RandAugment:
    if fields.get("randaugment_cutout"):
        raise ValueError("augment.randaugment_cutout is true; no published model was trained with it, leave it out.")
    given = {name: value for name, value in fields.items() if name not in ("randaugment_cutout", "max_shift")}
    return RandAugment(image_size=image_size[0], **_renamed("augment", given, _RANDAUGMENT))


def _color_jitter(fields: Fields) -> Stage | None:
    given = _renamed("colorjitter", fields, {"colorjitter_strength": "strength"})
    return functools.partial(random_color_jitter, **given) if fields.get("type", "default") == "colorjitter" else None


def _erasing(fields: Fields) -> Stage | None:
    given = _renamed("randerasing", fields, {"erase_prob": "probability"})
    return functools.partial(random_erasing, **given) if given.get("probability") else None


def _mix(fields: Fields) -> Mix:
    return functools.partial(random_mix, **_renamed("mix", fields, _MIX))


def _shift(fields: Fields, image_size: Size) -> Stage:
    pixels = fields.get("max_shift")
    if not isinstance(pixels, int) or pixels < 0:
        raise ValueError(
            f"augment.max_shift is {'missing' if pixels is None else repr(pixels)}; it must be a number of pixels."
        )
    if pixels >= min(image_size):
        raise ValueError(
            f"augment.max_shift is {pixels}; it must be less than a side of the images, {min(image_size)}."
        )
    return functools.partial(pad_and_crop, pad=pixels)


def _renamed(group: str, fields: Fields, names: Mapping[str, str]) -> dict[str, Any]:
    """Fields of the configuration as arguments of our functions."""
    for field in fields:
        if field not in names and field not in _FOLLOWS:
            raise ValueError(f"There is no field {group}.{field}; {did_you_mean(field, names)}")
        if field in names and fields[field] is not None:
            _check_number(
                f"{group}.{field}", fields[field], 1.0 if "prob" in field or field == "smoothing" else math.inf
            )
    return {names[field]: value for field, value in fields.items() if field in names}


def _check_number(name: str, value: Any, highest: float) -> None:
    """Refuses what is no number from 0 on; probabilities end at 1."""
    if not isinstance(value, (int, float)) or not 0 <= value <= highest:
        words = "a number from 0 to 1" if highest == 1 else "a number, 0 or more"
        raise ValueError(f"{name} is {value!r}; it must be {words}.")
