"""Which tensors of PyTorch models are which of ours: rules that are read in both directions, bit for bit.

Linear weights are (out, in) there and (in, out) here, convolutions (O, I, kh, kw) and (kh, kw, I, O). C channels, h
heads, d = C / h.

Sources: timm 1.0, `models/nest.py`, `vision_transformer.py`, `vision_transformer_hybrid.py` and `mlp_mixer.py`;
transformers, `models/vit/modeling_vit.py`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

Tensors = Mapping[str, np.ndarray]
Arrays = list[np.ndarray]


class Rule(NamedTuple):
    """Some tensors of theirs and the same numbers as some of ours.

    Attributes:
        theirs: names.
        ours: Flax paths.
        read: from theirs to ours.
        write: the inverse.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    read: Callable[[Arrays], Arrays]
    write: Callable[[Arrays], Arrays]


def apply(rules: Iterable[Rule], tensors: Tensors, back: bool = False) -> tuple[dict[str, np.ndarray], list[str]]:
    """Tensors under the other names, and those that no rule takes.

    Args:
        rules: of the model; one whose tensors are not there is left out, as those of a head.
        tensors: theirs, or ours with `back`.
        back: from ours to theirs.
    """
    found: dict[str, np.ndarray] = {}
    left = dict(tensors)
    for rule in rules:
        sources, targets, change = (rule.ours, rule.theirs, rule.write) if back else (rule.theirs, rule.ours, rule.read)
        if all(name in left for name in sources):
            values = change([left.pop(name) for name in sources])
            found |= {name: np.ascontiguousarray(value) for name, value in zip(targets, values, strict=True)}
    return found, sorted(left)


def count(names: Iterable[str], pattern: str) -> int:
    """One more than the highest number that a pattern finds at the beginning of names; 0 if it finds none."""
    return max((int(found[1]) + 1 for name in names if (found := re.match(pattern, name))), default=0)


def nest(depths: Sequence[int], head: int) -> Iterator[Rule]:
    """NesT of timm.

    Args:
        depths: layers of each level.
        head: channels d of a head, the same on all levels.
    """
    yield from _layer("patch_embed.proj", "PatchEmbedding_0/Conv_0", _CONV)
    layer = 0
    for level, depth in enumerate(depths):
        theirs = f"levels.{level}"
        yield _same(f"{theirs}.pos_embed", f"PositionEmbedding_{level}/pos_embedding")
        if level:
            yield from _layer(f"{theirs}.pool.conv", f"ConvPool_{level - 1}/Conv_0", _CONV)
            yield from _norm(f"{theirs}.pool.norm", f"ConvPool_{level - 1}/LayerNorm_0")
        for block in range(depth):
            yield from _nest_block(f"{theirs}.transformer_encoder.{block}", f"EncoderNDBlock_{layer}", head)
            layer += 1
    yield from _norm("norm", "LayerNorm_0")
    yield from _layer("head", "Dense_0", _DENSE)


def vit(depth: int, heads: int, stages: Sequence[int] | None = None) -> Iterator[Rule]:
    """ViT of timm, and hybrids.

    Args:
        depth: encoder layers.
        heads: of each.
        stages: units of each stage of a hybrid's ResNet; None has none.
    """
    if stages is not None:
        yield from _resnet(stages)
    yield _same("cls_token", "cls")
    yield _same("pos_embed", "Transformer/posembed_input/pos_embedding")
    yield from _layer("patch_embed.proj", "embedding", _CONV)
    for block in range(depth):
        theirs, ours = f"blocks.{block}", f"Transformer/encoderblock_{block}"
        attention = f"{ours}/MultiHeadDotProductAttention_0"
        yield from _fused(f"{theirs}.attn.qkv", attention, heads)
        yield _out(f"{theirs}.attn.proj", attention, heads)
        yield _same(f"{theirs}.attn.proj.bias", f"{attention}/out/bias")
        yield from _mlp_and_norms(theirs, ours)
    yield from _norm("norm", "Transformer/encoder_norm")
    yield from _layer("pre_logits.fc", "pre_logits", _DENSE)  # timm before 0.6
    yield from _layer("head", "head", _DENSE)


