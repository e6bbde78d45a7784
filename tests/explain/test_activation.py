"""Class activation maps of all families."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest import MlpMixer, NesT, ResNet, VisionTransformer, ViTFlaxNesT
from keras_nest.explain import class_activation_map
from tests import keras_models

SIZE = 16
VIT = {"num_classes": 3, "image_size": SIZE, "patch_size": 4, "hidden_size": 8, "num_heads": 2, "mlp_dim": 8}
HYBRID = {"resnet_num_layers": (1,), "resnet_width_factor": 0.5, "patch_size": 1}
POOLING = {
    "NesT": lambda: NesT(3, SIZE, embedding_dim=8, num_heads=2, num_layers_per_block=(1, 1), init_patch_embed_size=2),
    "ViTFlaxNesT": lambda: ViTFlaxNesT(SIZE, 2, 8, 2, 2, 1, num_classes=3),
    "ViT": lambda: VisionTransformer(**VIT, num_layers=1, classifier="gap"),
    "hybrid": lambda: VisionTransformer(**VIT | HYBRID, num_layers=1, classifier="gap"),
    "MLP-Mixer": lambda: MlpMixer(3, SIZE, 3, 4, 8, 1, 8, 8),
    "ResNet": lambda: ResNet(3, SIZE, stage_sizes=(1, 1), width_factor=0.125, small_input=True),
}


def images():
    return np.random.default_rng(0).standard_normal((2, SIZE, SIZE, 3)).astype(np.float32)


def randomized(model):
    keras_models.randomize(model)
    for variable in model.weights:
        if "variance" in variable.path:
            variable.assign(variable**2 + 1)
    return model


@pytest.mark.parametrize("family", POOLING)
def test_the_map_and_the_bias_add_up_to_the_logit(family):
    model = randomized(POOLING[family]())
    bias = model.get_layer(model.HEAD[-1]).bias
    maps = class_activation_map(model, images(), [2, 0])
    logits = model(images()).numpy()
    assert maps.shape == (2, *model.endpoints["features"].shape[1:3])
    shares = maps.numpy().sum((1, 2)) + bias.numpy()[[2, 0]]
    np.testing.assert_allclose(shares, logits[[0, 1], [2, 0]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fields", [{}, HYBRID, {"representation_size": 6}], ids=["ViT", "hybrid", "representation"])
def test_class_token(fields):
    """The patches change the logit through the last layer's normalized input: to first order, by the map."""
    model = randomized(VisionTransformer(**VIT | fields, num_layers=2))
    height, width = model.endpoints["features"].shape[1:3]
    (image, _), step = images(), 1e-3
    name = "Transformer/encoderblock_1/LayerNorm_0"
    x = keras.Model(model.input, model.endpoints[name])(image[None])
    before = keras.Model(model.input, model.endpoints["Transformer/encoderblock_0"])(image[None])
    expected = np.zeros((height, width))
    for place in np.ndindex(height, width):
        factor = np.ones((1, x.shape[1], 1), np.float32)
        factor[0, 1 + place[0] * width + place[1]] += step
        changes = [logit_from(model, before, x * scale)[0, 1] for scale in (factor, 2 - factor)]
        expected[place] = (changes[0] - changes[1]) / (2 * step)
    found = class_activation_map(model, image, 1).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-2 * np.abs(found).max())


def logit_from(model, before, normed):
    """Logits (B, K), where `normed` is put in the place of the last encoder layer's normalized input."""
    encoder = model.get_layer("Transformer")
    block = encoder.blocks[-1]
    x = before + block.attention(normed)
    x = encoder.encoder_norm(x + block.mlp(block.norms[1](x)))[:, 0]
    for name in ("pre_logits", "head"):
        if name in [layer.name for layer in model.layers]:
            x = model.get_layer(name)(x)
    return x.numpy().astype(np.float64)


@pytest.mark.slow
def test_predicted_class_one_image_and_graph():
    model = randomized(POOLING["MLP-Mixer"]())
    predicted = np.argmax(model(images()), -1)
    maps = class_activation_map(model, images(), predicted)
    np.testing.assert_array_equal(class_activation_map(model, images()), maps)
    np.testing.assert_allclose(class_activation_map(model, images()[1]), maps[1], rtol=1e-4, atol=1e-5)
    in_graph = tf.function(lambda x: class_activation_map(model, x))(images())
    np.testing.assert_allclose(in_graph, maps, rtol=1e-4, atol=1e-5)


def test_a_head_for_every_token():
    model = VisionTransformer(**VIT, num_layers=1, classifier="unpooled")
    with pytest.raises(ValueError, match="answers for every token"):
        class_activation_map(model, images())


def test_a_model_that_puts_out_probabilities_is_explained_by_its_logits():
    plain = randomized(POOLING["ViT"]())
    ending = VisionTransformer(**VIT, num_layers=1, classifier="gap", classifier_activation="softmax")
    ending.set_weights(plain.get_weights())
    np.testing.assert_array_equal(class_activation_map(ending, images()), class_activation_map(plain, images()))
