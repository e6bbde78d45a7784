"""timm's names: each is the model that a config.json of timm tells."""

import inspect
import json
import pathlib

import numpy as np
import pytest

import keras_nest
from keras_nest import cli, registry
from keras_nest.conversion.pytorch.config_file import read_config
from keras_nest.finetune.start import find_start
from keras_nest.models.timm import architecture_of, not_computed, timm_models
from tests.golden import timm_loading

# `default_cfgs` of timm 1.0.31.
PUBLISHED = json.loads((pathlib.Path(timm_loading.FOLDER) / "pretrained_cfgs.json").read_text())


def config_of(name):
    """What timm writes beside the weights of a name."""
    settings = dict(PUBLISHED[name])
    architecture, _, settings["tag"] = name.partition(".")
    return json.dumps(
        {"architecture": architecture, "num_classes": settings["num_classes"], "pretrained_cfg": settings}
    ).encode()


def complete(name, fields):
    """Fields with the defaults of the architecture."""
    parameters = inspect.signature(registry.resolve(name)[1].__init__).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty} | fields


def test_all_of_them():
    assert list(timm_models()) == list(PUBLISHED) == keras_nest.list_models(timm=True)
    assert len(PUBLISHED) == 67
    assert {model.model for model in timm_models().values()} <= set(keras_nest.list_models())
    assert keras_nest.list_models("nest_*", timm=True) == [
        "nest_base_jx.goog_in1k",
        "nest_small_jx.goog_in1k",
        "nest_tiny_jx.goog_in1k",
    ]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_name_is_what_the_config_beside_the_weights_tells(name):
    told = read_config(config_of(name))
    _, architecture, fields = registry.resolve(name)
    _, theirs, published = registry.resolve(told.name)
    assert architecture is theirs
    expected = {**published, **told.fields, "num_classes": PUBLISHED[name]["num_classes"]}
    expected["image_size"], _ = told.image_size
    assert complete(name, fields) == complete(name, expected)
    assert told.published_head


def test_accuracies_are_those_of_timm():
    assert timm_models()["nest_base_jx.goog_in1k"].top1 == 83.552
    assert timm_models()["vit_base_patch16_224.mae"].top1 is None


def test_new_weights():
    model = keras_nest.create_model("vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k", num_classes=3)
    assert model.output_shape == (None, 3)
    assert (model.config["activation"], model.config["resnet_variant"]) == ("gelu", "timm")
    assert model.config["preprocessing"]["pillow"]
    assert registry.published_name(model.name) == "vit_tiny_r_s16_p8_224.augreg_in21k_ft_in1k"
    spec, size = registry.preprocessing_spec("vit_tiny_patch16_384.augreg_in21k_ft_in1k")
    assert (spec.crop_ratio, size) == (1.0, (384, 384))


def test_a_file_without_config_computes_what_timm_does(tmp_path):
    """By the name alone: heads, activation."""
    case = timm_loading.FOLDER / "cases" / "vit_token"
    file = tmp_path / "weights.safetensors"
    file.write_bytes((case / "model.safetensors").read_bytes())
    told = read_config((case / "config.json").read_bytes())
    fields = {field: value for field, value in told.fields.items() if field not in ("activation", "preprocessing")}
    size, _ = told.image_size
    model = keras_nest.create_model("vit_small_patch16_224.augreg_in21k", weights=str(file), image_size=size, **fields)
    outputs = np.load(case / "outputs.npz")
    logits = model(outputs["images_nchw"].transpose(0, 2, 3, 1))
    np.testing.assert_allclose(logits, outputs["logits"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "vit_base_patch32_384.",
            "of timm's vit_base_patch32_384 there are vit_base_patch32_384.augreg_in1k, vit_base",
        ),
        ("nest_base_jx.goog_in21k", "of timm's nest_base_jx there are nest_base_jx.goog_in1k."),
        ("nest_bse_jx.goog_in1k", "did you mean nest_base_jx.goog_in1k"),
    ],
)
def test_what_is_no_name(name, message):
    with pytest.raises(ValueError, match=message):
        keras_nest.create_model(name)


def test_a_name_without_its_tag_is_the_one_that_timm_takes(tmp_path, capsys):
    architectures = {name.partition(".")[0] for name in PUBLISHED}
    assert not architectures & {*registry.MODELS, *registry.ALIASES}
    defaults = [registry.resolve(name)[0] for name in sorted(architectures)]
    assert [name.partition(".")[0] for name in defaults] == sorted(architectures)
    assert {name.partition(".")[2] for name in defaults if name.startswith("vit_base_patch16")} == {
        "augreg2_in21k_ft_in1k",
        "augreg_in21k_ft_in1k",
        "in21k",
    }
    name, full_name = "vit_tiny_patch16_224", "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    model = keras_nest.create_model(name, num_classes=3, image_size=32)
    assert (model.name, model.config) == (
        full_name,
        keras_nest.create_model(full_name, num_classes=3, image_size=32).config,
    )
    assert registry.preprocessing_spec(name) == registry.preprocessing_spec(full_name)
    assert cli.main(["info", name]) == 0
    assert full_name in capsys.readouterr().out


