"""Learning rates that fall from the head down: which layer has which factor, and that steps are that much shorter."""

import numpy as np
import pytest

import keras_nest
from keras_nest.training import create_optimizer
from keras_nest.training.layer_rates import layer_rates

SMALL = {
    "ViT-Ti_16": {"num_layers": 3, "hidden_size": 8, "num_heads": 2, "mlp_dim": 8, "image_size": 32},
    "Mixer-B_32": {"num_blocks": 2, "hidden_dim": 8, "tokens_mlp_dim": 8, "channels_mlp_dim": 8, "image_size": 64},
    "nest_tiny_s16_32": {"num_layers_per_block": (1, 2), "embedding_dim": 8, "num_heads": 2, "image_size": 16},
}
# Parts of paths, the first that fits counts -> blocks between the layer and the head.
VIT = {"encoder_norm": 0, "head": 0, "encoderblock_2": 1, "encoderblock_1": 2, "encoderblock_0": 3, "": 4}
MIXER = {"pre_head_layer_norm": 0, "head": 0, "MixerBlock_1": 1, "MixerBlock_0": 2, "stem": 3}
NEST = {"LayerNorm_0": 0, "Dense_0": 0, "EncoderNDBlock_2": 1, "EncoderNDBlock_1": 2, "EncoderNDBlock_0": 3}
NEST |= {"ConvPool_0": 3, "PositionEmbedding_1": 3, "PositionEmbedding_0": 4, "PatchEmbedding_0": 4}


def create(name):
    return keras_nest.create_model(name, num_classes=3, **SMALL[name])


@pytest.mark.parametrize(("name", "places"), list(zip(SMALL, (VIT, MIXER, NEST), strict=True)))
def test_each_layer_has_its_factor(name, places):
    model = create(name)
    factors = layer_rates(model, 0.5)
    assert factors.keys() == {variable.path for variable in model.trainable_variables}
    for path, factor in factors.items():
        top = path if name == "ViT-Ti_16" else path.split("/")[0]
        (place, *_) = [blocks for part, blocks in places.items() if part in top]
        assert factor == 0.5**place, path


@pytest.mark.parametrize("optim", ["adamw", "momentum"])
def test_steps_are_shorter_by_the_factor(optim):
    models = create("ViT-Ti_16"), create("ViT-Ti_16")
    models[1].set_weights(models[0].get_weights())
    steps = []
    for model, decay in zip(models, (1.0, 0.5), strict=True):
        before = [variable.numpy() for variable in model.trainable_variables]
        optimizer = create_optimizer(model, optim, 1e-2, weight_decay=0.1)
        optimizer.set_layer_rates(model.trainable_variables, layer_rates(model, decay))
        generator = np.random.default_rng(0)
        optimizer.apply([generator.normal(size=value.shape).astype(np.float32) for value in before])
        steps.append([new.numpy() - old for new, old in zip(model.trainable_variables, before, strict=True)])
    for whole, short, factor in zip(*steps, layer_rates(models[1], 0.5).values(), strict=True):
        np.testing.assert_allclose(short, factor * whole, rtol=1e-3, atol=2e-7)
    assert len(set(layer_rates(models[1], 0.5).values())) == 5


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ValueError, match=r"^layer_decay is 1\.5; it must be above 0 and at most 1\.$"):
        layer_rates(create("ViT-Ti_16"), 1.5)
    model = keras_nest.create_model("resnet50", num_classes=3, image_size=32)
    with pytest.raises(ValueError, match=r"^layer_decay is for models with blocks to count, and a ResNet has none\.$"):
        layer_rates(model, 0.5)
