"""Every typical mistake of a port of ViT, hybrids and Mixer, made on purpose: each must be noticed."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import ops

from keras_nest import conversion
from keras_nest.layers import encoder, normalization, resnet, tokens
from keras_nest.models import mixer
from tests import keras_models
from tests import vit_mistakes as wrong
from tests.golden import vit_loading

LAYERS = vit_loading.arrays("layers")
# Mistake -> change of the logits, by model; rounding has its entries, too.
EFFECTS = {name: effects for name, effects in vit_loading.facts("sensitivity").items() if name != "note"}
ROUNDING = {"recomputed", "op_by_op_instead_of_compiled", "batch_1"}
# Of the largest value of a module's output; rounding reaches 3e-6 behind the stored convolutions.
MODULES = 1e-5


def unchanged(path, value):
    return value


def tiny_agrees(name, change=unchanged, finish=lambda model: None):
    """Logits and every module's output of a tiny model, whose parameters or finished layers may be changed."""
    case = vit_loading.case(name)
    model = keras_models.load(case, {path: change(path, value) for path, value in keras_models.tree(case).items()})
    finish(model)
    with keras_models.recorded_outputs() as outputs:
        logits = np.asarray(model(case.images))
    theirs = case.expected["logits"]
    agrees = logits.shape == theirs.shape and keras_models.gap(logits, theirs) <= keras_models.SMALL_LOGITS
    # "inter:pre_logits" comes before tanh, which our layer has in it.
    paths = case.intermediates.keys() & outputs.keys() - {"pre_logits"}
    return agrees and all(_module_agrees(case, path, outputs[path]) for path in paths)


def _module_agrees(case, path, ours):
    ours, theirs = case.sample(f"inter:{path}", ours), case.intermediates[path]
    if ours.size != theirs.size:
        return False
    # Our projections to heads leave them merged.
    return keras_models.gap(ours.reshape(theirs.shape), theirs) <= MODULES * np.abs(theirs).max()


def norm_agrees(norm_type, prefix):
    """A normalization on inputs whose deviation is 1, 0.01, 0.001 and 0.0001."""
    gaps = []
    for scale in ("1.0", "0.01", "0.001", "0.0001"):
        x = LAYERS[f"{prefix}_in_{scale}"]
        layer = normalization.norm(norm_type)
        layer.build(x.shape)
        layer.set_weights([LAYERS[name][: x.shape[-1]] for name in ("norm_scale", "norm_bias")])
        gaps.append(keras_models.gap(np.asarray(layer(x)), LAYERS[f"{prefix}_out_{scale}"]))
    return max(gaps) <= 2e-6


def std_conv_agrees():
    """The standardized convolution on kernels whose deviation is 1, 0.01, 0.0001 and 0.00001."""
    gaps = []
    for scale in ("1.0", "0.01", "0.0001", "1e-05"):
        layer = resnet.StdConv(6, 3, strides=2)
        layer.build(LAYERS["stdconv_in"].shape)
        layer.set_weights([LAYERS[f"stdconv_kernel_{scale}"]])
        gaps.append(keras_models.gap(np.asarray(layer(LAYERS["stdconv_in"])), LAYERS[f"stdconv_out_{scale}"]))
    return max(gaps) <= 5e-6


