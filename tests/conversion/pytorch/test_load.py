"""Models of timm and transformers: their outputs, and what is refused."""

import json
import logging
import shutil

import huggingface_hub.constants
import keras
import numpy as np
import pytest
import safetensors.numpy

import keras_nest
from keras_nest.cli import commands
from tests import keras_models
from tests.conversion import fake_hub
from tests.golden import timm_loading

VIT = timm_loading.FOLDER / "cases" / "vit_token"


@pytest.mark.parametrize("name", timm_loading.CASES)
def test_computes_what_they_compute(name):
    case = timm_loading.case(name)
    model = keras_nest.create_model(weights=str(case.folder))
    outputs = np.asarray(model(case.images))
    wanted = next(case.outputs[key] for key in ("logits", "pooler_output") if key in case.outputs)
    if "logits" in case.outputs and not model.num_classes:
        wanted = case.outputs["pre_logits"]
    assert keras_models.gap(outputs, wanted) <= case.tolerance
    endpoint = "features" if isinstance(model, keras_nest.NesT) else "tokens"
    features = np.asarray(keras.Model(model.input, model.endpoints[endpoint])(case.images))
    ours = features.transpose(0, 3, 1, 2) if features.ndim == 4 else features
    for key in {"features", "last_hidden_state"} & case.outputs.keys():
        assert keras_models.gap(ours, case.outputs[key]) <= case.tolerance


