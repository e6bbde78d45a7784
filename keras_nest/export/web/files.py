"""The networks of a page as TFLite files, and what the page must know of them."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_nest.export.tflite_files import convert, saved
from keras_nest.export.tflite_metadata import add_metadata
from keras_nest.tflite import run_file

# What answers of a browser may differ from those of Python, of the largest or of 1, by the precision of the weights.
# Whole numbers are rounded otherwise on other processors.
_TOLERANCES = {"float32": 1e-3, "float16": 1e-3, "dynamic_int8": 0.1}


@dataclasses.dataclass(frozen=True)
class Network:
    """A function that a page computes.

    Attributes:
        file: what its file is called.
        module: holds the variables.
        call: gives outputs by name.
        inputs: under their names, with a fixed batch.
        precision: of the weights.
        check: inputs by name for which a page must get what Python gets; None if it is not asked. Images are not told
            to the page, which makes the `check_pattern`.
        output: name of the output that is compared then.
        title: of the metadata in the file; None writes none.
        packed: what is packed into the file besides, text by name.
        on_gpu: whether a graphics processor shall compute it, where there is one.
    """

    file: str
    module: tf.train.Checkpoint
    call: Callable[..., Mapping[str, tf.Tensor]]
    inputs: Sequence[tf.TensorSpec]
    precision: str
    check: Mapping[str, np.ndarray] | None = None
    output: str = ""
    title: str | None = None
    packed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    on_gpu: bool = True


@dataclasses.dataclass(frozen=True)
class Page:
    """What a page of one kind has of its own.

    Attributes:
        facts: what it knows of its model; "name" is its title.
        html: the page.
        scripts: its JavaScript, text by name.
        summary: what it does, in a few words, for those who list pages.
        build: makes the networks, by the name that the page has for each, and facts that only they tell; it takes long.
        files: what lies beside, content by path.
    """

    facts: Mapping[str, Any]
    html: str
    scripts: Mapping[str, str]
    summary: str
    build: Callable[[], tuple[Mapping[str, Network], Mapping[str, Any]]]
    files: Mapping[str, bytes] = dataclasses.field(default_factory=dict)


def write_networks(networks: Mapping[str, Network], folder: pathlib.Path) -> dict[str, Any]:
    """Writes their files into a folder.

    Returns:
        What the page knows of them: `networks`, names and sizes of the files, and `checks`, what they give.
    """
    facts: dict[str, Any] = {"networks": {}, "checks": []}
    for name, network in networks.items():
        path = folder / network.file
        with saved(network.call, network.inputs, network.module) as model:
            content = convert(model, network.precision)
        if network.title is not None:
            content = add_metadata(content, network.title, network.packed)
        path.write_bytes(content)
        facts["networks"][name] = {"file": path.name, "bytes": len(content), "on_gpu": network.on_gpu}
        if network.check is not None:
            facts["checks"].append({"network": name, **_check(path, network, network.check)})
    return facts


def _check(path: pathlib.Path, network: Network, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    values = run_file(path, inputs)[network.output]
    told = {
        name: {
            "shape": value.shape,
            "type": value.dtype.name,
            "values": None if name == "images" else value.ravel().tolist(),
        }
        for name, value in inputs.items()
    }
    tolerance = _TOLERANCES[network.precision] * max(1.0, float(np.abs(values).max()))
    rounded = [float(np.format_float_positional(value, 7, fractional=False)) for value in values.ravel()]
    return {"inputs": told, "output": network.output, "values": rounded, "tolerance": tolerance}


def check_pattern(shape: tuple[int, ...]) -> np.ndarray:
    """An image that a page makes again to compare: float32 (1, H, W, C) in [0, 1]."""
    return (7 * np.arange(np.prod(shape)) % 256 / 255).astype(np.float32).reshape(1, *shape)


def as_json(facts: Any) -> str:
    """As a page reads it."""
    return json.dumps(facts, ensure_ascii=False)