COMPARISONS = {
    "LayerNorm": partial(norm_agrees, "LN", "ln"),
    "GroupNorm": partial(norm_agrees, "GN", "gn"),
    "StdConv": std_conv_agrees,
    **{name: partial(tiny_agrees, name) for name in vit_loading.TINY},
}
# Mistake -> the comparison that notices it; module or class, attribute and its wrong replacement. Mistakes that
# sensitivity.json lists have their names there, and their effect on full-size logits beside them here.
CODE_MISTAKES = {
    # 8e-4 in ViT-B_16, 2e-4 in Mixer-B_16
    "gelu_exact": ("vit_token", encoder, "gelu", partial(ops.gelu, approximate=False)),
    "gelu_exact in Mixer": ("mixer", encoder, "gelu", partial(ops.gelu, approximate=False)),
    # 0.9, 1.0 and 1.2 in R26+ViT-S_32
    "root_conv_pad_3_3": ("hybrid_1_1", resnet.StdConv, "convolution_op", wrong.convolution(symmetric=7)),
    "max_pool_pad_1_1": ("hybrid_1_1", keras.layers.MaxPooling2D, "call", wrong.pool_padded_on_both_sides),
    "strided_3x3_pad_1_1": ("hybrid_1_1", resnet.StdConv, "convolution_op", wrong.convolution(symmetric=3)),
    # 2e-5, 2e-4, 4e-3 and 2.9 in R26+ViT-S_32, whose GroupNorms take most of it back
    "weight_std_ddof1": ("StdConv", resnet.StdConv, "convolution_op", wrong.convolution(ddof=1)),
    "weight_std_eps_1e-10": ("StdConv", resnet.StdConv, "convolution_op", wrong.convolution(outside=1e-10)),
    "weight_std_sqrt_var_plus_1e-5": (
        "StdConv",
        resnet.StdConv,
        "convolution_op",
        wrong.convolution(outside=0, inside=1e-5),
    ),
    "no_weight_std": ("hybrid_1_1", resnet.StdConv, "convolution_op", wrong.convolution(standardized=False)),
    "shortcut from the normalized input": ("hybrid_1_1", resnet.ResidualUnit, "call", wrong.residual(wrong.normalized)),
    "ReLU after gn_proj": ("hybrid_1_1", resnet.ResidualUnit, "call", wrong.residual(projected=ops.relu)),
    "ReLU before the sum": ("hybrid_1_1", resnet.ResidualUnit, "call", wrong.residual(branch=ops.relu)),
    "no ReLU after the sum": ("hybrid_1_1", resnet.ResidualUnit, "call", wrong.residual(total=wrong.unchanged)),
    "stride taken by conv1": (
        "hybrid_1_1",
        resnet.ResidualUnit,
        "_conv_and_norm",
        wrong.stride_of_the_first(resnet.ResidualUnit._conv_and_norm),
    ),
    "patches column-first": ("vit_token", tokens.MapToTokens, "call", wrong.columns_first),
    "patches column-first in Mixer": ("mixer", tokens.MapToTokens, "call", wrong.columns_first),
    "class token behind": ("vit_token", tokens.ClassToken, "call", wrong.class_token_behind),
    "class token without position": ("vit_token", tokens.AddPositionEmbs, "call", wrong.class_token_without_position),
    "head on the last token": ("vit_token", tokens.PoolTokens, "call", lambda self, x: x[:, -1]),
    "mean without the first token": ("vit_gap", tokens.PoolTokens, "call", lambda self, x: ops.mean(x[:, 1:], axis=1)),
    "token_unpooled without it": ("vit_token_unpooled", tokens.PoolTokens, "call", lambda self, x: x[:, 1:]),
    "Mixer padded at the end": ("mixer_same_pad", mixer, "_stem", wrong.stem("same", wrong.at_the_end)),
    "Mixer mean before norm": ("mixer", mixer, "norm", wrong.norm_of_the_mean),
}
# Mistake -> comparison, type of the normalization and its wrong constructor.
NORM_MISTAKES = {
    # 8e-5 and 8e-3 in ViT-B_16, but 2e-6 and 3e-4 in Mixer-B_16
    "layer_norm_eps_1e-5": ("LayerNorm", "LN", wrong.layer_norm(1e-5)),
    "layer_norm_eps_1e-3": ("LayerNorm", "LN", wrong.layer_norm(1e-3)),
    # 1e-5 and 4e-5 in R26+ViT-S_32
    "group_norm_eps_1e-5": ("GroupNorm", "GN", wrong.group_norm(1e-5)),
    "group_norm_eps_1e-3": ("GroupNorm", "GN", wrong.group_norm(1e-3)),
    "groups of distant channels": ("GroupNorm", "GN", wrong.distant_groups),
}
# Mistake -> tiny model and change of its parameters.
PARAMETER_MISTAKES = {
    "query scale missing": ("vit_token", wrong.query_scale),
    "query scaled by the width": ("vit_token", partial(wrong.query_scale, power=-0.5)),
    "heads inside": ("vit_token", wrong.heads_inside),
    "patches transposed": ("vit_token", wrong.transposed_in_space),
    "convolutions transposed": ("hybrid_root", wrong.transposed_in_space),
    "embedding of a hybrid standardized": ("hybrid_root", wrong.standardized_embedding),
}
MISTAKES = {**CODE_MISTAKES, **NORM_MISTAKES}


