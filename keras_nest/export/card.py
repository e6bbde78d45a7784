"""The model card: what a stranger must know to use an exported model, written from facts."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_nest.data.image_files import MAX_PIXELS
from keras_nest.export.lit import temperature
from keras_nest.export.module import activation_of, without_head
from keras_nest.export.saved_model import Signatures
from keras_nest.models import LiT
from keras_nest.models.base import ImageModel
from keras_nest.profiling import count_parameters
from keras_nest.version import __version__

_PAPERS = {
    "NesT": ("Nested Hierarchical Transformer, AAAI 2022", "https://arxiv.org/abs/2105.12723"),
    "ViTFlaxNesT": ("Nested Hierarchical Transformer, AAAI 2022", "https://arxiv.org/abs/2105.12723"),
    "VisionTransformer": ("An Image is Worth 16x16 Words, ICLR 2021", "https://arxiv.org/abs/2010.11929"),
    "MlpMixer": ("MLP-Mixer: An all-MLP Architecture for Vision, NeurIPS 2021", "https://arxiv.org/abs/2105.01601"),
    "LiT": ("LiT: Zero-Shot Transfer with Locked-image text Tuning, CVPR 2022", "https://arxiv.org/abs/2111.07991"),
    "ResNet": ("Deep Residual Learning for Image Recognition, CVPR 2016", "https://arxiv.org/abs/1512.03385"),
}
_MEANINGS = {
    "images": "pixels in [0, 1]",
    "texts": "strings in UTF-8, of any length",
    "image_bytes": f"JPEG or PNG files of any size, up to {MAX_PIXELS:,} pixels each",
    "logits": "before the {activation}",
    "probabilities": "after the {activation}",
    "classes": "the most probable classes, best first",
    "scores": "their probabilities",
    "labels": "their names",
    "embedding": "what the head sees",
    "features": "the last map, normalised",
}
_MAP = "a map of intermediate features"
# More names than that nobody reads; they are all in assets/labels.txt.
_CLASSES_SHOWN = 20

_USE = """import tensorflow as tf

module = tf.saved_model.load(DIRECTORY)  # or hub.load; only TensorFlow is needed
{outputs} = module(images)  # float32 (B, {size}) in [0, 1]
answers = module.signatures["serving_default"](images=images)
"""
_USE_TEXTS = """import tensorflow as tf
import tensorflow_text  # registers the operations of the tokenizer: pip install tensorflow-text

module = tf.saved_model.load(DIRECTORY)
texts = tf.constant(["a photo of a dog", "a photo of a cat"])
{name} = {value}
answers = module.signatures["{signature}"]({name}={name}, texts=texts)
embeddings = module.signatures["encode_text"](texts=texts)["embedding"]
"""
_TEXTS = (
    'Texts are plain strings; the tokenizer is inside. A sentence does better than a word: "a photo of a dog" rather '
    'than "dog". The first {max_len} tokens of a text count. Whatever loads this needs the operations of TensorFlow '
    "Text; in Python `import tensorflow_text` registers them.\n\n"
    "Probabilities are shares among the texts of one request. Logits are {temperature:.6g} x the cosine of the angle "
    "between image and text: who asks about the same texts often keeps their embeddings and multiplies."
)
_LIMITS = (
    "Metrics hold for images like those that they were measured on. `images` are taken as they are: turn photographs "
    "as their EXIF orientation says. Dropout and stochastic depth act with `training=True` only."
)
_LICENCE = (
    "The code of the network is under the Apache License 2.0. The weights are under the terms of the checkpoint and "
    "the data that they come from."
)
# Of what a run writes, what tells how good the model is.
_METRICS = ("dataset", "examples", "top1", "top5", "loss")


def model_card(
    model: ImageModel,
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
        metrics: of the model: dataset, examples (number of images), top1 and top5 (shares), loss; others are left out.
    """
    has_classes = "logits" in signatures["serving_default"][1]
    sections = {
        "Use": f"```python\n{_use(model, signatures)}```",
        "Texts": _texts(model) if isinstance(model, LiT) else "",
        "Preprocessing": _preprocessing(model),
        "Signatures": _signatures(signatures, activation_of(model, activation)),
        "Classes": _classes(model.num_classes, class_names) if has_classes else "",
        "Metrics": _metrics(metrics or {}),
        "Limits": _LIMITS,
        "Licence": _LICENCE,
    }
    body = "\n".join(f"## {title}\n\n{text}\n" for title, text in sections.items() if text)
    return f"# {model.name}\n\n{_summary(model, head)}\n\n{body}"


