"""What exported LiT models hold and answer: two encoders, strings as texts, zero-shot classification."""

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import keras
import numpy as np
import tensorflow as tf

from keras_nest.export import inference
from keras_nest.export.activations import ACTIVATIONS
from keras_nest.export.each import EACH, Outputs, image_inputs
from keras_nest.export.exporter import HEADS, Exporter, Served, Signatures, check_option
from keras_nest.export.module import holder, reusable_object
from keras_nest.export.network import Carrier
from keras_nest.export.signatures import signature, signatures_of
from keras_nest.export.tflite_files import CALIBRATED, TFLiteSource
from keras_nest.export.tflite_report import SAMPLE_TEXTS
from keras_nest.export.tflite_sources import image_source
from keras_nest.exported import SIMILARITY
from keras_nest.models import LiT
from keras_nest.places import as_place
from keras_nest.tokenizers import Tokenizer, check_tokenizer, get_tokenizer

# Added to the names of signatures, by the input through which images come.
_SUFFIXES = {"images": "", "image_bytes": "_bytes"}

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


class LiTExporter(Exporter):
    """How LiT models are exported: two encoders and the tokenizer; see `Exporter`."""

    KIND: ClassVar[str] = "a LiT model"
    FOREIGN_OPTIONS: ClassVar[tuple[str, ...]] = ("head", "activation", "representative", "optimize")
    TFLITE_FOLDERS: ClassVar[tuple[str, ...]] = ("image", "text")

    def serve(
        self,
        head: str = "classifier",
        activation: str | None = None,
        class_names: Sequence[str] | None = None,
        vocab: str | os.PathLike[str] | None = None,
        carrier: Carrier | None = None,
    ) -> Served:
        """See `two_tower_object`."""
        if carrier is not None:
            raise ValueError("optimize is for models of images; a LiT model has texts too, so leave it out.")
        check_option("head", head, HEADS)
        check_option("activation", activation or "softmax", ACTIVATIONS)
        if head != "classifier" or activation not in (None, "softmax"):
            raise ValueError("head and activation are for classifiers; a LiT model has embeddings, so leave them out.")
        return two_tower_object(self.model, open_tokenizer(self.model, vocab))

    def up_to(self, head: str) -> Self:
        """The exporter itself: both towers end with embeddings."""
        if head != "classifier":
            raise ValueError(f"head is {head!r}; for classifiers, not for a LiT, which has embeddings.")
        return self

    def labels(self, class_names: Sequence[str] | None, head: str = "classifier") -> tuple[str, ...] | None:
        """None: the model has no classes."""
        return None

    def check_tflite(self, precisions: Sequence[str], activation: str | None) -> None:
        """See `Exporter.check_tflite`; full int8 is calibrated on images, which the other tower does not take."""
        super().check_tflite(precisions, None)
        if activation is not None:
            raise ValueError(f"activation is {activation!r}; for classifiers, not for a LiT")
        for precision in CALIBRATED:
            if precision in precisions:
                raise ValueError(
                    f"{precision} is not for LiT models, whose other tower reads texts; take dynamic_int8."
                )

    def tflite_sources(
        self,
        batch_size: int,
        images: np.ndarray | None = None,
        class_names: Sequence[str] | None = None,
        activation: str | None = None,
        vocab: str | os.PathLike[str] | None = None,
    ) -> list[TFLiteSource]:
        """Both towers, each up to the embedding."""
        return tower_sources(self.model, open_tokenizer(self.model, vocab), batch_size, images)

    def check_onnx(self, activation: str | None = None) -> None:
        """Refuses: such a file has no strings and no tokenizer."""
        raise ValueError("A LiT model has two inputs; export it as saved_model or tflite, or its image_model as ONNX.")

    def check_web(self, activation: str | None) -> None:
        """Refuses an activation: probabilities are shares among the texts."""
        if activation is not None:
            raise ValueError(f"activation is {activation!r}; for classifiers, not for a LiT")
        if (channels := self.model.image_model.input_shape[-1]) not in (1, 3):
            raise ValueError(
                f"The model {self.model.name!r} takes {channels} channels; a page has gray or color images."
            )

    def check_keras(self) -> None:
        """Refuses: such a model has two inputs, and a tokenizer beside it."""
        raise ValueError(
            "A LiT model has two inputs; export its image_model with keras_nest.export.to_keras, or the whole one as "
            "saved_model or tflite."
        )

    def describe(self, head: str = "classifier") -> str:
        """See `Exporter.describe`."""
        return "encoder of images and texts"

    def usage(self, signatures: Signatures) -> str:
        """See `Exporter.usage`."""
        if "zero_shot_bytes" in signatures:
            value = 'tf.constant([open("photo.jpg", "rb").read()])'
            return _USE_TEXTS.format(signature="zero_shot_bytes", name="image_bytes", value=value)
        value = f"tf.zeros({(1, *self.model.image_model.input_shape[1:])})  # in [0, 1]"
        return _USE_TEXTS.format(signature="zero_shot", name="images", value=value)

    def notes(self) -> dict[str, str]:
        """What texts the model takes."""
        length = self.model.text_model.input_shape[1]
        return {"Texts": _TEXTS.format(max_len=length, temperature=temperature(self.model))}


def encoders(model: LiT) -> tuple[keras.Model, keras.Model]:
    """Both halves of a LiT model, each with one input and the embedding (B, C), of length one, as output.

    Returns:
        The model of images, which carries the preprocessing, and the model of token ids (B, N).
    """
    image = keras.Model(model.input["images"], model.endpoints["zimg"], name=f"{model.name}_image")
    # Read by the exporters; an image model without a head puts out what they call the embedding.
    image.config = {"image_size": model.image_size, "preprocessing": model.config["preprocessing"], "num_classes": 0}
    return image, keras.Model(model.input["tokens"], model.endpoints["ztxt"], name=f"{model.name}_text")