def test_names_of_before_there_were_tags():
    """What timm maps them to; two of Mixer, which it maps to models of other classes than they say, are unknown."""
    assert keras_nest.create_model("jx_nest_tiny", num_classes=3).name == "nest_tiny_jx.goog_in1k"
    assert registry.resolve("vit_base_patch16_224_in21k")[0] == "vit_base_patch16_224.augreg_in21k"
    old = [name for one in timm_models().values() for name in one.old_names]
    assert len(old) == len(set(old)) == 24
    assert not {*old} & {architecture_of(name) for name in timm_models()}
    with pytest.raises(ValueError, match=r"did you mean mixer_b16_224\.miil_in21k or mixer_b16_224\.goog_in21k"):
        keras_nest.create_model("mixer_b16_224_in21k")


def test_the_table_is_whole_at_80_columns(capsys, monkeypatch):
    monkeypatch.setattr("keras_nest.cli.list_models.console.width", 80)
    assert cli.main(["list", "--timm"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    shown = {line.split()[0] for line in lines}
    assert set(PUBLISHED) <= shown
    assert not [line for line in lines if "…" in line]
    assert cli.main(["list", "--timm", "swin*"]) == 2
    assert "No model of timm matches 'swin*'" in capsys.readouterr().err


def test_a_name_alone_is_not_trained(capsys):
    assert cli.main(["export", "nest_tiny_jx.goog_in1k", "--format", "saved_model", "--output", "models"]) == 2
    assert "add its weights (--weights hf://timm/nest_tiny_jx.goog_in1k, weights=…)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("vit_base_patch14_reg4_dinov2.lvd142m", "register tokens"),
        ("vit_small_patch14_dinov2.lvd142m", "layer scale"),
        ("vit_small_patch16_dinov3.lvd1689m", "rotary positions"),
        ("vit_base_patch16_rope_reg1_gap_256.sbb_in1k", "register tokens"),
        ("vit_base_patch16_rope_224.naver_in1k", "rotary positions"),
        ("vit_small_patch16_18x2_224.untrained", "layer scale"),
        ("vit_medium_patch16_gap_240.sw_in12k", "layer scale"),
        ("vit_srelpos_small_patch16_224.sw_in1k", "relative positions"),
        ("gmixer_24_224.ra3_in1k", "gated multi-layer perceptrons"),
        ("resmlp_12_224.fb_in1k", "affine layers"),
        ("vit_base_patch16_clip_224.openai", "a norm in front of the encoder"),
        ("vit_base_patch16_siglip_224.webli", "attention pooling"),
        ("nest_small.untrained", "symmetric padding"),
    ],
)
def test_what_models_here_do_not_compute(name, what):
    with pytest.raises(ValueError, match=f"timm's {name} has {what}.*, which the models here do not compute"):
        registry.resolve(name)


def test_what_is_computed_is_not_refused():
    assert not [name for name in [*PUBLISHED, *registry.ALIASES.values()] if not_computed(name)]


def test_published_weights(tmp_path, monkeypatch):
    assert registry.published_weights("nest_tiny_jx.goog_in1k", "pretrained") == "hf://timm/nest_tiny_jx.goog_in1k"
    assert registry.published_weights("nest_tiny_jx", "pretrained") == "hf://timm/nest_tiny_jx.goog_in1k"
    assert registry.published_weights("nest_tiny", "other.npz") == "other.npz"
    for name in ("nest_tiny", None):
        with pytest.raises(ValueError, match="pretrained weights are those of timm's names"):
            registry.published_weights(name, "pretrained")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pretrained").mkdir()
    assert registry.published_weights("nest_tiny", "pretrained") == "pretrained"


def test_commands_that_fetch_take_names(capsys, monkeypatch, tmp_path):
    """What they ask the hub for, since here it cannot be reached."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = "error: hf://timm/vit_tiny_patch16_224.augreg_in21k is not in the cache"
    name = "vit_tiny_patch16_224.augreg_in21k"
    (tmp_path / "photos" / "a").mkdir(parents=True)
    for words in (
        ["download", name, str(tmp_path)],
        ["info", name, "--weights", "pretrained"],
        ["convert", name, "pretrained", str(tmp_path / "out.keras")],
    ):
        assert cli.main(words) == 2
        assert asked in capsys.readouterr().err
    assert find_start(name, "pretrained") == (name, f"hf://timm/{name}")


@pytest.mark.parametrize(
    "name",
    ["vit_tiny_patch16_224.augreg_in21k", "vit_tiny_r_s16_p8_384.augreg_in21k_ft_in1k", "vit_small_patch16_224.dino"],
)
def test_parameters(name):
    assert keras_nest.create_model(name).count_params() == timm_models()[name].parameters
