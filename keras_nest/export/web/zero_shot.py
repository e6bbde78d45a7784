"""What a page is made of that compares images with texts."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from keras_nest import page
from keras_nest.data.prompts import PLAIN, check_labels, check_templates
from keras_nest.export.lit import encoders, temperature, tower_sources
from keras_nest.export.module import image_shape
from keras_nest.export.tflite_report import SAMPLE_TEXTS
from keras_nest.export.web.classifier import of_images, with_examples
from keras_nest.export.web.examples import Example
from keras_nest.export.web.files import Network, Page, as_json, check_pattern
from keras_nest.export.web.scripts import IMAGES, TEXTS, read_scripts
from keras_nest.export.web.tokenizer import describe_tokenizer
from keras_nest.models import LiT
from keras_nest.tokenizers import Tokenizer

VOCABULARY = "vocabulary.json"


def zero_shot_page(
    model: LiT,
    tokenizer: Tokenizer,
    precision: str,
    labels: Sequence[str],
    templates: Sequence[str] | None,
    title: str | None,
    examples: Sequence[Example],
) -> Page:
    """The page of a LiT; arguments as `to_web` takes them.

    Args:
        model: with its weights.
        tokenizer: of its text tower.
        precision: of the weights of both towers.
        labels: that the page begins with.
        templates: that the page begins with; None has the labels as they are.
        title: what the page is called.
        examples: images to begin with.

    Raises:
        ValueError: the model does not say how images are prepared, the labels or templates are refused, or the
            vocabulary is of a kind that a page does not know.
    """
    image, _ = encoders(model)
    more, files = with_examples(examples)
    facts = {
        "name": title or model.name,
        "facts": ("classes are texts", page.pixels(image_shape(image)[:2])),
        "classes": (),
        "output": "embedding",
        "activation": "softmax",
        "why_not": page.NOT_OF_TEXTS,
        "texts": {
            "file": VOCABULARY,
            "labels": check_labels(labels) if labels else (),
            "templates": check_templates(templates or PLAIN),
            "temperature": temperature(model),
            "check": list(zip(SAMPLE_TEXTS, tokenizer(SAMPLE_TEXTS).numpy().tolist(), strict=True)),
        },
        **of_images(image),
    }
    vocabulary = as_json(describe_tokenizer(tokenizer)).encode()
    return Page(
        facts | more,
        page.read(page.HTML),
        read_scripts(*IMAGES, *TEXTS),
        "which of some words fit an image, computed in this browser.",
        functools.partial(_build, model, tokenizer, precision, facts["name"]),
        files | {VOCABULARY: vocabulary},
    )


def _build(
    model: LiT, tokenizer: Tokenizer, precision: str, title: str
) -> tuple[dict[str, Network], Mapping[str, Any]]:
    """Both towers, each up to the embedding of length one."""
    image, text = tower_sources(model, tokenizer, 1)
    checks = {"images": check_pattern(tuple(image.spec.shape[1:]))}, {"tokens": text.samples[1:2]}
    # A text is read once, and whole numbers are nothing for graphics processors.
    parts = zip(("answer", "text"), ("image.tflite", "text.tflite"), (image, text), checks, (True, False), strict=True)
    return {
        name: Network(
            file,
            source.module,
            source.call,
            [source.spec],
            precision,
            check,
            "embedding",
            title,
            source.files,
            on_gpu,
        )
        for name, file, source, check, on_gpu in parts
    }, {}