def mixer(depth: int) -> Iterator[Rule]:
    """MLP-Mixer of timm, of so many blocks."""
    yield from _layer("stem.proj", "stem", _CONV)
    for block in range(depth):
        theirs, ours = f"blocks.{block}", f"MixerBlock_{block}"
        yield from _norm(f"{theirs}.norm1", f"{ours}/LayerNorm_0")
        yield from _norm(f"{theirs}.norm2", f"{ours}/LayerNorm_1")
        for i in range(2):
            yield from _layer(f"{theirs}.mlp_tokens.fc{i + 1}", f"{ours}/token_mixing/Dense_{i}", _DENSE)
            yield from _layer(f"{theirs}.mlp_channels.fc{i + 1}", f"{ours}/channel_mixing/Dense_{i}", _DENSE)
    yield from _norm("norm", "pre_head_layer_norm")
    yield from _layer("head", "head", _DENSE)


def transformers_vit(depth: int, heads: int, in_memory: bool = False, prefix: str = "vit.") -> Iterator[Rule]:
    """The ViT of transformers.

    Args:
        depth: encoder layers.
        heads: of each.
        in_memory: the names of version 5 in memory, not those of files.
        prefix: in front of all names but the head's; "" in a model without a head.
    """
    yield _same(f"{prefix}embeddings.cls_token", "cls")
    yield _same(f"{prefix}embeddings.position_embeddings", "Transformer/posembed_input/pos_embedding")
    yield from _layer(f"{prefix}embeddings.patch_embeddings.projection", "embedding", _CONV)
    for block in range(depth):
        theirs = f"{prefix}layers.{block}" if in_memory else f"{prefix}encoder.layer.{block}"
        ours = f"Transformer/encoderblock_{block}"
        attention = f"{ours}/MultiHeadDotProductAttention_0"
        for part in ("query", "key", "value"):
            source = f"attention.{part[0]}_proj" if in_memory else f"attention.attention.{part}"
            yield from _projection(f"{theirs}.{source}", f"{attention}/{part}", heads)
        out = f"{theirs}.attention.o_proj" if in_memory else f"{theirs}.attention.output.dense"
        yield _out(out, attention, heads)
        yield _same(f"{out}.bias", f"{attention}/out/bias")
        for i, (new, old) in enumerate((("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"))):
            yield from _layer(f"{theirs}.{new if in_memory else old}", f"{ours}/MlpBlock_0/Dense_{i}", _DENSE)
        yield from _norm(f"{theirs}.layernorm_before", f"{ours}/LayerNorm_0")
        yield from _norm(f"{theirs}.layernorm_after", f"{ours}/LayerNorm_1")
    yield from _norm(f"{prefix}layernorm", "Transformer/encoder_norm")
    yield from _layer(f"{prefix}pooler.dense", "pre_logits", _DENSE)
    yield from _layer("classifier", "head", _DENSE)


Change = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]

_DENSE: Change = (lambda w: w.T, lambda w: w.T)
_CONV: Change = (lambda w: w.transpose(2, 3, 1, 0), lambda w: w.transpose(3, 2, 0, 1))
_SAME: Change = (lambda w: w, lambda w: w)


def _one(theirs: str, ours: str, change: Change) -> Rule:
    read, write = change
    return Rule((theirs,), (ours,), lambda values: [read(values[0])], lambda values: [write(values[0])])


def _same(theirs: str, ours: str) -> Rule:
    return _one(theirs, ours, _SAME)


def _layer(theirs: str, ours: str, change: Change) -> Iterator[Rule]:
    yield _one(f"{theirs}.weight", f"{ours}/kernel", change)
    yield _same(f"{theirs}.bias", f"{ours}/bias")


def _norm(theirs: str, ours: str) -> Iterator[Rule]:
    yield _same(f"{theirs}.weight", f"{ours}/scale")
    yield _same(f"{theirs}.bias", f"{ours}/bias")


def _mlp_and_norms(theirs: str, ours: str) -> Iterator[Rule]:
    for i in range(2):
        yield from _norm(f"{theirs}.norm{i + 1}", f"{ours}/LayerNorm_{i}")
        yield from _layer(f"{theirs}.mlp.fc{i + 1}", f"{ours}/MlpBlock_0/Dense_{i}", _DENSE)


def _split(w: np.ndarray, heads: int) -> Arrays:
    """(3C, C) of query, key and value -> three of (C, h, d)."""
    return list(w.reshape(3, heads, -1, w.shape[1]).transpose(0, 3, 1, 2))