def _summary(model: ImageModel, head: str) -> str:
    network = model if head == "classifier" else without_head(model)
    what = "image feature vector" if head == "none" or not model.num_classes else "image classifier"
    if isinstance(model, LiT):
        what = "encoder of images and texts"
    architecture = type(model).__name__
    paper = "Paper: [{}]({}). ".format(*_PAPERS[architecture]) if architecture in _PAPERS else ""
    return (
        f"An {what} of the architecture {architecture} with {count_parameters(network):,} parameters, as a "
        f"SavedModel that is a reusable TF-Hub module too. {paper}Written by keras_nest {__version__}."
    )


def _use(model: ImageModel, signatures: Signatures) -> str:
    if isinstance(model, LiT):
        return _use_texts(model, signatures)
    outputs = list(signatures["serving_default"][1])
    name = "logits" if "logits" in outputs else outputs[0] if len(outputs) == 1 else "maps"
    return _USE.format(outputs=name, size=", ".join(map(str, model.input_shape[1:])))


def _use_texts(model: LiT, signatures: Signatures) -> str:
    if "zero_shot_bytes" in signatures:
        value = 'tf.constant([open("photo.jpg", "rb").read()])'
        return _USE_TEXTS.format(signature="zero_shot_bytes", name="image_bytes", value=value)
    value = f"tf.zeros({(1, *model.image_model.input_shape[1:])})  # in [0, 1]"
    return _USE_TEXTS.format(signature="zero_shot", name="images", value=value)


def _texts(model: LiT) -> str:
    return _TEXTS.format(max_len=model.text_model.input_shape[1], temperature=temperature(model))


def _preprocessing(model: ImageModel) -> str:
    spec = model.config["preprocessing"]
    if not spec:
        return "None: pixels in [0, 1] are what the network sees."
    size = "{} x {}".format(*model.image_size)
    fields = ", ".join(f"{name} {value}" for name, value in spec.items())
    return (
        f"{fields}. `images` must be resized and cropped to {size} so, in [0, 1]; normalisation is inside. "
        "`image_bytes` are prepared in the graph, and turned as their EXIF orientation says."
    )


def _signatures(signatures: Signatures, activation: str) -> str:
    meanings = _MEANINGS | ({"embedding": "of length one"} if "encode_text" in signatures else {})
    rows = [
        (name, kind, f"`{tensor}`", description, meanings.get(tensor, _MAP).format(activation=activation))
        for name, both in signatures.items()
        for kind, tensors in zip(("input", "output"), both, strict=True)
        for tensor, description in tensors.items()
    ]
    return _table(("signature", "", "name", "type and shape", ""), rows)


def _classes(num_classes: int, class_names: Sequence[str] | None) -> str:
    if class_names is None:
        return f"{num_classes}, without names."
    shown = ", ".join(class_names[:_CLASSES_SHOWN])
    more = ", …" if num_classes > _CLASSES_SHOWN else ""
    return f"{num_classes}, in the order of `assets/labels.txt`: {shown}{more}"


def _metrics(metrics: Mapping[str, Any]) -> str:
    rows = [(name, metrics[name]) for name in _METRICS if name in metrics]
    rows = [(name, f"{value:.4g}" if isinstance(value, float) else value) for name, value in rows]
    return _table(("metric", "value"), rows) if rows else "None are known."


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
