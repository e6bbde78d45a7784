"""SavedModels of TF-Hub and of `export` as layers of Keras 3; tensorflow_hub's own layer is one of Keras 2."""

import base64
import hashlib
import io
import os
import tarfile
import tempfile
from typing import Any, Self

import keras
import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.exported import ASSETS, GRAPH, find_saved_model
from keras_nest.keras_private import in_safe_mode
from keras_nest.models.outputs import check_outermost_model

_REFUSAL = (
    "The HubLayer {!r} was not loaded: it holds a TensorFlow graph, which can read, write and run anything. If you "
    "know where the file comes from, load it with safe_mode=False, or call "
    "keras.config.enable_unsafe_deserialization() before."
)
_CONTENT = (GRAPH, ASSETS)
# Digests of the graphs that layers of this process hold: a copy of such a layer runs nothing new.
_loaded: set[str] = set()


@keras.saving.register_keras_serializable(package="keras_nest")
class HubLayer(keras.layers.Layer):
    """A reusable SavedModel as a layer: trains with the model around it, and is saved in its file.

    >>> module = keras_nest.HubLayer("nest_tiny/1", trainable=True)
    >>> model = keras.Sequential([keras.Input((224, 224, 3)), module, keras.layers.Dense(10)])

    A `.keras` file holds the graph and assets of the SavedModel in the layer's configuration, and the weights as those
    of every layer: the directory is needed once, when the layer is made. `keras.models.clone_model` makes all weights
    zero.

    A graph can read, write and run anything, so a file with one is loaded with permission only, as one with Keras'
    TFSMLayer: `keras.saving.load_model(path, safe_mode=False)`. What is made in Python, from a directory or as a copy
    of a layer that is there, needs none.

    Input and output are what the SavedModel's `__call__` takes and gives; for images float32 (B, H, W, 3) in [0, 1] ->
    float32 (B, classes) or (B, C). Source: TF-Hub, "Reusable SavedModels".

    Args:
        handle: directory of the SavedModel, or any path that TensorFlow reads.
        trainable: whether its trainable variables are; if not, it also stays in inference mode when the model trains,
            and its regularization losses are left out, as in tensorflow_hub.
        graph: what `get_config` made of the directory; leave it out.
        **kwargs: the usual layer arguments.

    Raises:
        FileNotFoundError: there is no SavedModel.
        ValueError: it cannot be called: it is none that can be reused; or the layer comes from a file that is loaded
            in safe mode; or Keras does not run on TensorFlow.
    """

    def __init__(self, handle: str | os.PathLike[str], trainable: bool = False, graph: str = "", **kwargs: Any) -> None:
        require_tensorflow("HubLayer", "call what tf.saved_model.load gives outside the model")
        # The SavedModel has its own dtypes; Keras must not cast what goes in.
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs, "trainable": trainable})
        if in_safe_mode():
            raise ValueError(_REFUSAL.format(self.name))
        self.handle = os.fspath(handle)
        self._graph = graph or _pack(self.handle)
        # In a list, Keras does not look into it.
        self._module = [_unpack(graph) if graph else tf.saved_model.load(self.handle)]
        if not callable(self._module[0]):
            raise ValueError(f"{self.handle} is no reusable SavedModel: it cannot be called.")
        _loaded.add(_digest(self._graph))
        self._track_variables()
        self.built = True

    def _track_variables(self) -> None:
        """Makes Keras' variables of the module's own, without copying them."""
        trained = {id(variable) for variable in getattr(self._module[0], "trainable_variables", ())}
        made = []
        for variable in getattr(self._module[0], "variables", ()):
            options = {"trainable": id(variable) in trained, "dtype": variable.dtype.name, "autocast": False}
            name = variable.name.split(":")[0].replace("/", "_")
            made.append(keras.Variable(variable, shape=variable.shape, name=name, **options))
        # Keras tracks variables in an attribute.
        self.module_variables = made
        for variable in made:
            variable.trainable = variable.trainable and self.trainable

    @property
    def gives_logits(self) -> bool:
        """Whether the SavedModel is a classifier, as `export` writes it; its loss must then take logits."""
        served = getattr(self._module[0], "signatures", {}).get("serving_default")
        return served is not None and "logits" in served.structured_outputs

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if self.gives_logits:
            check_outermost_model(self)
        module, trains = self._module[0], bool(training and self.trainable)
        if self.trainable:
            for loss in getattr(module, "regularization_losses", ()):
                self.add_loss(loss())
        _check_dtypes(module, inputs)
        return module(inputs, training=trains) if _takes_training(module) else module(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "handle": self.handle, "graph": self._graph}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None, safe_mode: bool | None = None) -> Self:
        """Inverse of `get_config`.

        Args:
            config: what it returned.
            custom_objects: is not needed.
            safe_mode: False allows any graph, and any `handle`; None asks Keras. Outside of loading, the
                configurations of layers that are there are allowed.

        Raises:
            ValueError: it is not allowed; nothing was opened then.
        """
        mode = in_safe_mode() if safe_mode is None else safe_mode
        if mode or (mode is None and _digest(config.get("graph", "")) not in _loaded):
            raise ValueError(_REFUSAL.format(config.get("name")))
        return cls(**config)


