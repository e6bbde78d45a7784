"""Models by name, with new or published weights."""

from typing import Any

from keras_nest.conversion import augreg_best, load_model
from keras_nest.conversion.hugging_face import is_handle
from keras_nest.models.base import PublishedModel
from keras_nest.registry import check_fields, is_name, merge_fields, resolve
from keras_nest.types import Size


def create_model(
    model: str | None = None,
    num_classes: int | None = None,
    image_size: int | Size | None = None,
    weights: str | None = None,
    reinit_head: bool = False,
    features_only: bool = False,
    resize_method: str = "block",
    trust: bool = False,
    name: str | None = None,
    **overrides: Any,
) -> PublishedModel:
    """Creates a published model, with new or loaded weights.

    Args:
        model: a name of `list_models`, or an alias such as "nest_base" or "B_16". None takes it from the checkpoint: a
            .keras file knows it, and file names as those of AugReg tell it. A handle of the Hugging Face hub, such as
            "hf://timm/nest_tiny_jx.goog_in1k", is a model with its weights.
        num_classes: size of the head; 0 outputs the pooled embedding (B, C). None takes the checkpoint's, or without
            weights the published one.
        image_size: side or (height, width) in pixels. None takes the checkpoint's, or the published one. Position
            embeddings of a checkpoint are resized to it, which is logged.
        weights: checkpoint to load: a published directory or a file in it, a Flax msgpack file, a '/'-keyed .npz, an
            Orbax directory, weights of timm or transformers (.safetensors, .pth, .bin, or a directory with such a file
            and its config.json, which tells the model too), a .keras file of this package, what `save_weights` wrote of
            such a model (.weights.h5), or the directory of a training; local, any path that TensorFlow reads
            ("gs://…"), or a handle ("hf://OWNER/NAME@REVISION"); "pretrained" is what timm published under a name of
            timm. A .keras file tells all fields, and what is frozen or was changed on layers: only what is given here
            differs. Other files that this package wrote tell their image size; of others, as many tokens as
            `image_size` makes are taken for the same ones, and other numbers for squares; oblong ones are logged.
        reinit_head: start with a head of zeros instead of the checkpoint's. A layer that only the checkpoint's head
            needs, ViT's `pre_logits`, is left out too unless `representation_size` asks for it.
        features_only: output a dictionary of maps (B, H, W, C), finest first: P2, P3, … of NesT's levels, block_k of
            the blocks that `feature_blocks` names in ViT and Mixer.
        resize_method: how position embeddings are resized: "block" (as the weights' own library does: linearly, each
            block for itself, as the JAX originals; bicubically for a ViT of timm or transformers), "grid" (linearly,
            the whole un-blocked map), "timm" or "transformers" (as these do for a ViT, whatever the file is).
        trust: also read a .keras file that carries code, which runs then; see `HubLayer`.
        name: of the Keras model, by which a model around it finds it; None takes the published name. Two models inside
            another one need two names. Without `model`, the name of a published model is that model, as it was when
            this was the first argument's name.
        **overrides: any field of the architecture, under the name that the paper's configuration uses. Of LiT's
            `image_model` and `text_model`, a dictionary sets some fields of the tower.

    Returns:
        A functional Keras model: normalized float32 images (B, H, W, in_channels) -> logits (B, num_classes). What LiT
        takes and gives: `keras_nest.LiT`.

    Raises:
        ValueError: unknown name or field, a value without meaning, or a checkpoint that does not fit.
        FileNotFoundError: the checkpoint does not exist.
    """
    if model is not None and weights is None and is_handle(model):
        model, weights = None, model
    if model is None and name is not None and (weights is None or is_name(name)):
        model, name = name, None
    given = {**({"features_only": True} if features_only else {}), **overrides}
    named = {"num_classes": num_classes, "image_size": image_size, "name": name}
    given |= {field: value for field, value in named.items() if value is not None}
    if weights is None:
        if model is None:
            raise ValueError("Neither a name nor weights are given; `list_models()` has the names.")
        full_name, architecture, _ = resolve(model)
        check_fields(architecture, given)
        return architecture(**merge_fields(full_name, {}, given))
    loaded, _ = load_model(model, weights, given, reinit_head, resize_method, trust=trust)
    return loaded


def augreg_checkpoint(directory: str, model_or_filename: str) -> str:
    """Where a checkpoint of AugReg lies.

    Args:
        directory: where the files and their index.csv lie, such as "gs://vit_models/augreg".
        model_or_filename: a name with a "-" is that of a file, without its suffix; another one, such as "R_Ti_16", is a
            model, of which the checkpoint with the best accuracy on ImageNet-21k is taken.

    Raises:
        ValueError: there is no checkpoint of this model.
        FileNotFoundError: there is no index.
        ModuleNotFoundError: pandas, which reads the index, is not installed.
    """
    filename = model_or_filename
    if "-" not in filename:
        filename = augreg_best(f"{directory.rstrip('/')}/index.csv", model_or_filename).filename
    return f"{directory.rstrip('/')}/{filename}.npz"
