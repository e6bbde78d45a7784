"""The layers inside a layer or a model, and what was changed on them since they were built.

A layer that makes its own inner layers, and a model of this package, are saved as the arguments that made them. What
was changed on the inner layers afterwards is saved beside these: what is frozen, LoRA, quantization, another
activation, and every other argument of an inner layer that now has another value.
"""

import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import keras

from keras_nest.keras_private import quick_deletion
from keras_nest.layers.image_input import ImageInput

# What of an inner layer differs from how it was built: arguments, "variables" and, below it, "changed_layers".
Change = dict[str, Any]
# What every layer has: Keras' own lists among these also keep layers that were replaced. Ours hold configurations, many
# values and no layer.
_BOOKKEEPING = frozenset(vars(keras.layers.Layer())) | {"_states_as_built", "_changes_to_make"}
_BOOKKEEPING_OF_TENSORFLOW = "_self_"


def sublayers(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """The layers directly inside a layer or model, by name; of two with one name the second has a number behind it.

    Those of a model are the layers of its graph, but for its `ImageInput`, and its public attributes; those of any
    other layer, of users and of Keras too, its attributes, also in nested lists and dictionaries.
    """
    attributes = [(name, value) for name, value in vars(layer).items() if _may_hold_layers(value.__class__)]
    held = [value for name, value in attributes if not name.startswith("_")]
    if isinstance(layer, keras.Model):
        held = [*layer.layers, *held]
    else:
        private = [(name, value) for name, value in attributes if name.startswith("_") and name not in _BOOKKEEPING]
        held += [value for name, value in private if not name.startswith(_BOOKKEEPING_OF_TENSORFLOW)]
    found: dict[str, keras.layers.Layer] = {}
    for inner in {id(each): each for each in _layers_in(held) if not isinstance(each, ImageInput)}.values():
        name = _name_inside(layer, inner)
        found[name if name not in found else f"{name}#{len(found)}"] = inner
    return found


def _layers_in(value: Any) -> Iterator[keras.layers.Layer]:
    """A layer itself, or those in nested lists, sets and dictionaries."""
    if isinstance(value, keras.layers.Layer):
        yield value
    elif _may_hold_layers(value.__class__):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _layers_in(each)


@functools.lru_cache(maxsize=1024)
def _may_hold_layers(cls: type) -> bool:
    """Whether values of a class are layers, lists, sets or dictionaries; asking each value is slow."""
    return issubclass(cls, (keras.layers.Layer, list, tuple, set, Mapping))


def _name_inside(outer: keras.layers.Layer, inner: keras.layers.Layer) -> str:
    """The path from one to the other: name scopes may lie between them."""
    scope = f"{outer.path}/"
    return inner.path.removeprefix(scope) if (inner.path or "").startswith(scope) else inner.name


def layers_by_path(layer: keras.layers.Layer) -> dict[str, keras.layers.Layer]:
    """All layers inside a layer or model, however deep, by their paths such as "Transformer/encoderblock_0".

    Outer ones come first. A layer that is inside two others has two paths; one that holds what it is inside of, as some
    of users do, is not followed back.
    """
    return dict(_walk(layer, "", (id(layer),)))


def _walk(layer: keras.layers.Layer, parent: str, around: tuple[int, ...]) -> Iterator[tuple[str, keras.layers.Layer]]:
    for name, inner in sublayers(layer).items():
        if id(inner) not in around:
            yield f"{parent}{name}", inner
            yield from _walk(inner, f"{parent}{name}/", (*around, id(inner)))


def layers_inside(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The same layers, each once."""
    return list({id(inner): inner for inner in layers_by_path(layer).values()}.values())


def states(layer: keras.layers.Layer) -> dict[str, Change]:
    """Class, arguments and variables' settings of each layer directly inside, by name."""
    return {name: _state(inner) for name, inner in sublayers(layer).items()}


def _state(layer: keras.layers.Layer) -> Change:
    # A model inside is saved by whoever holds it, as a whole; it may have come frozen.
    own = {"trainable": layer.trainable} if isinstance(layer, keras.Model) else _comparable(layer.get_config())
    variables = {} if isinstance(layer, keras.Model) else {v.name: _settings(v) for v in own_variables(layer)}
    return {**own, "class": keras.saving.get_registered_name(type(layer)), "variables": variables}


def _comparable(config: Any) -> Any:
    """A configuration without the numbers that Keras gives objects while a file is written or read, as of JSON."""
    if isinstance(config, Mapping):
        return {key: _comparable(value) for key, value in config.items() if key != "shared_object_id"}
    return [_comparable(value) for value in config] if isinstance(config, (list, tuple)) else config


def own_variables(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Variables of a layer that belong to no layer inside it."""
    inside = {id(variable) for inner in sublayers(layer).values() for variable in inner.variables}
    return [variable for variable in layer.variables if id(variable) not in inside]


def _settings(variable: keras.Variable) -> Change:
    return {
        "trainable": variable.trainable,
        "regularizer": keras.regularizers.serialize(getattr(variable, "regularizer", None)),
        "constraint": keras.constraints.serialize(getattr(variable, "constraint", None)),
    }


def changes(layer: keras.layers.Layer, built: Mapping[str, Change], may_have_more: bool = False) -> dict[str, Change]:
    """What was changed on the layers directly inside since `built`, their `states` of then; by name.

    Args:
        layer: the outer layer or model.
        built: see above.
        may_have_more: more layers than these are no change, and nothing is said of them.

    Raises:
        ValueError: a change that no file keeps: a layer was added, taken out or replaced, or an argument set that is
            no attribute.
    """
    inner = sublayers(layer)
    now = {name: _state(each) for name, each in inner.items()}
    if [name for name in now if name in built or not may_have_more] != list(built):
        strange = sorted(set(now) ^ set(built)) or list(now)
        raise ValueError(
            f"The layers of {layer.name!r} are not those that it was built with ({', '.join(strange)}), which no file "
            "keeps; make a model of your own around it: keras.Model(model.input, your_layer(model.output))."
        )
    found = {name: _difference(inner[name], state, now[name]) for name, state in built.items()}
    return {name: change for name, change in found.items() if change}


def _difference(layer: keras.layers.Layer, built: Change, now: Change) -> Change:
    if now["class"] != built["class"]:
        raise ValueError(
            f"The layer {layer.name!r} was replaced by a {type(layer).__name__}, which no file keeps; make a model of "
            "your own that ends or begins there."
        )
    if isinstance(layer, keras.Model):
        built = {**built, "trainable": True}
    change = {key: now.get(key) for key in (now | built) if now.get(key) != built.get(key) and key != "variables"}
    for key in change.keys() - _SETTERS.keys() - {"changed_layers"}:
        if getattr(getattr(layer, key, None), "__name__", "") == "<lambda>":
            raise ValueError(
                f"{key} of the layer {layer.name!r} is a lambda, which no file keeps; make it a function with a name, "
                "decorated with keras.saving.register_keras_serializable()."
            )
        if not hasattr(layer, key):
            raise ValueError(f"{key} of the layer {layer.name!r} was changed, which no file keeps; leave it as it was.")
    variables = {
        name: settings for name, settings in now["variables"].items() if settings != built["variables"].get(name)
    }
    return {**change, **({"variables": variables} if variables else {})}


def without(changed: Mapping[str, Change], omitted: Collection[str], parent: str = "") -> dict[str, Change]:
    """Changes but for those of layers whose paths are in `omitted`."""
    kept = {}
    for name, change in changed.items():
        path = f"{parent}{name}"
        if path not in omitted:
            inside = without(change.get("changed_layers", {}), omitted, f"{path}/")
            kept[name] = {**change, **({"changed_layers": inside} if "changed_layers" in change else {})}
    return kept


def restore(layer: keras.layers.Layer, changed: Mapping[str, Change]) -> None:
    """Repeats changes on the layers directly inside a layer or model that was just built; inverse of `changes`.

    Raises:
        ValueError: there is no such layer.
    """
    inner = sublayers(layer)
    for name, change in changed.items():
        if name not in inner:
            raise ValueError(f"Changes of the layer {name!r} are given, but {layer.name!r} has no such layer.")
        _restore(inner[name], change)


def _restore(layer: keras.layers.Layer, change: Change) -> None:
    now = _state(layer)
    different = {key: value for key, value in change.items() if now.get(key) != value}
    variables, inside = different.pop("variables", {}), different.pop("changed_layers", {})
    for key, set_value in _SETTERS.items():
        if key in different:
            set_value(layer, different)
    plain = {key: value for key, value in different.items() if key not in _SETTERS}
    if plain:
        _set_arguments(layer, plain)
    restore(layer, inside)
    named = {variable.name: variable for variable in own_variables(layer)}
    for name, settings in variables.items():
        _set_variable(named[name], settings)


def _set_arguments(layer: keras.layers.Layer, arguments: Change) -> None:
    """Sets arguments as attributes; a new layer tells what an argument's configuration stands for."""
    basis = {key: value for key, value in layer.get_config().items() if key not in (*_SETTERS, "changed_layers")}
    example = type(layer).from_config({**basis, **arguments})
    named = {variable.name: variable for variable in own_variables(layer)}
    for key in arguments:
        value = getattr(example, key)
        setattr(layer, key, value)
        name, _, kind = key.rpartition("_")
        if kind in ("regularizer", "constraint") and name in named:
            setattr(named[name], kind, value)


def _set_variable(variable: keras.Variable, settings: Change) -> None:
    variable.trainable = settings["trainable"]
    variable.regularizer = keras.regularizers.get(settings["regularizer"])
    variable.constraint = keras.constraints.get(settings["constraint"])


def set_trainable(layer: keras.layers.Layer, trainable: bool) -> None:
    """Sets the flag of a layer or model alone; Keras sets that of everything inside, too."""
    inside = layers_inside(layer)
    flags = [(each, each.trainable) for each in (*inside, *layer.variables)]
    layer.trainable = trainable
    for each, flag in flags:
        if each.trainable != flag:
            each.trainable = flag


def _set_dtype(layer: keras.layers.Layer, change: Change) -> None:
    """Sets the dtype policy; one that quantizes also makes the variables that it needs."""
    policy = keras.dtype_policies.deserialize(change["dtype"])
    if policy.quantization_mode is not None:
        settings = keras.saving.deserialize_keras_object(change.get("quantization_config"))
        with quick_deletion():
            layer.quantize(policy.quantization_mode, config=settings)
    layer.dtype_policy = policy


def _enable_lora(layer: keras.layers.Layer, change: Change) -> None:
    layer.enable_lora(change["lora_rank"], lora_alpha=change.get("lora_alpha"))


# Arguments that cannot simply be set as attributes of a built layer, in the order in which they are repeated.
_SETTERS: dict[str, Any] = {
    "trainable": lambda layer, change: set_trainable(layer, change["trainable"]),
    "dtype": _set_dtype,
    "quantization_config": lambda layer, change: None,  # with dtype
    "lora_rank": _enable_lora,
    "lora_alpha": lambda layer, change: setattr(layer, "lora_alpha", change["lora_alpha"]),
}