def _joined(parts: Arrays) -> np.ndarray:
    """The inverse of `_split`."""
    return np.concatenate([part.reshape(part.shape[0], -1).T for part in parts])


def _fused(theirs: str, ours: str, heads: int) -> Iterator[Rule]:
    """One matrix for query, key and value there, three here."""
    parts = ("query", "key", "value")
    kernels = tuple(f"{ours}/{part}/kernel" for part in parts)
    yield Rule((f"{theirs}.weight",), kernels, lambda w: _split(w[0], heads), lambda w: [_joined(w)])
    biases = tuple(f"{ours}/{part}/bias" for part in parts)
    yield Rule(
        (f"{theirs}.bias",),
        biases,
        lambda b: list(b[0].reshape(3, heads, -1)),
        lambda b: [np.concatenate([x.reshape(-1) for x in b])],
    )


def _projection(theirs: str, ours: str, heads: int) -> Iterator[Rule]:
    """Query, key or value by itself: (C, C) -> (C, h, d)."""
    kernel = (lambda w: w.T.reshape(w.shape[1], heads, -1), lambda w: w.reshape(w.shape[0], -1).T)
    yield _one(f"{theirs}.weight", f"{ours}/kernel", kernel)
    yield _one(f"{theirs}.bias", f"{ours}/bias", (lambda b: b.reshape(heads, -1), lambda b: b.reshape(-1)))


def _out(theirs: str, ours: str, heads: int) -> Rule:
    """The projection behind the attention, heads outermost: (C, C) -> (h, d, C)."""
    change = (lambda w: w.T.reshape(heads, -1, w.shape[0]), lambda w: w.reshape(-1, w.shape[-1]).T)
    return _one(f"{theirs}.weight", f"{ours}/out/kernel", change)


def _nest_block(theirs: str, ours: str, head: int) -> Iterator[Rule]:
    attention = f"{ours}/MultiHeadAttention_0"
    query, both = f"{attention}/DenseGeneral_0", f"{attention}/DenseGeneral_1"

    def read(values: Arrays) -> Arrays:
        q, k, v = _split(values[0], values[0].shape[1] // head)
        return [q, np.concatenate([k, v], -1)]  # the key first inside every head

    def read_bias(values: Arrays) -> Arrays:
        q, k, v = values[0].reshape(3, -1, head)
        return [q, np.concatenate([k, v], -1)]

    def write_bias(values: Arrays) -> Arrays:
        parts = [values[0], *np.split(values[1], 2, -1)]
        return [np.concatenate([part.reshape(-1) for part in parts])]

    yield Rule(
        (f"{theirs}.attn.qkv.weight",),
        (f"{query}/kernel", f"{both}/kernel"),
        read,
        lambda values: [_joined([values[0], *np.split(values[1], 2, -1)])],
    )
    yield Rule((f"{theirs}.attn.qkv.bias",), (f"{query}/bias", f"{both}/bias"), read_bias, write_bias)
    # timm's NesT hands the heads over innermost, (d, h); its ViT outermost, (h, d).
    projection = (
        lambda w: w.reshape(w.shape[0], head, -1).transpose(2, 1, 0),
        lambda w: w.transpose(2, 1, 0).reshape(w.shape[2], -1),
    )
    yield _one(f"{theirs}.attn.proj.weight", f"{attention}/proj_kernel", projection)
    yield _same(f"{theirs}.attn.proj.bias", f"{attention}/bias")
    yield from _mlp_and_norms(theirs, ours)


def _resnet(stages: Sequence[int]) -> Iterator[Rule]:
    backbone = "patch_embed.backbone"
    stem = f"{backbone}.stem" if stages else backbone
    yield from _layer(f"{stem}.conv", "conv_root", _CONV)
    yield from _norm(f"{stem}.norm", "gn_root")
    for stage, units in enumerate(stages):
        for unit in range(units):
            theirs, ours = f"{backbone}.stages.{stage}.blocks.{unit}", f"block{stage + 1}/unit{unit + 1}"
            for i in range(1, 4):
                yield from _layer(f"{theirs}.conv{i}", f"{ours}/conv{i}", _CONV)
                yield from _norm(f"{theirs}.norm{i}", f"{ours}/gn{i}")
            yield from _layer(f"{theirs}.downsample.conv", f"{ours}/conv_proj", _CONV)
            yield from _norm(f"{theirs}.downsample.norm", f"{ours}/gn_proj")
