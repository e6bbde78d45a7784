"""Fewer blocks than a checkpoint has, where they are asked for."""

import logging

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest import cli, conversion
from keras_nest.conversion.depth import shorten
from keras_nest.conversion.patches import resize_kernel
from tests import families
from tests.families import inputs_of

VIT = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_heads": 2, "mlp_dim": 8, "num_classes": 3}
MIXER = {"image_size": 16, "patch_size": 8, "hidden_dim": 8, "tokens_mlp_dim": 4, "channels_mlp_dim": 8}
NEST = {"image_size": 8, "init_patch_embed_size": 1, "embedding_dim": 8, "num_heads": 2, "num_classes": 3}
# Name, other fields, field, depth of the checkpoint, a smaller depth, a greater one.
MODELS = {
    "ViT": ("ViT-Ti_16", VIT, "num_layers", 3, 2, 4),
    "Mixer": ("Mixer-B_16", {**MIXER, "num_classes": 3}, "num_blocks", 3, 1, 5),
    "NesT": ("nest_tiny", NEST, "num_layers_per_block", (1, 3), (1, 1), (1, 4)),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of every family, and its files."""
    folder, models = tmp_path_factory.mktemp("depth"), {}
    for family, (name, fields, field, depth, *_) in MODELS.items():
        model = models[family] = families.randomized(keras_nest.create_model(name, **fields, **{field: depth}))
        model.save(folder / f"{family}.keras")
        conversion.write_checkpoint(model, folder / f"{family}.npz")
    return folder, models


def create(files, family, suffix, depth):
    name, fields, field, *_ = MODELS[family]
    fields = fields if suffix == ".npz" else {}
    return keras_nest.create_model(name, weights=f"{files[0] / family}{suffix}", **fields, **{field: depth})


class TestModels:
    @pytest.mark.parametrize(("family", "suffix"), [("ViT", ".npz"), ("Mixer", ".keras"), ("NesT", ".npz")])
    def test_the_first_blocks_are_used(self, family, suffix, files, caplog):
        caplog.set_level(logging.INFO, "keras_nest")
        *_, depth, fewer, _ = MODELS[family]
        whole, shorter = files[1][family], create(files, family, suffix, fewer)
        (said,) = caplog.messages
        count = int(np.sum(fewer))
        assert said.startswith(f"The first {count} of {int(np.sum(depth))} blocks")
        values = conversion.model_tree(whole)
        assert all(value.tobytes() == values[path].tobytes() for path, value in conversion.model_tree(shorter).items())
        block = type(whole).BLOCKS[1].format(count - 1)
        images = inputs_of(whole)
        part = keras.Model(whole.input, whole.endpoints[block])
        ours = keras.Model(shorter.input, shorter.endpoints[block])
        np.testing.assert_allclose(ours(images), part(images), atol=1e-6)

    @pytest.mark.parametrize(("family", "suffix"), [("ViT", ".keras"), ("Mixer", ".npz"), ("NesT", ".npz")])
    def test_more_than_there_are_is_refused(self, family, suffix, files):
        *_, field, depth, _, more = MODELS[family]
        there = int(np.sum(depth))
        with pytest.raises(ValueError, match=rf"{field} is .*, and the checkpoint has {there} blocks; give no more"):
            create(files, family, suffix, more)


def test_blocks_inside_a_hierarchy_are_not_left_out(files):
    tree = conversion.model_tree(files[1]["NesT"])
    model = keras_nest.create_model("nest_tiny", **NEST, num_layers_per_block=(1, 1))
    published = {"num_layers_per_block": (2, 2)}  # as many blocks, but not the same ones
    with pytest.raises(ValueError, match=r"is \(1, 1\), and the checkpoint has \(2, 2\): .* shorten the last level"):
        shorten(model, tree, {"num_layers_per_block": (1, 1)}, published)


def test_what_was_not_asked_for_is_a_mistake(files):
    model = keras_nest.create_model("ViT-Ti_16", **VIT, num_layers=2)
    with pytest.raises(ValueError, match="the model lacks Transformer/encoderblock_2/"):
        conversion.load_weights(model, conversion.model_tree(files[1]["ViT"]))


def test_frozen_blocks_stay_frozen_and_others_are_forgotten_on_the_command_line(files, tmp_path):
    model = keras_nest.open_model(files[0] / "ViT.keras").model
    for block in model.get_layer("Transformer").blocks[1:]:
        block.trainable = False
    model.save(tmp_path / "frozen.keras")
    fields = ["--set", "num_layers=2", "--set", "patch_size=4"]
    assert cli.main(["convert", str(tmp_path / "frozen.keras"), str(tmp_path / "out.keras"), *fields]) == 0
    shorter = keras_nest.open_model(tmp_path / "out.keras").model
    assert [block.trainable for block in shorter.get_layer("Transformer").blocks] == [True, False]
    assert shorter.endpoints["stem"].shape == (None, 4, 4, 8)


def test_towers_of_a_lit(tmp_path):
    """A locked image tower too, and patches of its own."""
    image = {"class_name": "VisionTransformer", **VIT, "num_classes": 8, "num_layers": 2}
    text = {"class_name": "TextTransformer", "width": 8, "out_dim": 8, "vocab_size": 20, "max_len": 4, "mlp_dim": 8}
    model = families.randomized(keras_nest.LiT(image, {**text, "num_layers": 2, "num_heads": 2}))
    model.image_model.trainable = False
    model.save(tmp_path / "lit.keras")
    fewer = {"image_model": {"num_layers": 1, "patch_size": (8, 16)}, "text_model": {"num_layers": 1}}
    shorter = keras_nest.create_model(weights=str(tmp_path / "lit.keras"), **fewer)
    values, tree = conversion.model_tree(model), conversion.model_tree(shorter)
    assert len(tree) < len(values)
    other = {path for path, value in tree.items() if value.tobytes() != values[path].tobytes()}
    assert other == {"params/img/embedding/kernel", "params/img/Transformer/posembed_input/pos_embedding"}
    np.testing.assert_array_equal(
        tree["params/img/embedding/kernel"], resize_kernel(values["params/img/embedding/kernel"], (8, 16))
    )
    assert not shorter.image_model.trainable_weights
