"""What all layers of this package are: layers whose configuration is complete."""

import functools
import types
from collections.abc import Mapping
from typing import Any, Self

import keras

from keras_nest.layers.changes import Change, changes, restore, states


class Layer(keras.layers.Layer):
    """A Keras layer whose configuration also holds what was changed on the layers inside it.

    Args:
        changed_layers: what `get_config` made of these changes; leave it out.
        **kwargs: the usual layer arguments.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        layer = super().__new__(cls, *args, **kwargs)
        build = layer.build

        # As Keras wraps `build` itself: inner layers are there, and can be changed back, only after it.
        @functools.wraps(build)
        def build_and_restore(*args: Any, **kwargs: Any) -> None:
            build(*args, **kwargs)
            layer._states_as_built = types.MappingProxyType(states(layer))
            restore(layer, layer._changes_to_make)

        layer.build = build_and_restore
        return layer

    def __init__(self, *, changed_layers: Mapping[str, Change] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._states_as_built: Mapping[str, Change] | None = None
        # Read-only, so that Keras does not take the dictionary for one with layers.
        self._changes_to_make = types.MappingProxyType(changed_layers or {})

    def get_config(self) -> dict[str, Any]:
        """The usual arguments, and what was changed on the layers inside."""
        built = self._states_as_built
        changed = dict(self._changes_to_make) if built is None else changes(self, built)
        return {**super().get_config(), **({"changed_layers": changed} if changed else {})}
