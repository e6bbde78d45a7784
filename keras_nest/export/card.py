"""The model card: what users of an exported model need to know, written from facts."""

import html
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_nest.backends import on_tensorflow
from keras_nest.console import printable
from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.export.exporter import Exporter, Signatures
from keras_nest.export.exporters import exporter_for
from keras_nest.export.module import image_shape, without_head
from keras_nest.exported import VALUES
from keras_nest.models import LiT
from keras_nest.models.answers import is_classifier, model_config, resolve_activation, task_of
from keras_nest.profiling import count_parameters
from keras_nest.registry import published_name
from keras_nest.run_files import CLASSES
from keras_nest.targets import REGRESSION
from keras_nest.version import __version__

_MEANINGS = {
    "images": "pixels in [0, 1]",
    "texts": "strings in UTF-8, of any length",
    "image_bytes": f"JPEG or PNG files of any size, up to {MAX_PIXELS:,} pixels each",
    "logits": "before the {activation}",
    "probabilities": "after the {activation}",
    "classes": "the most probable classes, best first",
    "scores": "their probabilities",
    "labels": "their names",
    VALUES: "numbers, in their own unit",
    "embedding": "what the head sees",
    "features": "the last map, normalized",
}
_MAP = "a map of intermediate features"
# More names than that nobody reads; they are all in assets/labels.txt.
_CLASSES_SHOWN = 20

_LIMITS = (
    "Metrics hold for images like those that they were measured on. `images` are taken as they are: turn photographs "
    "as their EXIF orientation says. "
)
_TRAINING = "Dropout and stochastic depth act with `training=True` only."
_INFERENCE = (
    "It comes from Keras on JAX, for inference: there is no `training=True`, and XLA compiles it where it is loaded."
)
LICENSE = (
    "The code of the network is under the Apache License 2.0. The weights are under the terms of the checkpoint and "
    "the data that they come from."
)
_SAVED_MODEL = "as a SavedModel that is a reusable TF-Hub module too"
_KERAS = "as a `.keras` file for Keras 3 and keras_nest"
_PREPARED = (
    "`images` must be resized and cropped to {size} so, in [0, 1]; normalization is inside. `image_bytes` are prepared "
    "in the graph, and turned as their EXIF orientation says."
)
_PREPARE = "`keras_nest.preprocessor(model)` makes images of any size so, of {size} pixels."
_ONNX_UINT8 = 2  # of onnx.TensorProto
_ONNX = "as an ONNX file"
_ONNX_INPUTS = {
    "float32": "`images` must be resized and cropped to {size} so, in [0, 1]; normalization is inside.",
    "uint8": "All of it is inside: `images` are levels in 0..255, of any size; those of a batch have the same.",
}
_ONNX_USE = """```python
import onnxruntime

session = onnxruntime.InferenceSession({file!r})
({outputs},) = session.run(None, {{"images": images}})  # {kind} (batch, {sides})
```"""
_OPEN = """```shell
keras-nest {command}
```

```python
import keras_nest

loaded = keras_nest.open_model("{handle}")
loaded.model, loaded.class_names
```"""
# Of what a run writes, what tells how good the model is.
_METRICS = ("dataset", "examples", "top1", "top5", "map", "mae", "rmse", "r2", "loss")


