import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

import keras_nest
from keras_nest.export.onnx import to_onnx
from tests import keras_models

VIT = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
MIXER = {"patch_size": 4, "hidden_dim": 16, "num_blocks": 1, "tokens_mlp_dim": 6, "channels_mlp_dim": 24}
FAMILIES = {
    "nest": ("nest_tiny_s16_32", {"embedding_dim": 16, "num_heads": 2, "num_layers_per_block": (1, 1)}),
    "vit": ("ViT-B_16", VIT),
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