def test_every_mistake_of_the_data_is_made():
    assert set().union(*EFFECTS.values()) - ROUNDING <= MISTAKES.keys()


def test_what_full_size_logits_hide_is_seen_in_single_layers():
    hidden = {
        name
        for effects in EFFECTS.values()
        for name, effect in effects.items()
        if effect <= keras_models.LOGITS and name not in ROUNDING
    }
    assert hidden == {"layer_norm_eps_1e-5", "group_norm_eps_1e-5", "weight_std_ddof1"}
    assert {MISTAKES[name][0] for name in hidden} == {"LayerNorm", "GroupNorm", "StdConv"}


@pytest.mark.parametrize("name", COMPARISONS)
def test_no_mistake_is_not_noticed(name):
    assert COMPARISONS[name]()


@pytest.mark.parametrize(
    ("owner", "attribute", "replacement"),
    [(resnet.StdConv, "convolution_op", wrong.convolution()), (resnet.ResidualUnit, "call", wrong.residual())],
)
def test_a_replacement_without_mistake_is_not_noticed(owner, attribute, replacement, monkeypatch):
    monkeypatch.setattr(owner, attribute, replacement)
    assert std_conv_agrees()
    assert tiny_agrees("hybrid_1_1")


@pytest.mark.parametrize("name", CODE_MISTAKES)
def test_wrong_code_is_noticed(name, monkeypatch):
    comparison, *replacement = CODE_MISTAKES[name]
    monkeypatch.setattr(*replacement)
    assert not COMPARISONS[comparison]()


@pytest.mark.parametrize("name", NORM_MISTAKES)
def test_wrong_norms_are_noticed(name, monkeypatch):
    comparison, norm_type, create = NORM_MISTAKES[name]
    monkeypatch.setitem(normalization._NORMS, norm_type, (norm_type, create))
    assert not COMPARISONS[comparison]()


@pytest.mark.parametrize("name", PARAMETER_MISTAKES)
def test_wrong_parameters_are_noticed(name):
    assert not tiny_agrees(*PARAMETER_MISTAKES[name])


def test_a_mixer_that_crops_is_noticed(monkeypatch):
    monkeypatch.setattr(mixer, "_stem", wrong.stem("valid"))
    with pytest.raises(ValueError, match=r"trained on 12 tokens, the model's images have 3 x 2,"):
        tiny_agrees("mixer_same_pad")


def test_missing_tanh_is_noticed():
    def without_tanh(model):
        model.get_layer("pre_logits").activation = keras.activations.linear

    assert not tiny_agrees("vit_token_rep", finish=without_tanh)


@pytest.mark.parametrize(
    ("name", "end"),
    [("vit_token", "MultiHeadDotProductAttention_0/key/bias"), ("mixer", "token_mixing/Dense_1/bias")],
)
def test_parameters_that_outputs_cannot_see_are_compared_themselves(name, end):
    """The softmax forgets one, the normalizations over channels the other: logits without them are the same."""
    case = vit_loading.case(name)
    without = {path: value * (not path.endswith(end)) for path, value in keras_models.tree(case).items()}
    logits = np.asarray(keras_models.load(case, without)(case.images))
    assert keras_models.gap(logits, case.expected["logits"]) <= keras_models.SMALL_LOGITS
    loaded = conversion.model_tree(keras_models.load(case))
    hidden = [path for path in loaded if path.endswith(end)]
    assert len(hidden) == 2
    for path in hidden:
        np.testing.assert_array_equal(loaded[path], case.params[path.removeprefix("params/")])
        assert np.abs(loaded[path]).max() > 0.05