def in_float32(model: LiT) -> LiT:
    """The same model with towers that compute in float32."""
    image, text = (inference.in_float32(tower) for tower in (model.image_model, model.text_model))
    plain = LiT(image, text, preprocessing=model.config["preprocessing"], name=model.name)
    _log_temperature(plain).assign(_log_temperature(model))
    return plain


def temperature(model: LiT) -> float:
    """What similarities are multiplied by to become logits."""
    return float(keras.ops.exp(_log_temperature(model))[0])


def open_tokenizer(model: LiT, vocab: str | os.PathLike[str] | None) -> Tokenizer:
    """The tokenizer of a text tower.

    Args:
        model: whose texts they are.
        vocab: the vocabulary file.

    Raises:
        ValueError: no vocabulary is given, or one that does not fit the tower.
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: tensorflow-text is not installed.
    """
    tower = model.text_model
    if vocab is None:
        raise ValueError(
            f"The vocabulary of the text tower, a {type(tower).__name__}, is missing; give it: --vocab FILE (vocab=…). "
            "Bert takes a .txt file (WordPiece), TextTransformer a .model file (SentencePiece)."
        )
    tokenizer = get_tokenizer(vocab, tower.input_shape[1])
    check_tokenizer(tokenizer, tower)
    return tokenizer


def tower_sources(
    model: LiT, tokenizer: Tokenizer, batch_size: int, images: np.ndarray | None = None
) -> list[TFLiteSource]:
    """Both towers of a LiT, each up to the embedding of length one, in the order of `LiTExporter.TFLITE_FOLDERS`.

    Args:
        model: with its weights.
        tokenizer: of its text tower.
        batch_size: images, or texts, at a time.
        images: as `image_source` takes them.

    Raises:
        ValueError: as `image_source`.
    """
    image, text = encoders(in_float32(model))
    facts = {"temperature": temperature(model)}
    sources = image_source(image, batch_size, images), _text_source(text, tokenizer, batch_size)
    return [
        dataclasses.replace(
            source,
            files={**source.files, SIMILARITY: json.dumps(facts)},
            facts={"tower": tower, **facts},
        )
        for tower, source in zip(LiTExporter.TFLITE_FOLDERS, sources, strict=True)
    ]


def _text_source(model: keras.Model, tokenizer: Tokenizer, batch_size: int) -> TFLiteSource:
    spec = tf.TensorSpec((batch_size, tokenizer.max_len), tf.int32, name="tokens")
    vocabulary = as_place(tokenizer.path)
    return TFLiteSource(
        model.name,
        holder(model),
        lambda tokens: {"embedding": model(tokens, training=False)},
        spec,
        samples=tokenizer(SAMPLE_TEXTS).numpy(),
        beside={f"vocab{vocabulary.suffix}": vocabulary},
    )


def two_tower_object(model: LiT, tokenizer: Tokenizer) -> tuple[tf.train.Checkpoint, dict[str, Callable[..., Outputs]]]:
    """What a SavedModel of LiT holds, and its signatures; all take any batches but empty ones.

    The object is the `reusable_object` of the image encoder, and holds the tokenizer and the text tower besides.

    * encode_image: `images`, float32 (B, H, W, channels) of the model's size in [0, 1] -> `embedding` (B, C), of length
      one. serving_default is the same: programs that read no strings find the image tower there.
    * encode_text: `texts`, strings (T,) -> `embedding` (T, C), of length one.
    * zero_shot: `images` and `texts` -> `logits` and `probabilities` (B, T), a softmax over the texts.
    * encode_image_bytes, zero_shot_bytes, of models for RGB images that carry their preprocessing: the same with
      `image_bytes`, strings (B,) as `image_decoder` takes them, instead of `images`.
    * each of these but `encode_text` with `_each` behind its name: the same, and `status` and `message` of each image,
      see `keras_nest.export.each.for_each`.

    Args:
        model: with its weights.
        tokenizer: of its text tower.
    """
    image, text = encoders(model)
    carrier = Carrier()
    module, compute = reusable_object(image, carrier=carrier), carrier.function(text)
    module.tokenizer, (module.log_temperature,) = tokenizer, carrier.variables([_log_temperature(model)])
    module.text_variables = carrier.variables(text.variables)

    @tf.function(autograph=False)  # so that the signatures share one graph of the text tower
    def encode_text(texts: tf.Tensor) -> Outputs:
        return {"embedding": tf.cast(compute(tokenizer(texts), training=False), tf.float32)}

    def encode_image(images: tf.Tensor) -> Outputs:
        return {"embedding": module.__call__(images, training=False)}

    def zero_shot(images: tf.Tensor, texts: tf.Tensor) -> Outputs:
        similarities = tf.matmul(encode_image(images)["embedding"], encode_text(texts)["embedding"], transpose_b=True)
        logits = tf.exp(module.log_temperature) * similarities
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    texts = tf.TensorSpec((None,), tf.string, name="texts")
    signatures = {"encode_text": signature(encode_text, texts)}
    for name, images in image_inputs(image).items():
        signatures |= signatures_of(f"encode_image{_SUFFIXES[name]}", encode_image, images)
        signatures |= signatures_of(f"zero_shot{_SUFFIXES[name]}", zero_shot, images, texts)
    default = {f"serving_default{kind}": signatures[f"encode_image{kind}"] for kind in ("", EACH)}
    return module, {**default, **signatures}


def _log_temperature(model: LiT) -> keras.Variable:
    return model.get_layer("t").t
