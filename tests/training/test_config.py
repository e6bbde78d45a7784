"""Complete configurations from incomplete ones, and what is refused."""

import importlib

import pytest
from ml_collections import ConfigDict, config_dict

from keras_nest.training.config import COMMON, NEST, VIT, counts_steps, resolve

OF_NEST = {"model_name": "nest_tiny_s16_32", "dataset": "digits", "num_epochs": 3}
OF_VIT = {"model_name": "ViT-Ti_16", "dataset": "digits", "total_steps": 30, "base_lr": 0.01}
KINDS = {"NesT": OF_NEST, "ViT": OF_VIT}


@pytest.mark.parametrize(("kind", "defaults"), [("NesT", {**COMMON, **NEST}), ("ViT", {**COMMON, **VIT})])
def test_defaults_fill_what_is_not_given(kind, defaults):
    given = KINDS[kind]
    assert resolve(given).to_dict() == {**defaults, **given}
    assert resolve(ConfigDict(given)).to_dict() == {**defaults, **given}
    assert counts_steps(resolve(OF_VIT))
    assert not counts_steps(resolve(OF_NEST))


def test_neither_the_argument_nor_the_defaults_change():
    given = ConfigDict({**OF_NEST, "model": {"mlp_ratio": 2}})
    resolve(given).model.mlp_ratio = 3
    assert given.model.mlp_ratio == 2
    resolve(OF_NEST).augment.type = "shift"
    assert COMMON["augment"] == {"type": "none"}


def test_it_is_locked():
    with pytest.raises(AttributeError, match="seeed"):
        resolve(OF_NEST).seeed = 3


def test_placeholders_and_references_have_their_values():
    given = ConfigDict({**OF_VIT, "accum_steps": config_dict.placeholder(int)})
    given.total_steps = config_dict.FieldReference(30)
    given.warmup_steps = given.get_ref("total_steps") // 10
    given.accum_steps = 2
    config = resolve(given)
    assert (config.total_steps, config.warmup_steps, config.accum_steps) == (30, 3, 2)


@pytest.mark.parametrize(
    ("name", "model"), [("R_Ti_16", "R_Ti_16"), ("S_16-i21k-300ep-lr_0.001-aug_light1-wd_0.1-do_0.0-sd_0.0", "S_16")]
)
def test_a_checkpoint_of_augreg_names_the_model(name, model):
    given = {field: value for field, value in OF_VIT.items() if field != "model_name"}
    assert resolve({**given, "model_or_filename": name}).model_name == model
    assert resolve({**OF_VIT, "model_or_filename": name}).model_name == "ViT-Ti_16"


def test_the_configuration_of_the_demonstration_is_complete():
    resolve(importlib.import_module("keras_nest.configs.digits_nest").get_config())


