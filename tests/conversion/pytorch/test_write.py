"""Back to timm and transformers: the tensors bit for bit, and a config.json that says the same."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

import keras_nest
from keras_nest import MlpMixer, NesT, VisionTransformer
from keras_nest.cli import commands as cli
from keras_nest.conversion import model_tree, write_timm, write_transformers
from keras_nest.conversion.pytorch.translate import to_flax
from keras_nest.conversion.pytorch.write import timm_tensors
from keras_nest.conversion.sources import told
from keras_nest.conversion.verify import flax_outputs
from tests import families, keras_models
from tests.golden import timm_loading

OF_ANY_SIZE = [name for name in timm_loading.CASES if name.startswith(("vit", "transformers"))]


@pytest.mark.parametrize("name", OF_ANY_SIZE)
def test_back_is_the_same_bit_for_bit(name, tmp_path):
    case = timm_loading.case(name)
    write = write_transformers if "transformers" in name else write_timm
    model = keras_nest.create_model(weights=str(case.folder))
    assert write(model, tmp_path / "back") == len(load_file(tmp_path / "back" / "model.safetensors"))
    written, original = (load_file(folder / "model.safetensors") for folder in (tmp_path / "back", case.folder))
    # A model without biases of queries, keys and values computes the same with zeros.
    assert all(not value.any() for key, value in written.items() if key not in original)
    for key, value in original.items():
        np.testing.assert_array_equal(written[key], value, err_msg=key)
    theirs, ours = (json.loads((folder / "config.json").read_text()) for folder in (case.folder, tmp_path / "back"))
    if "transformers" not in name:
        assert ours["global_pool"] == theirs["global_pool"]
        same = [key for key in theirs["model_args"] if key in ours["model_args"]]
        assert {"img_size", "num_classes"} < set(same)
        assert [ours["model_args"][key] for key in same] == [theirs["model_args"][key] for key in same]
    again = keras_nest.create_model(weights=str(tmp_path / "back"))
    np.testing.assert_array_equal(again(case.images), model(case.images))


@pytest.mark.parametrize("name", [name for name in timm_loading.CASES if name not in OF_ANY_SIZE])
def test_back_of_the_others(name):
    """timm builds them of the published sizes only; the tensors are the same all the same."""
    case = timm_loading.case(name)
    model = keras_nest.create_model(weights=str(case.folder))
    original, written = load_file(case.folder / "model.safetensors"), timm_tensors(model)
    assert all(not value.any() for key, value in written.items() if key not in original)
    assert all(np.array_equal(written[key], value) for key, value in original.items())
    with pytest.raises(
        ValueError, match=r"timm builds such a model with (NesTs|Mixers|hybrids) of the published sizes"
    ):
        write_timm(model, "nowhere")


HEADS = st.sampled_from([1, 2, 3])
CLASSES = st.integers(0, 3)


@st.composite
def configurations(draw):
    """Of models that timm builds, and which of ours they are."""
    heads, width = draw(HEADS), draw(st.sampled_from([4, 6]))
    common = {"num_classes": draw(CLASSES), "in_channels": draw(st.sampled_from([1, 3])), "activation": "gelu"}
    kind = draw(st.sampled_from([NesT, VisionTransformer, MlpMixer]))
    if kind is NesT:
        depths = draw(st.sampled_from([(1,), (1, 2), (2, 1, 1)]))
        return kind, common | {
            "num_layers_per_block": depths,
            "embedding_dim": heads * width,
            "num_heads": heads,
            "init_patch_embed_size": 2,
            "image_size": 2 * 2 ** len(depths),
            "scale_hidden_dims": draw(st.sampled_from([None, 2])) if len(depths) > 1 else 2,
            "mlp_ratio": draw(st.sampled_from([2, 4])),
            "qkv_bias": draw(st.booleans()),
        }
    sides = {"image_size": (8, draw(st.sampled_from([8, 12]))), "patch_size": draw(st.sampled_from([2, 4]))}
    if kind is MlpMixer:
        widths = {"hidden_dim": 8, "tokens_mlp_dim": draw(st.integers(1, 9)), "channels_mlp_dim": 12}
        return kind, common | sides | widths | {"num_blocks": draw(st.integers(1, 2))}
    return kind, common | sides | {
        "activation": draw(st.sampled_from(["gelu", "gelu_tanh"])),
        "hidden_size": heads * width,
        "num_heads": heads,
        "num_layers": draw(st.integers(1, 2)),
        "mlp_dim": draw(st.integers(1, 9)),
        "classifier": draw(st.sampled_from(["token", "gap"])),
    }


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(configurations())
def test_there_and_back_of_any_size(tmp_path_factory, drawn):
    """Configuration and tensors tell everything, and the Flax module computes the same."""
    kind, fields = drawn
    model, folder = families.randomized(kind(**fields)), tmp_path_factory.mktemp("back") / "model"
    tree = model_tree(model)
    back = to_flax(timm_tensors(model), fields.get("num_heads"))
    assert back.keys() == tree.keys()
    for path, value in back.items():
        np.testing.assert_array_equal(value, tree[path])
    if kind is not VisionTransformer:
        return
    write_timm(model, folder)
    again = keras_nest.create_model(weights=str(folder))
    free = ("dropout_rate", "stochastic_depth_drop", "preprocessing")
    assert {**again.config, **dict.fromkeys(free)} == {**model.config, **dict.fromkeys(free)}
    images = np.random.default_rng(0).standard_normal((2, *model.input_shape[1:])).astype(np.float32)
    assert keras_models.gap(np.asarray(again(images)), flax_outputs(model, tree, images)) <= 2e-5


NOT_BUILT = {
    "the exact GELU": lambda: families.nest(),
    'attn_type="local_multi_head" only': lambda: families.nest(attn_type="local_multi_query"),
    "square images only": lambda: families.nest(activation="gelu", image_size=(8, 16)),
    'classifier="token" or "gap" only': lambda: families.vit(classifier="unpooled"),
    "no pre_logits only": lambda: families.vit(representation_size=4),
    "images that divide into patches only": lambda: families.vit(image_size=20),
    "no model with features_only": lambda: families.vit(features_only=True),
    "what a ResNet does": lambda: keras_nest.create_model("resnet18_cifar", stage_sizes=(1,)),
}


@pytest.mark.parametrize("reason", NOT_BUILT)
def test_what_timm_does_not_build(reason, tmp_path):
    with pytest.raises(ValueError, match=reason):
        write_timm(NOT_BUILT[reason](), tmp_path / "no")
    assert list(tmp_path.iterdir()) == []


def test_hybrids_of_published_sizes(tmp_path):
    """Their architecture alone says everything."""
    model = families.vit("R+ViT-Ti_16", image_size=32, patch_size=8, hidden_size=192, num_layers=12, num_heads=3,
                         mlp_dim=768, activation="gelu")  # fmt: skip
    with pytest.raises(ValueError, match='resnet_variant="timm"'):
        write_timm(model, tmp_path / "no")
    written = keras_nest.create_model("R_Ti_16", 3, 32, activation="gelu", resnet_variant="timm")
    write_timm(written, tmp_path / "out")
    found = told(tmp_path / "out")
    assert (found.name, found.fields["classifier"]) == ("R+ViT-Ti_16", "token")


def test_transformers_refuses(tmp_path):
    for model, reason in (
        (families.vit(classifier="gap"), 'classifier="token" only'),
        (families.vit(num_classes=0), "ends with its pooler"),
        (families.nest(), "does not compute what a NesT does"),
    ):
        with pytest.raises(ValueError, match=reason):
            write_transformers(model, tmp_path / "no")


def test_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    vit = str(timm_loading.FOLDER / "cases" / "vit_token")
    assert cli.main(["convert", vit, "vit.keras"]) == 0
    assert cli.main(["convert", "--to-timm", "vit.keras", "back"]) == 0
    assert cli.main(["convert", "--to-transformers", "vit.keras", "hugging"]) == 0
    assert capsys.readouterr().err == ""
    images = timm_loading.case("vit_token").images
    models = [keras_nest.open_model(path).model for path in ("vit.keras", "back", "hugging")]
    for model in models[1:]:
        np.testing.assert_array_equal(model(images), models[0](images))
    assert cli.main(["convert", "--to-timm", "vit.keras", "back"]) == 2
    assert "back exists already" in capsys.readouterr().err
    assert cli.main(["convert", "--to-timm", "--verify", "vit.keras", "no"]) == 2


@pytest.mark.slow
def test_verify(tmp_path, capsys):
    """With the Flax module, which has the same GELU."""
    for name in ("vit_token", "hybrid_two_stages"):
        folder = str(timm_loading.FOLDER / "cases" / name)
        assert cli.main(["convert", folder, str(tmp_path / f"{name}.keras"), "--verify"]) == 0
        output = " ".join(capsys.readouterr().out.replace("│", " ").split())
        assert "from the Flax module on random images" in output
        assert (
            "compared with Flax alone: Weights of timm are compared with timm itself, which is not installed" in output
        )
