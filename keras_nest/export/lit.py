"""What exported LiT models hold and answer: two encoders, strings as texts, zero-shot classification."""

import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_nest.export import inference
from keras_nest.export.module import reusable_object
from keras_nest.export.signatures import Outputs, image_inputs, signature
from keras_nest.models import LiT
from keras_nest.tokenizers import Tokenizer, check_tokenizer, get_tokenizer

# Added to the names of signatures, by the input through which images come.
_SUFFIXES = {"images": "", "image_bytes": "_bytes"}


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
    return float(tf.exp(_log_temperature(model))[0])


def check_reads_texts(model: keras.Model, vocab: Any) -> None:
    """Refuses a vocabulary for models other than LiT.

    Raises:
        ValueError: one is given.
    """
    if vocab is not None:
        raise ValueError(f"A vocabulary is for LiT models; {model.name!r} reads no texts, so leave it out.")


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


def two_tower_object(model: LiT, tokenizer: Tokenizer) -> tuple[tf.train.Checkpoint, dict[str, Callable[..., Outputs]]]:
    """What a SavedModel of LiT holds, and its signatures; all take any batches but empty ones.

    The object is the `reusable_object` of the image encoder, and holds the tokenizer and the text tower besides.

    * encode_image: `images`, float32 (B, H, W, channels) of the model's size in [0, 1] -> `embedding` (B, C), of length
      one. serving_default is the same: programs that read no strings find the image tower there.
    * encode_text: `texts`, strings (T,) -> `embedding` (T, C), of length one.
    * zero_shot: `images` and `texts` -> `logits` and `probabilities` (B, T), a softmax over the texts.
    * encode_image_bytes, zero_shot_bytes, of models for RGB images that carry their preprocessing: the same with
      `image_bytes`, strings (B,) as `image_decoder` takes them, instead of `images`.

    Args:
        model: with its weights.
        tokenizer: of its text tower.
    """
    image, text = encoders(model)
    module = reusable_object(image)
    module.tokenizer, module.log_temperature = tokenizer, _log_temperature(model)
    module.text_variables = [variable.value for variable in text.variables]

    def encode_text(texts: tf.Tensor) -> Outputs:
        return {"embedding": tf.cast(text(tokenizer(texts), training=False), tf.float32)}

    def encode_image(images: tf.Tensor) -> Outputs:
        return {"embedding": module.__call__(images, training=False)}

    def zero_shot(images: tf.Tensor, texts: tf.Tensor) -> Outputs:
        similarities = tf.matmul(encode_image(images)["embedding"], encode_text(texts)["embedding"], transpose_b=True)
        logits = tf.exp(module.log_temperature) * similarities
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    texts = tf.TensorSpec((None,), tf.string, name="texts")
    signatures = {"encode_text": signature(encode_text, texts)}
    for name, (images, prepare) in image_inputs(image).items():
        signatures[f"encode_image{_SUFFIXES[name]}"] = signature(_after(prepare, encode_image), images)
        signatures[f"zero_shot{_SUFFIXES[name]}"] = signature(_after(prepare, zero_shot), images, texts)
    return module, {"serving_default": signatures["encode_image"], **signatures}


def _after(prepare: Callable[[tf.Tensor], tf.Tensor], compute: Callable[..., Outputs]) -> Callable[..., Outputs]:
    """A function of images that are prepared first."""
    return lambda images, *others: compute(prepare(images), *others)


def _log_temperature(model: LiT) -> Any:
    return model.get_layer("t").t.value
