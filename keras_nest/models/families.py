"""The table of architectures, which fills itself: each model's file registers its class and its published variants."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

M = TypeVar("M", bound=type[keras.Model])

# Classes by name, text towers among them, which have no published variants.
ARCHITECTURES: dict[str, Any] = {}
# Class and fields of each published model, in the order in which the files are imported.
MODELS: dict[str, tuple[Any, Mapping[str, Any]]] = {}
ALIASES: dict[str, str] = {}


def register_family(
    variants: Mapping[str, Mapping[str, Any]] | None = None, aliases: Mapping[str, str] | None = None
) -> Callable[[M], M]:
    """Class decorator: makes an architecture known to `create_model`, `list_models`, LiT's towers and Keras' files.

    >>> VARIANTS = {"tiny_mlp": {"image_size": 32, "num_classes": 10, "preprocessing": IMAGENET_PREPROCESSING}}
    >>> @register_family(VARIANTS)
    ... class TinyMlp(ImageModel): ...

    Args:
        variants: fields of the class by the names of the published models.
        aliases: shorter names of some of them.

    Raises:
        ValueError: another architecture has this class name, or one of the names.
    """
    names, short = dict(variants or {}), dict(aliases or {})

    def register(architecture: M) -> M:
        _check_free(architecture, {**names, **short})
        ARCHITECTURES[architecture.__name__] = architecture
        MODELS.update({name: (architecture, fields) for name, fields in names.items()})
        ALIASES.update(short)
        return keras.saving.register_keras_serializable(package="keras_nest")(architecture)

    return register


def _check_free(architecture: type, names: Mapping[str, Any]) -> None:
    """Refuses names of others; a class that is defined anew, as a notebook does, has its own names already."""
    taken = {name: owner for name, (owner, _) in MODELS.items()}
    taken |= {alias: taken[name] for alias, name in ALIASES.items() if name in taken}
    owners = [(name, taken[name]) for name in names if name in taken]
    if architecture.__name__ in ARCHITECTURES:
        owners.append((architecture.__name__, ARCHITECTURES[architecture.__name__]))
    for name, owner in owners:
        if (owner.__module__, owner.__qualname__) != (architecture.__module__, architecture.__qualname__):
            raise ValueError(
                f"{name!r} of {architecture.__module__}.{architecture.__qualname__} is taken by "
                f"{owner.__module__}.{owner.__qualname__}; choose another name."
            )
