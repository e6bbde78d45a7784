"""Reading .keras files: what one says it holds is looked at before anything of it is built.

Keras builds whatever the configuration in a file names, and some of it can run anything; so a file of another kind of
model, or one that carries code, is refused while it is still text.
"""

import contextlib
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, TypeVar

import h5py
import keras

from keras_nest.backends import BackendError
from keras_nest.copies import local_file
from keras_nest.keras_private import in_safe_mode
from keras_nest.mirror import cached_run
from keras_nest.models.budget import weights_within
from keras_nest.run_files import GENERATOR, MODEL
from keras_nest.untrusted.archive import open_archive, seekable_member
from keras_nest.untrusted.hdf5_file import check_weights
from keras_nest.untrusted.json_text import parse_object
from keras_nest.untrusted.limits import ClaimError

_CONFIGURATION, _WEIGHTS = "config.json", "model.weights.h5"
# Layers, and what stands for functions, that run what the file holds, or open what it names.
_CODE = {"Lambda", "__lambda__", "TFSMLayer", "HubLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"}
# Layers of this package that are no part of its models.
FOR_ANY_MODEL = {"keras_nest>EvalPreprocessing", "keras_nest>HubLayer"}
# Where Keras keeps what a model is made of. It has functions elsewhere too, such as `keras.utils.get_file`.
_MODELLING = {"activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "models"}
_MODELLING |= {"ops", "optimizers", "quantizers", "random", "regularizers", "src"}

_DAMAGED = (
    *(ValueError, TypeError, OSError, KeyError, IndexError, AttributeError, EOFError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)

M = TypeVar("M", bound=keras.Model)


def find_keras_file(path: str | os.PathLike[str]) -> str | None:
    """The .keras file that a path means: itself, or that in the directory of a training; None for another path.

    Args:
        path: local, or the address of a file, or of a run, whose copy it is then. A file need not be there.
    """
    path = os.fspath(path)
    if path.endswith(".keras") and not os.path.isdir(path):
        return path
    if _may_be_run(path):
        # What cannot be read may be something else, and who reads it says why it cannot.
        with contextlib.suppress(OSError):
            path = os.fspath(cached_run(path) or path)
    return next(filter(os.path.isfile, (os.path.join(path, name) for name in (MODEL, GENERATOR))), None)


def _may_be_run(path: str) -> bool:
    """Whether a path is an address, and not that of a file or of a model of the hub."""
    return "://" in path and not path.startswith("hf://") and not os.path.splitext(path)[1]


def read_keras_file(path: str | os.PathLike[str], kind: type[M], trust: bool = False, around: bool = False) -> Any:
    """Reads a .keras file.

    Args:
        path: local, or an address.
        kind: of the model that must be in it.
        trust: build layers that carry code, too; keras.config.enable_unsafe_deserialization() allows it everywhere.
        around: a model of a user around one of this package is right, too.

    Returns:
        The model, not compiled; `loss` is what it was compiled with, where that is a loss of Keras or this package.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, holds another model, carries code and is not trusted (nothing was built then), or
            needs another backend of Keras.
    """
    name, trust = os.fspath(path), trust or in_safe_mode() is False
    with local_file(path, "model") as file:
        try:
            config = read_configuration(file)
            if config is None or "class_name" not in config:
                raise ValueError
            _check_kind(name, config, kind, around)
            _check_parts(name, config, trust)
            _check_weights(name, file)
            with weights_within(file.stat().st_size):
                model = keras.saving.load_model(file, compile=False, safe_mode=not trust)
            model.loss = _compiled_loss(config)
            return model
        except ClaimError as error:
            raise ValueError(f"{name} cannot be read: {error}.") from None
        except (_RefusedError, BackendError) as error:
            raise ValueError(str(error)) from None
        except _DAMAGED:
            raise ValueError(f"{name} cannot be read as a Keras model; is it a complete .keras file?") from None


def read_configuration(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """What a local .keras file says it holds; None if there is no such file, or it is none.

    Raises:
        ValueError: it is damaged, or says more than any model needs.
    """
    if not (pathlib.Path(path).is_file() and zipfile.is_zipfile(path)):
        return None
    try:
        with open(path, "rb") as file, open_archive(file) as archive:
            if _CONFIGURATION not in archive.namelist():
                return None
            text = archive.read(_CONFIGURATION)
    except ValueError as error:
        raise _RefusedError(f"{os.fspath(path)} cannot be read: {error}.") from None
    try:
        return parse_object(text)
    except ValueError as error:
        raise _RefusedError(f"{os.fspath(path)} has a {_CONFIGURATION} that {error}.") from None


def _check_weights(name: str, path: pathlib.Path) -> None:
    """Refuses arrays that are none of numbers, or not in the file."""
    with open(path, "rb") as file, open_archive(file) as archive:
        if _WEIGHTS not in archive.namelist():
            return
        try:
            with seekable_member(file, archive, _WEIGHTS) as content, h5py.File(content) as weights:
                check_weights(weights, path.stat().st_size)
        except ValueError as error:
            raise _RefusedError(f"{name} cannot be read: {error}.") from None


def _compiled_loss(config: dict[str, Any]) -> Any:
    """The loss that a model was compiled with, which tells what it answers; None where Keras has no such loss."""
    compiled = config.get("compile_config")
    loss = compiled.get("loss") if isinstance(compiled, dict) else None
    if isinstance(loss, dict) and loss.get("class_name") == "function":
        loss = loss.get("config")  # its name, in what a name of Keras is asked for
    is_known = isinstance(loss, dict) and (
        loss.get("module") == "keras.losses" or str(loss.get("registered_name")).startswith("keras_nest>")
    )
    if not (isinstance(loss, str) or is_known):
        return None
    try:
        return keras.losses.get(loss)
    except _DAMAGED:
        return None


class _RefusedError(ValueError):
    """A file that is complete, and not what it should be."""


def _check_kind(name: str, config: dict[str, Any], kind: type, around: bool) -> None:
    found = _registered(config)
    if isinstance(found, type) and issubclass(found, kind):
        return
    names = {str(part.get("registered_name")) for part in _parts(config)} - FOR_ANY_MODEL
    ours = any(name.startswith("keras_nest>") for name in names)
    if not (ours and around and config["class_name"] in ("Functional", "Model", "Sequential")):
        raise _RefusedError(f"{name} holds a {config['class_name']}, which is no model of keras_nest.")


def _check_parts(name: str, config: dict[str, Any], trust: bool) -> None:
    for part in _parts({**config, "compile_config": None}):  # which is not built
        what = part["class_name"]
        if not trust and _carries_code(part):
            raise _RefusedError(
                f"{name} holds a {what}, which runs code of the file or opens what it names; if you know where the "
                "file comes from, allow it: --trust (trust=True)."
            )
        if not _is_known(part):
            raise _RefusedError(
                f"{name} holds a {what} of {part.get('registered_name') or part.get('module')}, which neither Keras "
                "nor anything imported here defines for models."
            )


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Everything that Keras would build, however deep."""
    left = [config]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get("class_name"), str) and "config" in value:
                yield value
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)


def _registered(part: dict[str, Any]) -> Any:
    """The class or function of this process that stands for a part; None of Keras' own."""
    name = part.get("registered_name", part["class_name"]) if "class_name" in part else None
    return keras.saving.get_registered_object(name) if isinstance(name, str) else None


def _carries_code(part: dict[str, Any]) -> bool:
    found = _registered(part)
    # Not what every layer is: that of a backend has the name of the layer that runs code of JAX.
    bases = set(found.__mro__).difference(keras.layers.Layer.__mro__) if isinstance(found, type) else ()
    classes = {base.__name__ for base in bases}
    return not _CODE.isdisjoint({part["class_name"], *classes})


def _is_known(part: dict[str, Any]) -> bool:
    if _registered(part) is not None:
        return True
    # Keras finds its own by name alone, and what it writes for values, such as __tuple__, too.
    package, *inner = str(part.get("module") or "builtins").split(".")
    return package == "builtins" or (package == "keras" and (not inner or inner[0] in _MODELLING))
