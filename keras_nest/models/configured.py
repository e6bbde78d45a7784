"""Models that are saved as the arguments that built them."""

import inspect
import itertools
import os
import types
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import keras

from keras_nest.keras_private import in_remat_scope, keep_short, quick_deletion
from keras_nest.layers.changes import changes, restore, set_trainable, states, without
from keras_nest.models.first_batch import watched
from keras_nest.models.weights_file import SUFFIX, mismatches


class ConfiguredModel(keras.Model):
    """A functional Keras model that is saved as the arguments that built it, and what was changed on its layers since.

    Attributes:
        config: these arguments. The evaluation preprocessing in them may be replaced; the others say how the model was
            built, and a model that they no longer describe is not saved.
        BLOCKS: the field that says how many blocks there are, in all or in each level, and the path of block "{}"; None
            where the blocks of a deeper checkpoint do not fit.
        NORM: path of the normalization behind the last block, where the model's layers are not listed in the order in
            which they are passed; None where they are.

    Args:
        inputs: symbolic inputs.
        outputs: symbolic outputs.
        config: arguments of the subclass.
        name: name of the model.

    Raises:
        ValueError: a `keras.RematScope` is around it.
    """

    config: dict[str, Any]
    BLOCKS: ClassVar[tuple[str, str] | None] = None
    NORM: ClassVar[str | None] = None

    def __init__(self, inputs: Any, outputs: Any, config: Mapping[str, Any], name: str | None = None) -> None:
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        if in_remat_scope():
            raise ValueError(
                "keras.RematScope would draw other dropout masks in the backward pass, and fails in fit on TensorFlow "
                "(https://github.com/keras-team/keras/issues/21207); create the model outside of it with remat=True."
            )
        # A copy of its own: the published tables hold the same dictionaries.
        self.config = copied(config)
        # Read-only, so that Keras does not take the dictionaries for such with layers.
        self._config_as_built = types.MappingProxyType(copied(config))
        self._states_as_built = types.MappingProxyType(states(self))

    def check_inputs(self, inputs: Any) -> None:
        """Refuses what the model cannot mean anything by; inputs are symbolic, or specifications, or have values.

        Raises:
            ValueError: says what they must be.
        """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model, once `check_inputs` agrees: Keras would cast whatever comes."""
        self.check_inputs(args[0] if args else kwargs.get("inputs"))
        return super().__call__(*args, **kwargs)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().fit(self.checked(x), *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().evaluate(self.checked(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().predict(self.checked(x), *args, **kwargs)

    def train_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().train_on_batch(self.checked(x), *args, **kwargs)

    def test_on_batch(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """As every Keras model."""
        return super().test_on_batch(self.checked(x), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """As every Keras model."""
        return super().predict_on_batch(self.checked(x))

    def quantize(self, *args: Any, **kwargs: Any) -> None:
        """As every Keras model, in a fraction of the time."""
        with quick_deletion():
            super().quantize(*args, **kwargs)

    def checked(self, data: Any) -> Any:
        """Data for `fit`, `evaluate` or `predict` whose inputs `check_inputs` looks at.

        Args:
            data: their first argument.

        Returns:
            Arrays as they are, now that they were looked at; of a data set one that shows its first batch when it is
            read.

        Raises:
            ValueError: as `check_inputs`.
        """
        spec = getattr(data, "element_spec", data)
        self.check_inputs(spec[0] if spec is not data and isinstance(spec, tuple) else spec)
        return watched(data, self.check_inputs)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor, whether the model is frozen, and what was changed on its layers.

        Raises:
            ValueError: a change that no file keeps.
        """
        _check_config(self)
        _check_arguments(type(self), self.config)
        config = {**copied(self.config), "name": self.name}
        # A subclass may add layers of its own, and makes them again itself.
        changed = changes(self, self._states_as_built, may_have_more=not _is_ours(type(self)))
        return (
            config | ({} if self.trainable else {"trainable": False}) | ({"changed_layers": changed} if changed else {})
        )

    def with_fields(self, **fields: Any) -> Self:
        """A model with new weights like this one but for some fields; what was changed on its layers is kept.

        Args:
            **fields: arguments of the constructor.

        Raises:
            ValueError: a field has no meaning.
        """
        return type(self).from_config(self._with(fields))

    def _with(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration with some fields set, without what was changed on blocks that are left out by them."""
        config = self.get_config()
        if self.BLOCKS and self.BLOCKS[0] in fields and "changed_layers" in config:
            field, path = self.BLOCKS
            depth, built = (sum(split_depth(each[field])) for each in (fields, self.config))
            config["changed_layers"] = without(config["changed_layers"], [path.format(i) for i in range(depth, built)])
        return {**config, **fields}

    def save(self, filepath: str | os.PathLike[str], overwrite: bool = True, **options: Any) -> None:
        """As in Keras, which opens the file first: what `get_config` refuses must not cost the one that lies there."""
        self.get_config()
        super().save(filepath, overwrite=overwrite, **options)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False, **options: Any) -> None:
        """As in Keras, but that a sentence names the layers whose weights are not those of a .weights.h5 file.

        Raises:
            ValueError: there are such layers, and `skip_mismatch`, which leaves them as they are, is false.
        """
        if not str(filepath).endswith(SUFFIX):
            super().load_weights(filepath, skip_mismatch=skip_mismatch, **options)
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # Keras prints the values of weights.
                super().load_weights(filepath, skip_mismatch=skip_mismatch, **options)
        except ValueError as error:
            differing = mismatches(self, filepath)
            if not differing:
                raise
            raise keep_short(ValueError(f"{filepath} does not fit {self.name!r}: {differing}.")) from error
        if skip_mismatch and (differing := mismatches(self, filepath)):
            warnings.warn(f"{filepath} does not fit {self.name!r} in {differing}, left as it was.", stacklevel=2)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        config = dict(config)
        trainable, changed = config.pop("trainable", True), config.pop("changed_layers", {})
        frozen = config.pop("frozen_layers", ())
        model = cls(**config)
        if not trainable:
            set_trainable(model, False)
        # A head that is left out, for one.
        restore(model, without(changed, getattr(model, "omitted", ())))
        # How files of the first versions said it.
        for layer in frozen:
            model.get_layer(layer).trainable = False
        return model


def split_depth(depth: Any) -> tuple[int, ...]:
    """Blocks of each level, from the field of `ConfiguredModel.BLOCKS`; a model without levels is one."""
    return tuple(depth) if isinstance(depth, Iterable) else (depth or 0,)


def copied(value: Any) -> Any:
    """A copy of nested dictionaries and lists; `copy.deepcopy` of those that Keras tracks would copy the model, too."""
    if isinstance(value, Mapping):
        return {key: copied(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return (tuple if isinstance(value, tuple) else list)(map(copied, value))
    return value


def _check_config(model: ConfiguredModel) -> None:
    """Refuses a configuration that no longer says how the model was built."""
    built = model._config_as_built
    for field in built.keys() | model.config.keys():
        if field != "preprocessing" and model.config.get(field) != built.get(field):
            raise ValueError(
                f"config[{field!r}] of {model.name!r} was set to {model.config.get(field)!r} after the model was built "
                f"with {built.get(field)!r}, which does not change the model; set it back, or make the model anew."
            )


def _check_arguments(architecture: type[ConfiguredModel], config: Mapping[str, Any]) -> None:
    """Refuses a subclass with arguments of its own that its `get_config` says nothing about."""
    family = list(itertools.takewhile(lambda each: not _is_ours(each), architecture.__mro__))
    if any("get_config" in vars(each) for each in family):
        return
    ours = architecture.__mro__[len(family)]
    known = {*inspect.signature(ours).parameters, *config}
    for name, parameter in inspect.signature(architecture).parameters.items():
        if name not in known and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(
                f"{architecture.__name__} takes {name}, which its get_config does not return; give it one that returns "
                f'{{**super().get_config(), "{name}": …}}.'
            )


def _is_ours(architecture: type) -> bool:
    return keras.saving.get_registered_name(architecture).startswith("keras_nest>")
