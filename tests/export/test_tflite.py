import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert

import export
import keras_nest
from tests import keras_models

# TFLite's converter and its calls into TensorFlow raise these about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorflow")


def convert(model, folder, batch_size=1):
    export.to_saved_model(model, folder, batch_size=batch_size)
    # The default target is built-in operations only: anything else makes the conversion fail.
    return tf.lite.TFLiteConverter.from_saved_model(str(folder), signature_keys=["serving_default"]).convert()


def delegates(interpreter):
    """Nodes that run one partition each in XNNPACK, the only delegate that LiteRT applies by itself."""
    return [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]


def is_one_partition(interpreter):
    """Whether XNNPACK computes everything from input to output in one go.

    The list of operations keeps those that a delegate replaced, so it cannot be counted. But if all that the only
    delegate reads is the input and constants, and it writes every output, no other operation is left to run.
    """
    found = delegates(interpreter)
    if len(found) != 1:
        return False
    computed = {index for op in interpreter._get_ops_details() for index in op["outputs"]}
    inputs, outputs = set(found[0]["inputs"]), set(found[0]["outputs"])
    return not inputs & computed and outputs >= {detail["index"] for detail in interpreter.get_output_details()}


def check_file(model, tflite, images):
    interpreter = litert.Interpreter(model_content=tflite, num_threads=1)
    interpreter.allocate_tensors()
    assert is_one_partition(interpreter)
    spec = model.config["preprocessing"]
    expected = model((images - np.float32(spec["mean"])) / np.float32(spec["std"]))
    outputs = interpreter.get_signature_runner()(images=images)
    expected = expected if isinstance(expected, dict) else {next(iter(outputs)): expected}
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], keras.ops.convert_to_numpy(value), atol=2e-5)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"attn_type": "local_multi_query", "features_only": True},
        {"norm_type": "BN", "qkv_bias": False},
        {"norm_type": "GN", "embedding_dim": 32, "image_size": (16, 32), "scale_hidden_dims": None},
    ],
    ids=str,
)
def test_a_small_nest_is_one_partition(fields, small_nest, images, tmp_path):
    model = small_nest(**fields)
    check_file(model, convert(model, tmp_path / "saved"), images(1, model.image_size))


def test_the_other_nest_is_one_partition(images, tmp_path):
    preprocessing = {"mean": [0.5] * 3, "std": [0.5] * 3}
    model = keras_nest.ViTFlaxNesT(16, 2, 16, 2, 2, block_repeats=1, num_classes=10, preprocessing=preprocessing)
    check_file(model, convert(model, tmp_path / "saved"), images(1))


VIT = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
MIXER = {"patch_size": 4, "hidden_dim": 16, "num_blocks": 1, "tokens_mlp_dim": 6, "channels_mlp_dim": 24}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ViT-B_16", {**VIT, "classifier": "gap", "representation_size": 7}),
        ("ViT-B_16", {**VIT, "patch_size": 1, "resnet_num_layers": (1, 1), "resnet_width_factor": 0.5}),
        ("Mixer-B_16", MIXER),
    ],
    ids=["gap", "hybrid with class token", "mixer"],
)
def test_vit_and_mixer_are_one_partition(name, fields, images, tmp_path):
    model = keras_nest.create_model(name, image_size=16, num_classes=5, **fields)
    keras_models.randomise(model)
    check_file(model, convert(model, tmp_path / "saved"), images(1))


def test_an_open_batch_is_several_partitions(small_nest, tmp_path):
    # Shows that the count above can fail.
    interpreter = litert.Interpreter(model_content=convert(small_nest(), tmp_path / "saved", batch_size=None))
    interpreter.allocate_tensors()
    assert len(delegates(interpreter)) > 1
    assert not is_one_partition(interpreter)


@pytest.mark.slow
def test_nest_tiny_is_one_partition(images, tmp_path):
    model = keras_nest.create_model("nest_tiny")
    tflite = convert(model, tmp_path / "saved")
    assert len(tflite) == pytest.approx(4 * model.count_params(), rel=0.02)
    check_file(model, tflite, images(1, (224, 224)))
