import collections
import json
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import keras_nest
from keras_nest.export.onnx import to_onnx
from keras_nest.layers.changes import layers_inside
from keras_nest.layers.encoder import MlpBlock
from tests import keras_models
from tests.export.conftest import SMALL

SPEC = SMALL["preprocessing"]
VIT = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
MIXER = {"patch_size": 4, "hidden_dim": 16, "num_blocks": 1, "tokens_mlp_dim": 6, "channels_mlp_dim": 24}
FAMILIES = {
    "nest": ("nest_tiny_s16_32", {"embedding_dim": 16, "num_heads": 2, "num_layers_per_block": (1, 1)}),
    "vit": ("ViT-B_16", VIT),
    "exact": ("ViT-B_16", {**VIT, "activation": "gelu"}),
    "hybrid": ("ViT-B_16", {**VIT, "patch_size": 1, "resnet_num_layers": (1, 1), "resnet_width_factor": 0.5}),
    "mixer": ("Mixer-B_16", MIXER),
}


def check(model, path, images):
    """An independent runtime gives the numbers of the model, for any batch."""
    assert to_onnx(model, path) == path
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    assert (image.name, image.shape) == ("images", ["batch", *model.input.shape[1:]])
    spec = model.config["preprocessing"]
    for batch in (1, 2, 7):
        x = images(batch, model.input.shape[1:3])
        wanted = model((x - np.float32(spec["mean"])) / np.float32(spec["std"]))
        wanted = keras.tree.map_structure(np.asarray, wanted if isinstance(wanted, dict) else {"logits": wanted})
        outputs = dict(zip([y.name for y in session.get_outputs()], session.run(None, {"images": x}), strict=True))
        assert outputs.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_allclose(outputs[key], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()))


@pytest.mark.parametrize(
    "family", ["nest", *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES if name != "nest")]
)
def test_onnxruntime_gives_the_numbers_of_the_model(family, images, tmp_path):
    name, fields = FAMILIES[family]
    model = keras_nest.create_model(name, image_size=16, num_classes=5, **fields)
    keras_models.randomize(model)
    check(model, tmp_path / "model.onnx", images)


def test_layers_are_operations_of_their_own(small_nest, tmp_path):
    """Which runtimes have kernels for; scales of one and shifts of zero are those of a new model."""
    model = keras_nest.NesT(10, 16, embedding_dim=16, num_heads=2, num_layers_per_block=(1, 1), init_patch_embed_size=2)
    to_onnx(model, tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    counts, layers = collections.Counter(node.op_type for node in graph.node), list(layers_inside(model))
    assert counts["LayerNormalization"] == sum(isinstance(x, keras.layers.LayerNormalization) for x in layers) == 6
    assert counts["Gelu"] == sum(isinstance(layer, MlpBlock) for layer in layers) == 2
    assert counts["ReduceMean"] == 1  # of the pooling
    # The first product of an MLP takes tokens as they are, with no reshape in between.
    makers = {output: node.op_type for node in graph.node for output in node.output}
    sources = [makers.get(node.input[0]) for node in graph.node if node.op_type == "MatMul"]
    assert sources.count("LayerNormalization") == sources.count("Gelu") == counts["Gelu"]
    assert not counts.keys() & {"Tanh", "Erf", "Pow", "Sqrt", "Reciprocal", "Shape", "Gather", "Concat"}


def read(path):
    """The inputs, the outputs and the metadata of a file."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    return session, [*session.get_inputs(), *session.get_outputs()], facts


def test_levels_of_any_size_to_probabilities(small_nest, tmp_path):
    model, names = small_nest(), [f"class {index}" for index in range(10)]
    options = {"input_type": "uint8", "activation": "sigmoid", "class_names": names, "metrics": {"top1": 0.5}}
    session, (image, output), facts = read(to_onnx(model, tmp_path / "m.onnx", **options))
    assert (image.type, image.shape) == ("tensor(uint8)", ["batch", "height", "width", 3])
    assert (output.name, output.shape) == ("probabilities", ["batch", 10])
    for size in ((2, 20, 31), (1, 16, 16)):
        levels = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
        wanted = keras.ops.sigmoid(model(keras_nest.preprocessor(model)(levels)))
        np.testing.assert_allclose(session.run(None, {"images": levels})[0], wanted, atol=1e-5)
    assert list(json.loads(facts["names"]).values()) == names
    assert "preprocessing" not in facts
    assert facts["Image.NominalPixelRange"] == "NominalRange_0_255"
    card = (tmp_path / "m.md").read_text("utf-8")
    for part in ("InferenceSession('m.onnx')", "uint8 (batch, h, w, 3)", "class 9", "| top1 | 0.5 |", "are inside"):
        assert part in card


def test_an_embedding(small_nest, images, tmp_path):
    model = small_nest()
    path = to_onnx(model, tmp_path / "m.onnx", head="none", class_names=[*"abcdefghij"])
    session, (_, output), facts = read(path)
    assert output.name == "embedding"
    wanted = keras.Model(model.input, model.endpoints["pre_logits"])(
        (images(2) - np.float32(SPEC["mean"])) / np.float32(SPEC["std"])
    )
    np.testing.assert_allclose(session.run(None, {"images": images(2)})[0], wanted, atol=1e-5)
    assert "names" not in facts
    assert json.loads(facts["preprocessing"])["crop_ratio"] == SPEC["crop_ratio"]
    assert "image feature vector" in (tmp_path / "m.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        ({}, {"activation": "sofmax"}, "activation is 'sofmax'; did you mean softmax"),
        ({}, {"head": "logits"}, "head is 'logits'; it must be one of 'classifier', 'none'"),
        ({}, {"input_type": "uint16"}, "input_type is 'uint16'; it must be one of 'float32', 'uint8'"),
        ({}, {"head": "none", "activation": "softmax"}, "gives embedding and no logits, so leave it out"),
        ({"num_classes": 0}, {"activation": "none"}, "gives embedding and no logits, so leave it out"),
        ({"preprocessing": None}, {"input_type": "uint8"}, "carries no preprocessing"),
        ({}, {"class_names": ["one"]}, "1 class names for 10 classes"),
    ],
)
def test_what_a_file_cannot_be(fields, options, message, small_nest, tmp_path):
    with pytest.raises(ValueError, match=message):
        to_onnx(small_nest(**fields), tmp_path / "m.onnx", **options)
    assert not list(tmp_path.iterdir())


def test_maps_keep_their_names(small_nest, images, tmp_path):
    check(small_nest(features_only=True), tmp_path / "model.onnx", images)


@pytest.mark.slow
def test_mixed_precision_becomes_float32(small_nest, images, tmp_path):
    to_onnx(small_nest(dtype="mixed_bfloat16"), tmp_path / "model.onnx")
    types = {tensor.data_type for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert onnx.TensorProto.FLOAT in types
    assert not types & {onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT16}


def test_existing_files_and_a_missing_converter(small_nest, tmp_path, monkeypatch):
    (tmp_path / "model.onnx").write_text("mine")
    with pytest.raises(FileExistsError, match="pass overwrite=True"):
        to_onnx(small_nest(), tmp_path / "model.onnx")
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'keras-nest\[onnx\]'"):
        to_onnx(small_nest(), tmp_path / "model.onnx", overwrite=True)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