def model_card(
    model: Any,
    signatures: Signatures,
    head: str = "classifier",
    activation: str | None = None,
    class_names: Sequence[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """A model card in Markdown.

    Args:
        model: what was exported.
        signatures: of the SavedModel, as `read_signatures` gives them.
        head: as `to_saved_model` took it.
        activation: as `to_saved_model` took it.
        class_names: in the order of the logits.
        metrics: of the model: dataset, of whose path the last part is told; examples (number of images), top1 and top5
            (shares), map (mean average precision), mae, rmse, r2, loss; others are left out.
    """
    exporter = exporter_for(model)
    has_classes = "classes" in signatures["serving_default"][1]
    sections = {
        "Use": f"```python\n{exporter.usage(signatures)}```",
        **exporter.notes(),
        "Preprocessing": _preprocessing(model, _PREPARED),
        "Signatures": _signatures(signatures, resolve_activation(model, activation)),
        "Classes": _classes(model.num_classes, class_names, "assets/labels.txt") if has_classes else "",
        "Metrics": _metrics(metrics or {}),
        "Limits": _LIMITS + (_TRAINING if on_tensorflow() else _INFERENCE),
        "License": LICENSE,
    }
    return _page(model, _summary(exporter, head, _SAVED_MODEL), sections)


def hub_card(
    model: Any,
    handle: str,
    class_names: Sequence[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """A model card in Markdown for a `.keras` file on the Hugging Face hub; see `with_metadata`.

    Args:
        model: of images, of this package or a `UserModel`; or a LiT.
        handle: where it lies, "hf://OWNER/NAME".
        class_names: in the order of the logits.
        metrics: as `model_card` takes them.
    """
    exporter = exporter_for(model)
    _, command = _task(model)
    sections = {
        "Use": _OPEN.format(command=command.format(handle=handle), handle=handle),
        "Preprocessing": _preprocessing(model, _PREPARE),
        "Classes": _classes(model.num_classes, class_names, CLASSES) if is_classifier(model) else "",
        "Metrics": _metrics(metrics or {}),
        "Limits": _LIMITS.partition("`images`")[0].strip(),
        "License": LICENSE,
    }
    return _page(model, _summary(exporter, "classifier", _KERAS), sections)


def onnx_card(
    exporter: Exporter,
    file: str,
    proto: Any,
    head: str = "classifier",
    input_type: str = "float32",
    class_names: Sequence[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> str:
    """A model card in Markdown for an ONNX file.

    Args:
        exporter: of the whole model.
        file: its name.
        proto: what it holds, an `onnx.ModelProto`.
        head: as `to_onnx` took it.
        input_type: as `to_onnx` took it.
        class_names: in the order of the logits.
        metrics: as `model_card` takes them.
    """
    model, tensors = exporter.model, {"input": proto.graph.input, "output": proto.graph.output}
    rows = [
        (kind, f"`{tensor.name}`", _onnx_type(tensor), tensor.doc_string)
        for kind, several in tensors.items()
        for tensor in several
    ]
    has_classes = {"logits", "probabilities"} & {output.name for output in proto.graph.output}
    sides = ", ".join(map(str, (*(image_shape(model)[:2] if input_type == "float32" else "hw"), image_shape(model)[2])))
    outputs = ", ".join(output.name for output in proto.graph.output)
    sections = {
        "Use": _ONNX_USE.format(file=file, outputs=outputs, kind=input_type, sides=sides),
        "Preprocessing": _preprocessing(model, _ONNX_INPUTS[input_type]),
        "Inputs and outputs": _table(("", "name", "type and shape", ""), rows),
        "Classes": _classes(model.output.shape[-1], class_names, "names") if has_classes else "",
        "Metrics": _metrics(metrics or {}),
        "Limits": _LIMITS + "No values are checked.",
        "License": LICENSE,
    }
    return _page(model, _summary(exporter, head, _ONNX), sections)


def _onnx_type(tensor: Any) -> str:
    kind = tensor.type.tensor_type
    sides = ", ".join(dimension.dim_param or str(dimension.dim_value) for dimension in kind.shape.dim)
    return f"{'uint8' if kind.elem_type == _ONNX_UINT8 else 'float32'} ({sides})"


def with_metadata(card: str, model: Any, terms: str = "other") -> str:
    """A model card with the metadata that the hub reads, unless it has some.

    Args:
        card: Markdown.
        model: what it is about, as `hub_card` takes it.
        terms: the license of the weights, under the hub's identifier of it.

    Raises:
        ValueError: `terms` is no identifier.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", terms):
        raise ValueError(
            f"{terms!r} is no identifier of a license; write one of the hub's, such as apache-2.0, or other."
        )
    if card.startswith("---\n"):
        return card
    task, _ = _task(model)
    family = type(getattr(model, "inside", None) or model).__name__.lower()
    lines = (
        "library_name: keras",
        f"pipeline_tag: {task}",
        f"license: {terms}",
        "tags:",
        "- keras-nest",
        f"- {family}",
    )
    return "\n".join(("---", *lines, "---", "", card))


def _task(model: Any) -> tuple[str, str]:
    """What a model is for, in the hub's words, and the command that does it."""
    if isinstance(model, LiT):
        return "zero-shot-image-classification", "zero-shot photo.jpg --model {handle} --labels 'a dog' 'a cat'"
    if is_classifier(model):
        return "image-classification", "predict photo.jpg --model {handle}"
    if task_of(model) == REGRESSION:
        return "image-feature-extraction", "predict photo.jpg --model {handle}"
    return "image-feature-extraction", "info {handle}"


def _page(model: Any, summary: str, sections: Mapping[str, str]) -> str:
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items() if text)
    return f"# {published_name(model.name) or model.name}\n\n{summary}\n\n{body}"


def _summary(exporter: Exporter, head: str, form: str) -> str:
    model = exporter.model
    network = model if head == "classifier" else without_head(model)
    inside = getattr(model, "inside", model)  # of a user's model; None if it holds several
    paper = getattr(inside, "PAPER", None)
    architecture = f"{type(inside).__name__}{'' if inside is model else ' in a model around it'}"
    cited = f"Paper: [{paper.title}]({paper.url}). " if paper else ""
    return (
        f"An {exporter.describe(head)} of the architecture {architecture} with "
        f"{count_parameters(network):,} parameters, {form}. {cited}Written by keras_nest {__version__}."
    )


def _preprocessing(model: Any, prepared: str) -> str:
    spec = model_config(model).get("preprocessing")
    if not spec:
        return "None: pixels in [0, 1] are what the network sees."
    # A model of Keras alone does not name its size, and one with a second input has no shape of images.
    size = "{} x {}".format(*(getattr(model, "image_size", None) or image_shape(model)))
    return f"{', '.join(f'{name} {value}' for name, value in spec.items())}. {prepared.format(size=size)}"


def _signatures(signatures: Signatures, activation: str) -> str:
    meanings = _MEANINGS | ({"embedding": "of length one"} if "encode_text" in signatures else {})
    rows = [
        (name, kind, f"`{tensor}`", description, meanings.get(tensor, _MAP).format(activation=activation))
        for name, both in signatures.items()
        for kind, tensors in zip(("input", "output"), both, strict=True)
        for tensor, description in tensors.items()
    ]
    return _table(("signature", "", "name", "type and shape", ""), rows)


def _classes(num_classes: int, class_names: Sequence[str] | None, file: str) -> str:
    if class_names is None:
        return f"{num_classes}, without names."
    shown = ", ".join(map(_foreign, class_names[:_CLASSES_SHOWN]))
    more = ", …" if num_classes > _CLASSES_SHOWN else ""
    return f"{num_classes}, in the order of `{file}`: {shown}{more}"


def _metrics(metrics: Mapping[str, Any]) -> str:
    told = {**metrics, "dataset": _name_of(metrics["dataset"])} if "dataset" in metrics else metrics
    rows = [(name, told[name]) for name in _METRICS if name in told]
    rows = [(name, f"{value:.4g}" if isinstance(value, float) else _foreign(value)) for name, value in rows]
    return _table(("metric", "value"), rows) if rows else "None are known."


def _foreign(text: object) -> str:
    """A name from outside, in which Markdown and HTML see nothing but text."""
    escaped = html.escape(printable(text), quote=False)
    return re.sub(r"([\\`*\[\]|]|(?<!\w)_|_(?!\w))", r"\\\1", escaped)


def _name_of(dataset: str) -> str:
    """A data set as others may read of it, who do not have the trainer's disk."""
    is_path = os.path.isabs(dataset) or dataset.startswith((".", "~"))
    return (os.path.basename(os.path.abspath(os.path.expanduser(dataset))) if is_path else dataset) or dataset


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
