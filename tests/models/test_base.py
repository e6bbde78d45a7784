"""What all classifiers share: an activation at the end, which leaves logits and checkpoints as they are."""

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest.models.base import logits_model
from tests import keras_models

IMAGES = np.random.default_rng(0).standard_normal((2, 16, 16, 3)).astype("float32")
VIT = {"patch_size": 4, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}
FAMILIES = {
    "nest_tiny": {"init_patch_embed_size": 4, "embedding_dim": 8, "num_heads": 2, "num_layers_per_block": (1, 1)},
    "vit_flax_nest": {"patch_size": 4, "dim": 8, "heads": 2, "num_hierarchies": 2, "block_repeats": 1},
    "ViT-S_16": VIT,
    "Mixer-B_16": {"patch_size": 4, "hidden_dim": 8, "num_blocks": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 4},
    "resnet18_cifar": {"stage_sizes": (1, 1), "width_factor": 0.125},
}


def build(name="ViT-S_16", **fields):
    return keras_nest.create_model(name, **{"image_size": 16, "num_classes": 5, **FAMILIES[name], **fields})


class TestClassifierActivation:
    @pytest.mark.parametrize("name", FAMILIES)
    def test_output_logits_and_embedding(self, name):
        plain = build(name)
        keras_models.randomize(plain)
        expected = plain(IMAGES)
        assert "probabilities" not in plain.endpoints
        activation = "sigmoid" if name == "ViT-S_16" else "softmax"
        model = build(name, classifier_activation=activation)
        assert model.classifier_activation == activation
        assert [variable.path for variable in model.variables] == [variable.path for variable in plain.variables]
        model.set_weights(plain.get_weights())
        np.testing.assert_allclose(model(IMAGES), getattr(keras.ops, activation)(expected), rtol=1e-5, atol=1e-7)
        for source in (logits_model(model), keras.Model(model.input, model.endpoints["logits"])):
            np.testing.assert_array_equal(source(IMAGES), expected)
        assert model.num_classes == 5
        assert logits_model(plain) is plain

    def test_it_is_saved(self, tmp_path):
        model = build(classifier_activation="sigmoid")
        keras_models.randomize(model)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        assert loaded.classifier_activation == "sigmoid"
        np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))

    def test_checkpoints_go_into_both(self, tmp_path):
        model = build(classifier_activation="softmax")
        keras_models.randomize(model)
        from keras_nest import conversion

        conversion.write_checkpoint(model, tmp_path / "model.npz")
        fields = {**FAMILIES["ViT-S_16"], "image_size": 16}
        plain = keras_nest.create_model("ViT-S_16", weights=str(tmp_path / "model.npz"), **fields)
        again = keras_nest.create_model(
            "ViT-S_16", weights=str(tmp_path / "model.npz"), classifier_activation="softmax", **fields
        )
        np.testing.assert_array_equal(plain(IMAGES), logits_model(model)(IMAGES))
        np.testing.assert_array_equal(again(IMAGES), model(IMAGES))
        new = keras_nest.create_model(
            "ViT-S_16",
            weights=str(tmp_path / "model.npz"),
            num_classes=2,
            reinit_head=True,
            classifier_activation="softmax",
            **fields,
        )
        np.testing.assert_array_equal(new(IMAGES), np.full((2, 2), 0.5))

    @pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
    def test_probabilities_are_float32_under_mixed_precision(self, policy):
        output = build(classifier_activation="softmax", dtype=policy)(IMAGES)
        assert output.dtype == "float32"
        np.testing.assert_allclose(np.sum(output, -1), 1, atol=1e-6)

    def test_of_every_token(self):
        model = build(classifier="unpooled", classifier_activation="softmax")
        assert model.output_shape == (None, 16, 5)
        np.testing.assert_allclose(np.sum(model(IMAGES), -1), 1, atol=1e-6)

    @pytest.mark.parametrize(
        ("name", "fields"),
        [*((name, {"num_classes": 0}) for name in FAMILIES), ("ViT-S_16", {"features_only": True})],
    )
    def test_without_a_head_there_is_nothing_to_activate(self, name, fields):
        with pytest.raises(ValueError, match=r"^classifier_activation is 'softmax', but the model has no head"):
            build(name, classifier_activation="softmax", **fields)

    @pytest.mark.parametrize("activation", ["softmx", "relu", "linear", True, keras.activations.softmax])
    def test_there_are_two(self, activation):
        with pytest.raises(ValueError, match=r"it must be one of 'softmax', 'sigmoid', or None for logits\.$"):
            build(classifier_activation=activation)

    def test_softmax_of_a_single_class_is_refused(self):
        with pytest.raises(ValueError, match="of a single class is always 1"):
            build(num_classes=1, classifier_activation="softmax")
        assert build(num_classes=1, classifier_activation="sigmoid").output_shape == (None, 1)

    def test_a_tower_of_lit_has_none(self):
        text = keras_nest.TextTransformer(out_dim=5, width=8, num_layers=1, num_heads=2, mlp_dim=8)
        with pytest.raises(ValueError, match=r"^The image tower has classifier_activation 'softmax'"):
            keras_nest.LiT(build(classifier_activation="softmax"), text)


class TestLogitsModel:
    def test_other_models_are_what_they_are(self):
        for model in (build(num_classes=0), build(features_only=True), keras.Sequential([build()])):
            assert logits_model(model) is model

    def test_a_head_with_an_activation_of_its_own_has_no_logits(self):
        model = build()
        model.get_layer("head").activation = keras.activations.softmax
        with pytest.raises(ValueError, match="was given an activation of its own"):
            logits_model(model)


def test_a_configuration_without_feature_maps():
    fields = {**VIT, "num_layers": None, "classifier": "gap"}
    with pytest.raises(ValueError, match="features_only asks for feature maps, and this configuration has none"):
        keras_nest.VisionTransformer(image_size=16, features_only=True, **fields)
    assert not keras_nest.VisionTransformer(image_size=16, **fields).feature_maps