OF_ALL = [
    ({"wurst": 3}, "unknown field 'wurst'; its fields are "),
    ({"model_name": None}, "does not say model_name; it must"),
    ({"jit_compile": "yes"}, "jit_compile is 'yes'; it must be 'auto' or True or False"),
    ({"dtype_policy": "float16"}, "dtype_policy is 'float16'; it must be 'float32' or 'mixed_bfloat16' or 'mixed_fl"),
]
OF_TRAININGS = [
    ({"sed": 3}, "unknown field 'sed'; did you mean seed"),
    ({"trainer": "test"}, "trainer is 'test'; it must be 'train' or 'classify' or 'lit'"),
    ({"dataset": None}, "does not say dataset"),
    ({"dataset": ""}, "does not say dataset"),
    ({"accum_steps": 0}, "accum_steps is 0; it must be a positive whole number"),
    ({"accum_steps": True}, "accum_steps is True; it must be a positive whole number"),
    ({"loss": "hinge"}, "loss is 'hinge'; it must be 'softmax' or 'sigmoid' or 'focal'"),
    ({"transfer": "float16"}, "transfer is 'float16'; it must be 'float32' or 'uint8'"),
    ({"reinit_head": "zeros"}, "reinit_head is 'zeros'; it must be None or '' or 'zero_all'"),
    ({"seed": 2**32}, "seed is 4294967296; it must be a whole number from 0 to 2"),
    ({"seed": -1}, "seed is -1; it must be a whole number from 0"),
    ({"seed": 1.0}, "seed is 1.0; it must be a whole number from 0"),
    ({"ema_decay": 1.0}, "ema_decay is 1.0; it must be at least 0 and below 1"),
    ({"ema_decay": "abc"}, "ema_decay is 'abc'; it must be at least 0 and below 1"),
    ({"minutes": "abc"}, "minutes is 'abc'; it must be a number, 0 or more"),
    ({"minutes": 0}, "minutes is 0; it must be a number above 0"),
    ({"weight_decay": float("nan")}, "weight_decay is nan; it must be a number, 0 or more"),
    ({"eval_only": "yes"}, "eval_only is 'yes'; it must be True or False"),
    ({"freeze": 3}, "freeze is 3; it must be texts"),
    ({"optim_wd_ignore": "abc"}, "optim_wd_ignore is 'abc'; it must be texts"),
    ({"profile_steps": 5}, "profile_steps is 5; it must be whole numbers"),
    ({"pp": "crop"}, "pp is 'crop'; it must be a group of fields"),
    ({"lr": 1}, "unknown field 'lr'; did you mean learning_rate"),
    ({"pp": {"corp": 24}}, r"no field pp\.corp; did you mean crop"),
]
REFUSED = [
    *((kind, *case) for kind in KINDS for case in OF_ALL),
    *((kind, *case) for kind in ("NesT", "ViT") for case in OF_TRAININGS),
    ("NesT", {"num_epochs": 0}, "num_epochs is 0; it must be a positive whole number"),
    ("NesT", {"num_epochs": 2.5}, "num_epochs is 2.5; it must be a positive whole number"),
    ("NesT", {"per_device_batch_size": -4}, "per_device_batch_size is -4"),
    ("NesT", {"eval_per_epochs": 0}, "eval_per_epochs is 0"),
    ("NesT", {"num_eval_steps": 5}, "num_eval_steps is 5; it must be -1"),
    ("NesT", {"eval_pad_last_batch": False}, "eval_pad_last_batch is False; it must be True"),
    ("ViT", {"total_steps": None}, "does not say total_steps"),
    ("ViT", {"batch": 0}, "batch is 0"),
    ("ViT", {"batch_eval": 2.0}, "batch_eval is 2.0"),
    ("ViT", {"eval_per_epochs": 3}, "unknown field 'eval_per_epochs'; it belongs to .* that count in epochs, and most"),
    (
        "NesT",
        {"per_device_batch_size": 8, "prefetch": 3},
        "unknown field 'prefetch'; it belongs to .* that count in steps",
    ),
    (
        "ViT",
        {"model": {"transformer": {"dropout": 1}}},
        r"no field model\.transformer\.dropout; did you mean dropout_rate",
    ),
    ("ViT", {"model": {"transformer": 3}}, r"model\.transformer is 3; it must be a group"),
    ("ViT", {"model": {"patches": {"size": 8}, "patch_size": 4}}, r"model\.patches\.size are the same; give one"),
]


@pytest.mark.parametrize(("kind", "change", "message"), REFUSED)
def test_refused(kind, change, message):
    with pytest.raises(ValueError, match=message) as refused:
        resolve({**KINDS[kind], **change})
    assert "\n" not in str(refused.value)


def test_most_fields_decide_the_kind():
    of_nest = {**OF_NEST, "per_device_batch_size": 8}
    assert not counts_steps(resolve({**of_nest, "base_lr": 0.01}))
    assert counts_steps(resolve({**OF_VIT, "num_epochs": 3}))
    assert counts_steps({"num_epochs": 3, "base_lr": 0.01}), "in doubt"
    assert not counts_steps({"num_epochs": 3})


def test_nested_fields_of_the_papers():
    model = {"hidden_size": 8, "transformer": {"dropout_rate": 0.1, "num_layers": 2}, "patches": {"size": (4, 4)}}
    flat = {"hidden_size": 8, "dropout_rate": 0.1, "num_layers": 2, "patch_size": (4, 4)}
    assert resolve({**OF_VIT, "model": model}).model.to_dict() == flat
    hybrid = {"resnet": {"num_layers": (1, 2), "width_factor": 0.5}, "transformer": None}
    flat = {"resnet_num_layers": (1, 2), "resnet_width_factor": 0.5, "num_layers": None}
    assert resolve({**OF_VIT, "model": hybrid}).model.to_dict() == flat


def test_groups_may_be_none():
    config = resolve({**OF_VIT, "model": None, "pp": None, "mix": None})
    assert (config.model.to_dict(), config.pp.to_dict(), config.mix.to_dict()) == ({}, {}, {})
