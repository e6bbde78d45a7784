"""ViT, hybrid and Mixer checkpoints for other channels, other images, or only a part of the model."""

import functools
import logging

import numpy as np
import pytest

from keras_nest import conversion
from tests import keras_models
from tests.golden import synthetic, vit_loading
from tests.vit_checkpoints import POSITIONS, create, loaded, tensor

FIRST = {"vit_rep_linen": "embedding/kernel", "mixer_linen": "stem/kernel", "hybrid_linen": "conv_root/kernel"}


@pytest.fixture
def said(caplog):
    """What the loader tells the user."""
    caplog.set_level(logging.INFO, "keras_nest")
    return caplog


@functools.cache
def wide():
    """A model of images of 4 x 6 patches, whose positions tell their row and their column; no test may change it."""
    model = create("vit_rep_linen", image_size=(16, 24))
    value = np.zeros((1, 25, 16), np.float32)
    value[:, 1:, :2] = np.stack(np.meshgrid(range(4), range(6), indexing="ij"), -1).reshape(1, 24, 2)
    model.get_layer("Transformer").position_embedding.pos_embedding.assign(value)
    return model


def images_of(name, channels=3):
    return synthetic.images(7, (*vit_loading.checkpoint(name).images.shape[:3], channels))


class TestChannels:
    """In the hybrid each group of the first normalization is a single channel, which forgives the other deviation."""

    @pytest.mark.parametrize("name", FIRST)
    def test_gray_images_are_worth_what_they_are_in_three_colors(self, name, said):
        gray = images_of(name, 1)
        expected = loaded(name)(np.repeat(gray, 3, axis=-1))
        model = create(name, in_channels=1)
        assert f"{FIRST[name]} was fitted to gray images by adding up red, green and blue." in said.messages
        np.testing.assert_allclose(model(gray), expected, atol=keras_models.SMALL_LOGITS)

    @pytest.mark.parametrize("name", FIRST)
    def test_colors_twice_are_worth_what_they_are_once(self, name):
        images = images_of(name)
        twice = create(name, in_channels=6)(np.concatenate([images, images], axis=-1))
        np.testing.assert_allclose(twice, loaded(name)(images), atol=keras_models.SMALL_LOGITS)

    @pytest.mark.parametrize("name", FIRST)
    def test_five_channels_take_turns(self, name, said):
        old = conversion.read_checkpoint(vit_loading.checkpoint(name).path)[f"params/{FIRST[name]}"]
        model = create(name, in_channels=5)
        sentence = "was fitted to 5 channels by repeating those of red, green and blue, times 3 / 5."
        assert f"{FIRST[name]} {sentence}" in said.messages
        new = tensor(model, FIRST[name])
        for channel in range(5):
            np.testing.assert_allclose(new[:, :, channel], old[:, :, channel % 3] * 0.6, rtol=1e-6)
        assert model(images_of(name, 5)).shape == (2, 11)

    def test_a_file_of_gray_images_stays_one(self, tmp_path, said):
        gray = create("vit_rep_linen", in_channels=1)
        conversion.write_checkpoint(gray, tmp_path / "grey.npz")
        said.clear()
        again = create("vit_rep_linen", tmp_path / "grey.npz", in_channels=1)
        np.testing.assert_array_equal(tensor(again, "embedding/kernel"), tensor(gray, "embedding/kernel"))
        assert not said.messages
        with pytest.raises(
            ValueError, match=r"embedding/kernel is \(4, 4, 1, 16\) in the checkpoint and \(4, 4, 3, 16"
        ):
            create("vit_rep_linen", tmp_path / "grey.npz")


