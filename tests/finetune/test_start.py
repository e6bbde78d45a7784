"""Which model is meant, and which of its layers are trained."""

import pathlib

import numpy as np
import pytest

import keras_nest
from keras_nest.finetune import start
from keras_nest.finetune.start import Start, find_start, open_start
from keras_nest.training.setup import freeze
from tests.finetune.textures import SMALL

VIT = {"image_size": 32, "hidden_size": 12, "num_layers": 3, "num_heads": 2, "mlp_dim": 12, "num_classes": 2}
MIXER = {"image_size": 32, "hidden_dim": 12, "num_blocks": 3, "tokens_mlp_dim": 8, "channels_mlp_dim": 8}


class TestFind:
    def test_names_and_published_weights(self):
        assert find_start("S_16", None) == ("ViT-S_16", None)
        assert find_start("S_16", "sam/ViT-S_16") == ("ViT-S_16", "gs://vit_models/sam/ViT-S_16.npz")
        assert find_start("S_16", "gs://mine/weights.npz") == ("ViT-S_16", "gs://mine/weights.npz")

    def test_files_tell_their_name(self, trained):
        assert find_start(str(trained), None) == ("nest_tiny_s16_32", str(trained))
        assert find_start("nest_tiny_s16_32", str(trained)) == ("nest_tiny_s16_32", str(trained))

    DIRECTORY = str(pathlib.Path(__file__).parents[1] / "golden" / "timm" / "cases" / "vit_token")

    def test_weights_of_timm_tell_their_name(self):
        """As for every other command, a directory of timm is a model with its weights."""
        assert find_start(self.DIRECTORY, None) == ("ViT-S_16", self.DIRECTORY)
        assert open_start(*find_start(self.DIRECTORY, None), 2).model.output_shape == (None, 2)

    def test_handles_are_weights_too(self, monkeypatch):
        monkeypatch.setattr(start, "on_this_machine", {"hf://timm/vit": self.DIRECTORY}.__getitem__)
        assert find_start("hf://timm/vit", None) == ("ViT-S_16", "hf://timm/vit")

    @pytest.mark.parametrize(
        ("model", "weights", "sentence"),
        [
            ("ViT-S16", None, r"There is no model 'ViT-S16'; did you mean ViT-S_16"),
            ("ViT-S_16", "none.npz", r"There is no published checkpoint and no file 'none\.npz'"),
            ("LiT-B16B", None, r"LiT-B16B is no classifier of images; give one such as ViT-S_16"),
            ("tests", None, r"tests holds no model; give a name, a \.keras file or a finished training's directory"),
        ],
    )
    def test_one_sentence(self, model, weights, sentence, monkeypatch):
        with pytest.raises((ValueError, FileNotFoundError), match=f"^{sentence}"):
            find_start(model, weights)


class TestOpen:
    def test_the_head_is_new_and_the_rest_is_not(self, trained):
        start = open_start("nest_tiny_s16_32", str(trained), 3)
        there = keras_nest.open_model(trained).model
        assert start.model.output_shape == (None, 3)
        assert not np.any(start.model.get_layer("Dense_0").get_weights()[0])
        for layer in ("PatchEmbedding_0", "EncoderNDBlock_1"):
            for ours, theirs in zip(
                start.model.get_layer(layer).get_weights(), there.get_layer(layer).get_weights(), strict=True
            ):
                np.testing.assert_array_equal(ours, theirs)
        assert start.model.config["preprocessing"] == there.config["preprocessing"]

    def test_another_size(self, trained):
        assert open_start("nest_tiny_s16_32", str(trained), 3, 64).model.image_size == (64, 64)


def trained_layers(name, fields, blocks):
    start = Start(name, None, keras_nest.create_model(name, **{**fields, "num_classes": 2}))
    freeze(start.model, start.frozen(blocks))
    return list(dict.fromkeys(variable.path.rsplit("/", 1)[0] for variable in start.model.trainable_variables))


@pytest.mark.parametrize(
    ("name", "fields", "last", "head"),
    [
        ("ViT-Ti_16", VIT, "Transformer/encoderblock_2", "head"),
        ("R+ViT-Ti_16", VIT | {"hidden_size": 24}, "Transformer/encoderblock_2", "head"),
        ("Mixer-B_16", MIXER, "MixerBlock_2", "head"),
        ("nest_tiny_s16_32", SMALL | {"num_layers_per_block": (1, 2)}, "EncoderNDBlock_2", "Dense_0"),
    ],
)
def test_the_last_blocks_and_the_head_are_trained(name, fields, last, head):
    start = Start(name, None, keras_nest.create_model(name, **{**fields, "num_classes": 2}))
    assert start.depth == 3
    assert trained_layers(name, fields, 0) == [head]
    one = trained_layers(name, fields, 1)
    assert one[-1] == head
    assert all(path.startswith((last, "LayerNorm_0", "pre_head_layer_norm", head)) for path in one)
    assert any(path.startswith(last) for path in one)
    assert len(trained_layers(name, fields, 2)) > len(one)
    assert start.frozen("all") == ()
    with pytest.raises(
        ValueError, match=r"^--blocks is 4, and .* has 3 blocks; it must be 0 \(the head alone\) or all"
    ):
        start.frozen(4)
