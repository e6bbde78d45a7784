"""Models that Keras quantized, exported or refused in a sentence."""

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import export
from keras_nest.export.exporters import exporter_for
from tests import families


def quantized(mode):
    model = families.vit(preprocessing=None)
    for layer in model.get_layer("Transformer").blocks[0].mlp.dense:
        layer.quantize(mode)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["int8", "float8"])
def test_tflite_files_are_refused(mode, tmp_path):
    with pytest.raises(ValueError, match=rf"'Dense_0' of 'ViT-Ti_16' was quantized to {mode}.*\[\"dynamic_int8\"\]"):
        export.to_tflite(quantized(mode), tmp_path)


@pytest.mark.slow
def test_onnx_files_of_float8_are_refused(tmp_path):
    with pytest.raises(ValueError, match="quantized to float8, which an ONNX file cannot hold"):
        export.to_onnx(quantized("float8"), tmp_path / "model.onnx")
    exporter_for(quantized("int8")).check_onnx()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_saved_models_and_onnx_files_keep_the_numbers(mode, tmp_path):
    import onnxruntime

    model = families.vit(preprocessing=None)
    model.quantize(mode)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    want = model(images).numpy()
    module = tf.saved_model.load(str(export.to_saved_model(model, tmp_path / "module")))
    np.testing.assert_allclose(module(tf.constant(images)), want, atol=1e-5)
    session = onnxruntime.InferenceSession(str(export.to_onnx(model, tmp_path / "model.onnx")))
    np.testing.assert_allclose(session.run(None, {"images": images})[0], want, atol=1e-5)


@pytest.mark.slow
def test_lora_is_merged_in_onnx_files(tmp_path):
    import onnxruntime

    model = families.vit(preprocessing=None)
    for attention in model.attention_layers()["tokens"].values():
        attention.out.enable_lora(2)
        attention.out.lora_kernel_b.assign(attention.out.lora_kernel_b + 1)
    images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
    session = onnxruntime.InferenceSession(str(export.to_onnx(model, tmp_path / "model.onnx")))
    np.testing.assert_allclose(session.run(None, {"images": images})[0], model(images), atol=1e-5)
    before = model(images).numpy()
    keras_nest.merge_lora(model)
    np.testing.assert_allclose(model(images), before, atol=1e-6)
