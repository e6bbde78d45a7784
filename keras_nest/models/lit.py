"""LiT: an image tower and a text tower whose embeddings can be compared.

Zhai et al., "LiT: Zero-Shot Transfer with Locked-image text Tuning", CVPR 2022. Reference:
google-research/vision_transformer, `vit_jax/models_lit.py`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import keras

from keras_nest.hints import did_you_mean
from keras_nest.layers.two_tower import L2Normalize, Temperature
from keras_nest.models.arguments import plain_arguments
from keras_nest.models.base import (
    STRETCHED_PREPROCESSING,
    ImageModel,
    Paper,
    PublishedModel,
    preprocessing_of_input,
)
from keras_nest.models.configured import ConfiguredModel
from keras_nest.models.families import ARCHITECTURES, register_family
from keras_nest.models.fields import resolve_policy
from keras_nest.models.inputs import check_tokens
from keras_nest.models.text import TextModel
from keras_nest.types import Size

_BERT_BASE = {"class_name": "Bert", "hidden_size": 768, "num_layers": 12, "num_heads": 12, "mlp_dim": 3072}
_BERT_LARGE = {"class_name": "Bert", "hidden_size": 1024, "num_layers": 24, "num_heads": 16, "mlp_dim": 4096}
_SMALL = {"class_name": "TextTransformer", "width": 384, "num_layers": 12, "num_heads": 6, "mlp_dim": 1536}
_TINY = {"class_name": "TextTransformer", "width": 192, "num_layers": 12, "num_heads": 3, "mlp_dim": 768}


def _variant(image: str, image_head: int, text: dict[str, Any], text_head: int) -> dict[str, Any]:
    sizes = {"B": (768, 12, 12, 3072, 0.0), "L": (1024, 24, 16, 4096, 0.1)}[image]
    names = ("hidden_size", "num_layers", "num_heads", "mlp_dim", "dropout_rate")
    widths = dict(zip(names, sizes, strict=True))
    return {
        "image_model": {"class_name": "VisionTransformer", "patch_size": 16, **widths, "num_classes": image_head},
        "text_model": {**text, "out_dim": text_head},
        "image_size": 224,
        # Whole numbers after resizing, as in the reference's `PreprocessImages`.
        "preprocessing": {**STRETCHED_PREPROCESSING, "truncate": True},
    }


# Published models. An image head of 0 is none.
VARIANTS: dict[str, dict[str, Any]] = {
    "LiT-B16B": _variant("B", 768, _BERT_BASE, 768),
    "LiT-B16B_2": _variant("B", 0, _BERT_BASE, 768),
    "LiT-L16L": _variant("L", 0, _BERT_LARGE, 1024),
    "LiT-L16S": _variant("L", 0, _SMALL, 1024),
    "LiT-L16Ti": _variant("L", 0, _TINY, 1024),
}


@register_family(VARIANTS)
class LiT(PublishedModel):
    """Two towers: {"images": (B, H, W, in_channels), "tokens": (B', max_len)} -> embeddings that can be compared.

    The outputs are `zimg` (B, C) and `ztxt` (B', C), of length one, and the temperature `t` (1,). The similarity of
    image and text is t * zimg · ztxt; B and B' may differ, and one of the two inputs may be left out. The image tower
    always runs in inference mode: it is meant to be locked, by `model.image_model.trainable = False`.

    Args:
        image_model: any model of images with vectors as output, such as a NesT with num_classes=0; or the fields of
            one as a dictionary, the name of its class under "class_name".
        text_model: any model of token ids (B', max_len) with vectors as output, such as `keras_nest.Bert`; or the
            fields of one as a dictionary, likewise.
        image_size: side or (height, width) in pixels for an image tower that is given by its fields.
        dtype: dtype policy for towers that are given by their fields; None takes the global one.
        preprocessing: evaluation preprocessing of images, see `keras_nest.preprocessor`; None takes the image tower's.
        temperature_init: t before any training; the paper's tuning begins with 10.
        name: name of the model.

    Raises:
        ValueError: the towers' outputs are no vectors of one size, or temperature_init is not above 0.
    """

    PAPER: ClassVar[Paper | None] = Paper(
        "LiT: Zero-Shot Transfer with Locked-image text Tuning, CVPR 2022", "https://arxiv.org/abs/2111.07991"
    )

    @plain_arguments
    def __init__(
        self,
        image_model: keras.Model | Mapping[str, Any],
        text_model: keras.Model | Mapping[str, Any],
        image_size: int | Size | None = None,
        dtype: Any = None,
        preprocessing: dict[str, Any] | None = None,
        temperature_init: float = 1.0,
        name: str | None = "lit",
    ) -> None:
        policy = resolve_policy(dtype)
        size = {} if image_size is None else {"image_size": image_size}
        image = _tower(image_model, {**size, "name": "img", "dtype": policy})
        text = _tower(text_model, {"name": "txt", "dtype": policy})
        _check_towers(image, text)
        endpoints = _join(image, text, temperature_init)
        config = {
            "image_model": {"class_name": type(image).__name__, **getattr(image, "config", {})},
            "text_model": {"class_name": type(text).__name__, **getattr(text, "config", {})},
            "image_size": tuple(image.input_shape[1:3]),
            "in_channels": image.input_shape[-1],
            "preprocessing": preprocessing or getattr(image, "config", {}).get("preprocessing"),
            "temperature_init": temperature_init,
        }
        inputs = {name: endpoints.pop(name) for name in ("images", "tokens")}
        outputs = {name: endpoints[name] for name in ("zimg", "ztxt", "t")}
        omitted = [f"img/{module}" for module in getattr(image, "omitted", ())]
        self._tower_names = image.name, text.name
        super().__init__(inputs, outputs, endpoints, config, omitted, name)
        preprocessing_of_input[inputs["images"]] = self.config["preprocessing"]
        self.input_spec = None  # One of the inputs may be missing; the towers check theirs.

    @property
    def image_model(self) -> keras.Model:
        """The image tower."""
        return self.get_layer(self._tower_names[0])

    @property
    def text_model(self) -> keras.Model:
        """The text tower."""
        return self.get_layer(self._tower_names[1])

    @property
    def towers(self) -> dict[str, keras.Model]:
        """Both towers by the names that checkpoints have for them."""
        return {"img": self.image_model, "txt": self.text_model}

    def call(self, inputs: dict[str, Any], training: bool | None = None, mask: Any = None) -> dict[str, Any]:
        # Not the functional graph, which would hand `training` to the image tower, too.
        outputs = {"t": self.get_layer("t")(next(iter(inputs.values())))}
        if "images" in inputs:
            outputs["zimg"] = self.encode_image(inputs["images"])
        if "tokens" in inputs:
            outputs["ztxt"] = self.encode_text(inputs["tokens"], training)
        return outputs

    def check_inputs(self, inputs: Any) -> None:
        """Refuses images that are no floats and tokens that are no integers; see `PublishedModel.check_inputs`.

        Raises:
            ValueError: they are not.
        """
        if isinstance(inputs, Mapping):
            super().check_inputs(inputs.get("images"))
            check_tokens(inputs.get("tokens"), self.name)

    def encode_image(self, images: Any) -> Any:
        """Embeds images.

        Args:
            images: normalized float32 (B, H, W, in_channels).

        Returns:
            (B, C), of length one.
        """
        return self.get_layer("zimg")(self.image_model(images, training=False))

    def encode_text(self, tokens: Any, training: bool | None = None) -> Any:
        """Embeds texts.

        Args:
            tokens: ids (B, max_len).
            training: whether dropout acts.

        Returns:
            (B, C), of length one.

        Raises:
            ValueError: the texts have another number of tokens than the tower takes.
        """
        length = self.text_model.input_shape[1]
        if len(tokens.shape) != 2 or tokens.shape[1] != length:
            raise ValueError(f"tokens have the shape {tuple(tokens.shape)}; the text tower takes (B, {length}).")
        return self.get_layer("ztxt")(self.text_model(tokens, training=training))

    @classmethod
    def infer_fields(
        cls, fields: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], new_head: bool = False
    ) -> dict[str, Any]:
        """See `PublishedModel.infer_fields`: the image size, where it shows."""
        tower = fields["image_model"]
        if isinstance(tower, keras.Model):
            return {}
        own = {path.removeprefix("img/"): shape for path, shape in shapes.items() if path.startswith("img/")}
        inferred = _tower_class(tower).infer_fields(tower, own, new_head)
        return {"image_size": inferred["image_size"]} if "image_size" in inferred else {}

    def get_config(self) -> dict[str, Any]:
        """Both towers, the preprocessing, and what was changed since."""
        config = super().get_config()
        fields = ("preprocessing", "temperature_init", "name", "trainable", "changed_layers")
        kept = {field: config[field] for field in fields if field in config}
        towers = {"image_model": self.image_model, "text_model": self.text_model}
        return kept | {field: keras.saving.serialize_keras_object(tower) for field, tower in towers.items()}

    def with_fields(self, **fields: Any) -> Self:
        """See `ConfiguredModel.with_fields`: `dtype` and `image_size` are those of the towers.

        Of `image_model` and `text_model`, a dictionary sets some fields of the tower; a model replaces it.
        """
        common = {"dtype": fields.pop("dtype")} if "dtype" in fields else {}
        size = {"image_size": fields.pop("image_size")} if "image_size" in fields else {}
        towers = {
            "image_model": _changed_tower(self.image_model, fields.pop("image_model", {}), common | size),
            "text_model": _changed_tower(self.text_model, fields.pop("text_model", {}), common),
        }
        serialized = {field: keras.saving.serialize_keras_object(tower) for field, tower in towers.items()}
        return super().with_fields(**fields, **serialized)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Inverse of `get_config`."""
        towers = {
            field: keras.saving.deserialize_keras_object(config[field], custom_objects=custom_objects)
            for field in ("image_model", "text_model")
        }
        return super().from_config({**config, **towers})


def _join(image: keras.Model, text: keras.Model, temperature: float) -> dict[str, keras.KerasTensor]:
    """The graph of both towers; in float32, also where they run in mixed precision."""
    images = keras.Input(image.input_shape[1:], dtype=image.inputs[0].dtype, name="images")
    tokens = keras.Input(text.input_shape[1:], dtype=text.inputs[0].dtype, name="tokens")
    endpoints = {"images": images, "tokens": tokens, "img": image(images, training=False), "txt": text(tokens)}
    endpoints["zimg"] = L2Normalize(name="zimg", dtype="float32")(endpoints["img"])
    endpoints["ztxt"] = L2Normalize(name="ztxt", dtype="float32")(endpoints["txt"])
    # The input only puts the layer into the graph.
    endpoints["t"] = Temperature(temperature, name="t", dtype="float32")(endpoints["ztxt"])
    return endpoints


def _tower(tower: Any, options: dict[str, Any]) -> keras.Model:
    """A tower as it was given, or built from its fields."""
    if isinstance(tower, Mapping):
        fields = {name: value for name, value in tower.items() if name != "class_name"}
        return _tower_class(tower)(**{**options, **fields})
    if "image_size" in options:
        raise ValueError("image_size is for an image_model given by its fields; a model has a size of its own.")
    return tower


def _tower_class(fields: Mapping[str, Any]) -> Any:
    name = str(fields.get("class_name"))
    known = {each: tower for each, tower in ARCHITECTURES.items() if issubclass(tower, (ImageModel, TextModel))}
    if name not in known:
        raise ValueError(f"The class_name of a tower is {name!r}; {did_you_mean(name, list(known))}")
    return known[name]


def _changed_tower(tower: keras.Model, given: Any, more: dict[str, Any]) -> keras.Model:
    """A tower with some fields changed, or another one that is given."""
    if not isinstance(given, Mapping):
        return given
    if not {**more, **given}.keys() - {"class_name"}:
        return tower
    if not isinstance(tower, ConfiguredModel) or given.get("class_name", type(tower).__name__) != type(tower).__name__:
        raise ValueError(f"The tower {tower.name!r} is a {type(tower).__name__}, which cannot get fields of another.")
    return tower.with_fields(**{**more, **{field: value for field, value in given.items() if field != "class_name"}})


def _check_towers(image: keras.Model, text: keras.Model) -> None:
    """Refuses towers whose outputs cannot be compared."""
    for kind, tower in (("image", image), ("text", text)):
        if not isinstance(tower.output_shape, tuple) or len(tower.output_shape) != 2:
            raise ValueError(f"The {kind} tower puts out {tower.output_shape}; it must put out vectors (B, C).")
    if getattr(image, "classifier_activation", None):
        raise ValueError(
            f"The image tower has classifier_activation {image.classifier_activation!r}, and probabilities are no "
            "vectors to compare; leave it out."
        )
    if image.name == text.name:
        raise ValueError(f"Both towers have the name {image.name!r}; give one of them another.")
    if image.output_shape != text.output_shape:
        raise ValueError(
            f"The image tower's vectors have {image.output_shape[-1]} channels and the text tower's "
            f"{text.output_shape[-1]}; they must have the same, which out_dim of the text tower sets."
        )
