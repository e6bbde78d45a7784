"""The Flax modules by the names of their architectures."""

from typing import TypeVar

import flax.linen as nn

M = TypeVar("M", bound=type[nn.Module])

MODULES: dict[str, type[nn.Module]] = {}


def register_module(module: M) -> M:
    """Class decorator: the module is the oracle of the Keras architecture of the same class name.

    Its fields have the names of that architecture's configuration, as far as it needs them; called on images
    (B, H, W, channels) it gives logits, or without a head the pooled vector.
    """
    MODULES[module.__name__] = module
    return module