@pytest.mark.parametrize("name", timm_loading.REFUSED)
def test_what_no_model_here_computes_is_refused(name, tmp_path):
    reasons = {
        "nest_symmetric_padding": "symmetric padding",
        "refuse_fc_norm": "norm behind the mean",
        "refuse_layer_scale": "layer scale",
        "refuse_mean_beside_class_token": "pooling 'avg' beside a class token",
        "refuse_no_embed_class": "class token without position embedding",
        "refuse_pre_norm": "norm in front of the encoder",
        "refuse_qk_norm": "normalized queries and keys",
        "refuse_registers": "register tokens",
    }
    for file in (VIT.parent / name / "config.json", VIT / "model.safetensors"):
        shutil.copy(file, tmp_path)
    with pytest.raises(ValueError, match=f"config.json says that .*{reasons[name]}"):
        keras_nest.create_model("nest_tiny" if "nest" in name else None, weights=str(tmp_path))


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        ("reg_token", "register tokens"),
        ("blocks.0.ls1.gamma", "layer scale"),
        ("blocks.0.attn.q_norm.weight", "normalized queries"),
        ("norm_pre.weight", "norm in front of the encoder"),
        ("fc_norm.weight", "norm behind the mean"),
        ("blocks.0.attn.qkv.scale", "which no model here has"),
    ],
)
def test_tensors_of_other_models_are_refused(tensor, reason, tmp_path):
    """Where nothing but a name says what they are."""
    tensors = safetensors.numpy.load_file(VIT / "model.safetensors")
    safetensors.numpy.save_file(tensors | {tensor: np.ones(24, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=tensor) as caught:
        keras_nest.create_model("ViT-S_16", weights=str(tmp_path / "x.safetensors"))
    assert reason in str(caught.value)


def test_a_name_takes_the_place_of_a_config(tmp_path, caplog):
    """It must: tensors tell neither heads nor pooling."""
    case = timm_loading.case("vit_token")
    file = shutil.copy(case.folder / "model.safetensors", tmp_path)
    with pytest.raises(ValueError, match=r"model\.safetensors does not tell which .* or put its config\.json beside"):
        keras_nest.create_model(weights=file)
    fields = {key: value for key, value in case.fields.items() if key not in ("class", "num_classes")}
    with caplog.at_level(logging.INFO, "keras_nest"):
        model = keras_nest.create_model("ViT-S_16", weights=file, **fields)
    assert "The GELU is the exact one" in caplog.text
    assert keras_models.gap(np.asarray(model(case.images)), case.outputs["logits"]) <= 2e-5
    caplog.clear()
    tanh = keras_nest.create_model("ViT-S_16", weights=file, activation="gelu_tanh", **fields)
    assert tanh.config["activation"] == "gelu_tanh"
    assert "GELU" not in caplog.text
    with pytest.raises(ValueError, match="24 channels do not divide into 7 heads"):
        keras_nest.create_model("ViT-S_16", weights=file, **fields | {"num_heads": 7})


def test_another_name_than_that_of_the_config_is_refused():
    with pytest.raises(ValueError, match=r"vit_token is no nest_tiny_s196_224: its config\.json says .* ViT-S_16"):
        keras_nest.create_model("nest_tiny", weights=str(VIT))
    with pytest.raises(ValueError, match=r"is no ViT-B_32: .* leave the name out"):
        keras_nest.create_model("ViT-B_32", weights=str(VIT))


def test_everything_behind_the_reader_is_as_ever(tmp_path):
    """Another size, a new head, fewer blocks, other patches, the same model from a .keras file."""
    model = keras_nest.create_model(
        weights=str(VIT), image_size=48, num_classes=2, reinit_head=True, num_layers=1, in_channels=1
    )
    assert model.output_shape == (None, 2)
    assert model.config["preprocessing"]["mean"] == [0.5]
    images = np.random.default_rng(0).standard_normal((1, 48, 48, 1)).astype(np.float32)
    model.get_layer("head").kernel.assign(np.ones(model.get_layer("head").kernel.shape))
    model.save(tmp_path / "model.keras")
    again = keras_nest.open_model(tmp_path / "model.keras").model
    np.testing.assert_array_equal(again(images), model(images))
    assert keras_nest.open_model(VIT).model.config["preprocessing"]["crop_ratio"] == 0.9


def test_old_representation_layer(tmp_path):
    """timm before 0.6 kept it."""
    config = json.loads((VIT / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    shutil.copy(timm_loading.FOLDER / "files" / "vit_pre_logits.pth", tmp_path / "weights.pth")
    model = keras_nest.create_model(weights=str(tmp_path / "weights.pth"))
    with np.load(timm_loading.FOLDER / "files" / "vit_pre_logits.npz") as expected:
        images = expected["images_nchw"].transpose(0, 2, 3, 1)
        assert keras_models.gap(np.asarray(model(images)), expected["logits"]) <= 2e-5


def test_names_that_transformers_has_in_memory(tmp_path):
    case = timm_loading.case("transformers_classifier")
    shutil.copy(case.folder / "config.json", tmp_path)
    shutil.copy(timm_loading.FOLDER / "files" / "transformers_in_memory_names.safetensors", tmp_path / "x.safetensors")
    model = keras_nest.create_model(weights=str(tmp_path / "x.safetensors"))
    assert keras_models.gap(np.asarray(model(case.images)), case.outputs["logits"]) <= 2e-5


HANDLE = "hf://timm/vit_token"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The cache of the hub with one model, and no network."""
    case = timm_loading.case("vit_token")
    repository = tmp_path / "models--timm--vit_token"
    snapshot = repository / "snapshots" / fake_hub.COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(fake_hub.COMMIT)
    for name in ("config.json", "model.safetensors"):
        shutil.copy(case.folder / name, snapshot)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return case


@pytest.mark.parametrize(
    "door",
    [
        keras_nest.create_model,
        lambda handle: keras_nest.create_model(weights=handle),
        lambda handle: keras_nest.open_model(handle).model,
    ],
)
def test_handles_of_the_hub(door, cache):
    """As its files, with its preprocessing."""
    model = door(HANDLE)
    assert keras_models.gap(np.asarray(model(cache.images)), cache.outputs["logits"]) <= 2e-5
    assert model.config["preprocessing"]["pillow"]


def test_handles_of_the_hub_in_commands(cache, capsys, tmp_path):
    assert commands.main(["info", HANDLE]) == 0
    assert commands.main(["convert", f"{HANDLE}@main", str(tmp_path / "model.keras")]) == 0
    assert "Converted" in capsys.readouterr().out
    assert commands.main(["download", HANDLE, str(tmp_path / "here")]) == 0
    copy = tmp_path / "here" / "vit_token"
    assert sorted(path.name for path in copy.iterdir()) == ["config.json", "model.safetensors"]
    assert commands.main(["info", str(copy)]) == 0
    assert commands.main(["info", "hf://timm/other"]) == 2
    assert "hf://timm/other is not in the cache" in capsys.readouterr().err


def test_what_is_no_handle():
    for door in (keras_nest.create_model, keras_nest.open_model):
        with pytest.raises(ValueError, match=r"hf://timm is no model of the hub; write hf://OWNER/NAME"):
            door("hf://timm")
    with pytest.raises(ValueError, match="is a model of the hub and no name; give it as weights"):
        keras_nest.preprocessor(HANDLE)