class TestImageSize:
    def test_mixers_have_one(self):
        sentence = "its token_mixing was trained on 9 tokens, the model's images have 4 x 4, and it fits no other"
        with pytest.raises(ValueError, match=sentence):
            create("mixer_linen", image_size=16)
        assert create("mixer_linen", image_size=11).image_size == (11, 11)  # padded to the same nine patches

    def test_keras_files_know_their_rectangle(self, tmp_path, said):
        wide().save(tmp_path / "wide.keras")
        assert create("vit_rep_linen", tmp_path / "wide.keras").image_size == (16, 24)
        for size, new in {(16, 16): "4 x 4", (32, 48): "8 x 12", (24, 16): "6 x 4"}.items():
            said.clear()
            model = create("vit_rep_linen", tmp_path / "wide.keras", image_size=size)
            assert said.messages == [f"{POSITIONS} was resized from 4 x 6 to {new} tokens."]
            rows, columns = size[0] // 4, size[1] // 4
            resized = tensor(model, POSITIONS)[0, 1:, :2].reshape(rows, columns, 2)
            np.testing.assert_allclose(resized[:, 0, 0], np.linspace(0, 3, rows), atol=1e-6)
            np.testing.assert_allclose(resized[0, :, 1], np.linspace(0, 5, columns), atol=1e-6)

    def test_keras_files_are_the_model_again(self, tmp_path, said):
        checkpoint = vit_loading.checkpoint("hybrid_linen")
        loaded("hybrid_linen").save(tmp_path / "model.keras")
        again = create("hybrid_linen", tmp_path / "model.keras")
        assert keras_models.gap(again(checkpoint.images), checkpoint.logits) <= keras_models.SMALL_LOGITS
        assert not said.messages

    def test_rectangular_npz_files_without_their_size(self, tmp_path):
        keras_models.write_untold(wide(), tmp_path / "wide.npz")
        with pytest.raises(ValueError, match="24 tokens are not a square block"):
            create("vit_rep_linen", tmp_path / "wide.npz", image_size=16)
        same = create("vit_rep_linen", tmp_path / "wide.npz", image_size=(16, 24))
        np.testing.assert_array_equal(tensor(same, POSITIONS), tensor(wide(), POSITIONS))

    def test_gap_model_from_a_rectangular_token_file(self, tmp_path):
        wide().save(tmp_path / "wide.keras")
        conversion.write_checkpoint(wide(), tmp_path / "wide.npz")
        for path in tmp_path.iterdir():
            gap = create("vit_rep_linen", path, image_size=(16, 24), classifier="gap")
            np.testing.assert_array_equal(tensor(gap, POSITIONS), tensor(wide(), POSITIONS)[:, 1:])

    @pytest.mark.parametrize(("old", "new"), [((8, 20), 12), ((4, 4), 8)])
    def test_gap_model_from_a_gap_file_one_above_a_square(self, old, new, tmp_path):
        """2 x 5 tokens are no class token and 3 x 3 others, nor is one token a class token."""
        gap = create("vit_rep_linen", image_size=old, classifier="gap")
        gap.save(tmp_path / "gap.keras")
        again = create("vit_rep_linen", tmp_path / "gap.keras", image_size=new, classifier="gap")
        np.testing.assert_array_equal(tensor(again, POSITIONS)[:, 0], tensor(gap, POSITIONS)[:, 0])

    def test_ten_tokens_of_unknown_layout_are_refused(self, tmp_path):
        keras_models.write_untold(create("vit_rep_linen", image_size=(8, 20), classifier="gap"), tmp_path / "gap.npz")
        with pytest.raises(ValueError, match="10 tokens are not a square block"):
            create("vit_rep_linen", tmp_path / "gap.npz", image_size=12, classifier="gap")

    def test_token_model_from_gap_file(self, tmp_path):
        conversion.write_checkpoint(create("vit_rep_linen", classifier="gap"), tmp_path / "gap.npz")
        with pytest.raises(ValueError, match=r"pos_embedding is \(1, 16, 16\) in .* \(1, 17, 16\) .* lacks cls"):
            create("vit_rep_linen", tmp_path / "gap.npz")


class TestFeatures:
    @pytest.mark.parametrize("name", ["vit_rep_pre_linen", "hybrid_pre_linen_gn4d", "mixer_linen"])
    def test_maps_are_those_of_the_whole_model(self, name):
        checkpoint = vit_loading.checkpoint(name)
        numbers = (1, 2)
        whole, maps = create(name, feature_blocks=numbers), create(name, feature_blocks=numbers, features_only=True)
        found = maps(checkpoint.images)
        expected = keras_models.endpoints(whole, checkpoint.images)
        hybrid = ["root", "stage_1"] if "hybrid" in name else []
        assert list(found) == [*hybrid, "block_1", "block_2"]
        for level, value in enumerate(found.values(), 1):
            assert len(value.shape) == 4
            np.testing.assert_allclose(value, expected[f"level_{level}"], atol=1e-5)

    def test_the_rest_is_not_built(self):
        model = create("vit_linen", feature_blocks=(2, 5), features_only=True)
        blocks = {path.split("/")[2] for path in conversion.model_tree(model) if "encoderblock" in path}
        assert blocks == {f"encoderblock_{i}" for i in range(5)}
        assert model.num_classes == 0

    def test_what_is_left_out_is_said(self, said):
        create("vit_linen", feature_blocks=(10,), features_only=True)
        (sentence,) = said.messages
        for module in (
            "head",
            "Transformer/encoder_norm",
            "Transformer/encoderblock_10",
            "Transformer/encoderblock_11",
        ):
            assert module in sentence
        assert "Transformer," not in sentence

    def test_without_transformer(self, said):
        model = create("vit_linen", num_layers=None, classifier="gap")
        assert "Of the checkpoint, Transformer, cls was not used." in said.messages
        images = vit_loading.checkpoint("vit_linen").images
        stem = keras_models.endpoints(model, images, ["stem"])["stem"]
        head = model.get_layer("head")
        np.testing.assert_allclose(model(images), stem.mean((1, 2)) @ head.kernel + head.bias, atol=1e-5)