def _digest(graph: str) -> str:
    return hashlib.sha256(graph.encode()).hexdigest()


def _pack(handle: str) -> str:
    """Graph and assets of a SavedModel, without its weights, as text.

    Raises:
        FileNotFoundError: there is none.
    """
    if not tf.io.gfile.exists(os.path.join(handle, GRAPH)):
        raise FileNotFoundError(f"There is no SavedModel in {handle}: it holds no {GRAPH}.{_versions(handle)}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for directory, _, files in tf.io.gfile.walk(handle):
            inside = os.path.relpath(directory, handle)
            for file in files:
                path = os.path.normpath(os.path.join(inside, file))
                if path.split(os.sep)[0] in _CONTENT:
                    _add(archive, path, tf.io.gfile.GFile(os.path.join(directory, file), "rb").read())
    return base64.b64encode(packed.getvalue()).decode("ascii")


def _add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    member = tarfile.TarInfo(path)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _unpack(graph: str) -> Any:
    """The module that was packed; its weights are zero until Keras reads them."""
    packed = io.BytesIO(base64.b64decode(graph))
    with tempfile.TemporaryDirectory() as directory, tarfile.open(fileobj=packed) as archive:
        archive.extractall(directory, filter="data")
        options = tf.saved_model.LoadOptions(experimental_skip_checkpoint=True)
        module = tf.saved_model.load(directory, options=options)
    for variable in getattr(module, "variables", ()):
        variable.assign(tf.zeros(variable.shape, variable.dtype))
    return module


def _versions(handle: str) -> str:
    """A hint, where the directory holds numbered versions."""
    newest = find_saved_model(handle)
    return f" {newest} does." if newest else ""


def _check_dtypes(module: Any, inputs: Any) -> None:
    """Refuses dtypes that the module does not take, such as images in uint8; TensorFlow would list its functions.

    Raises:
        ValueError: says both.
    """
    functions = getattr(module.__call__, "concrete_functions", ())
    taken = {_dtypes(function.structured_input_signature[0][:1]) for function in functions}
    given = _dtypes([inputs])
    if taken and given not in taken:
        wanted = " or ".join(sorted(" and ".join(dtypes) for dtypes in taken))
        raise ValueError(
            f"Inputs have dtype {' and '.join(given)}; the SavedModel takes {wanted}; levels of "
            "images are divided by 255 to lie in [0, 1]."
        )


def _dtypes(inputs: Any) -> tuple[str, ...]:
    return tuple(tf.as_dtype(x.dtype).name for x in tf.nest.flatten(inputs) if hasattr(x, "dtype"))


def _takes_training(module: Any) -> bool:
    return "training" in module.__call__.function_type.parameters
