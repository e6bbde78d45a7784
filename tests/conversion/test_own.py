"""A .keras file of this package as a checkpoint."""

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest import cli, conversion
from keras_nest.conversion.names import checkpoint_variables
from keras_nest.layers.changes import layers_by_path
from tests import families
from tests.families import inputs_of, outputs_of

OWN = {"mean": [0.1] * 3, "std": [0.2] * 3, "stretch": True, "interpolation": "bicubic"}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A ViT that differs from the published one in everything, and its file."""
    model = families.vit(preprocessing=OWN, dropout_rate=0.25)
    model.get_layer("Transformer").blocks[0].trainable = False
    model.get_layer("head").activation = keras.activations.softmax
    path = tmp_path_factory.mktemp("own") / "own.keras"
    model.save(path)
    return model, str(path)


def convert(*arguments):
    """Exit code of the command."""
    return cli.main(["convert", *map(str, arguments)])


class TestCreateModel:
    def test_everything_is_in_the_file(self, saved):
        model, path = saved
        for name in (None, "ViT-Ti_16"):
            again = keras_nest.create_model(name, weights=path)
            assert again.get_config() == model.get_config()
            inputs = inputs_of(model)
            np.testing.assert_array_equal(again(inputs), model(inputs))

    @pytest.mark.parametrize(
        "given",
        [
            {"image_size": 24, "dropout_rate": 0.5, "dtype": "mixed_bfloat16"},
            {"in_channels": 1},
            {"num_classes": 5, "reinit_head": True},
            {"num_classes": 0, "preprocessing": {**OWN, "stretch": False}},
            {"features_only": True},
        ],
        ids=str,
    )
    def test_only_what_is_given_changes(self, saved, given):
        model, path = saved
        again = keras_nest.create_model(weights=path, **given)
        fields = {field: value for field, value in given.items() if field != "reinit_head"}
        if "image_size" in given:
            fields["image_size"] = (24, 24)
        if "in_channels" in given:
            fields["preprocessing"] = {**OWN, "mean": pytest.approx([0.1]), "std": pytest.approx([0.2])}
        assert again.config == {**model.config, **fields}
        assert not again.get_layer("Transformer").blocks[0].trainable
        assert again.get_layer("Transformer").blocks[1].trainable
        if "logits" in again.endpoints:
            assert again.get_layer("head").activation is keras.activations.softmax
        theirs = checkpoint_variables(model)
        path = "params/Transformer/encoderblock_0/MlpBlock_0/Dense_0/kernel"
        np.testing.assert_array_equal(checkpoint_variables(again)[path], theirs[path])

    def test_a_head_of_zeros(self, saved):
        model, path = saved
        again = keras_nest.create_model(weights=path, reinit_head=True)
        assert not np.any(again.get_layer("head").kernel)
        assert again.config == model.config

    def test_what_belongs_to_a_head_goes_with_it(self, tmp_path):
        """A frozen head's successor is not frozen, and the layer and the activation go with the one that needs them."""
        model = families.vit(classifier_activation="softmax", representation_size=4)
        model.get_layer("head").trainable = False
        model.save(tmp_path / "own.keras")
        kept, new, none, features = (
            keras_nest.create_model(weights=tmp_path / "own.keras", **given)
            for given in ({"image_size": 24}, {"reinit_head": True}, {"num_classes": 0}, {"features_only": True})
        )
        assert (kept.get_layer("head").trainable, new.get_layer("head").trainable) == (False, True)
        assert (kept.config["representation_size"], new.config["representation_size"]) == (4, None)
        assert kept.classifier_activation == "softmax"
        assert none.classifier_activation is features.classifier_activation is None

    def test_block_size_of_nest(self, tmp_path):
        families.nest(stochastic_depth_drop=0.25).save(tmp_path / "own.keras")
        again = keras_nest.create_model(weights=tmp_path / "own.keras", patch_size=8)
        assert (again.image_size, again.config["stochastic_depth_drop"]) == ((16, 16), 0.25)

    def test_directory_of_a_training(self, saved, tmp_path):
        model, _ = saved
        model.save(tmp_path / "model.keras")
        assert keras_nest.create_model(weights=tmp_path).get_config() == model.get_config()

    def test_lit_and_its_towers(self, tmp_path):
        model = families.lit()
        model.image_model.trainable = False
        model.save(tmp_path / "own.keras")
        same = keras_nest.create_model(weights=tmp_path / "own.keras")
        assert same.get_config() == model.get_config()
        assert [v.trainable for v in same.variables] == [v.trainable for v in model.variables]
        assert all(map(np.array_equal, same.get_weights(), model.get_weights()))
        larger = keras_nest.create_model(weights=tmp_path / "own.keras", image_size=24, temperature_init=2.0)
        assert larger.image_size == (24, 24)
        assert larger.config["temperature_init"] == 2.0
        assert not larger.image_model.trainable
        assert larger.text_model.trainable
        np.testing.assert_array_equal(larger.text_model.get_weights()[0], model.text_model.get_weights()[0])

    def test_lora_stays_lora_at_another_size(self, tmp_path):
        model = families.vit()
        for layer in layers_by_path(model).values():
            if type(layer) is keras.layers.Dense:
                layer.enable_lora(2)
                layer.lora_kernel_b.assign(keras.random.normal(layer.lora_kernel_b.shape))
        model.save(tmp_path / "own.keras")
        same = keras_nest.create_model(weights=tmp_path / "own.keras", dropout_rate=0.25)
        assert len(same.trainable_variables) == len(model.trainable_variables)
        inputs = inputs_of(model)
        np.testing.assert_allclose(outputs_of(same, inputs)[0], outputs_of(model, inputs)[0], atol=1e-6)
        # A Flax checkpoint gets the matrices that the model computes with.
        conversion.write_checkpoint(model, tmp_path / "flax.npz")
        plain = type(model)(**model.config)
        conversion.load_weights(plain, conversion.read_checkpoint(tmp_path / "flax.npz"))
        np.testing.assert_allclose(outputs_of(plain, inputs)[0], outputs_of(model, inputs)[0], atol=1e-6)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
    def test_quantized_models_stay_so_and_are_no_flax_checkpoints(self, tmp_path):
        model = families.vit(num_layers=1)
        model.quantize("int8")
        model.save(tmp_path / "own.keras")
        same = keras_nest.create_model(weights=tmp_path / "own.keras", dropout_rate=0.25)
        np.testing.assert_array_equal(outputs_of(same, inputs_of(model))[0], outputs_of(model, inputs_of(model))[0])
        with pytest.raises(ValueError, match=r"is quantized \(int8\), and checkpoints hold plain numbers"):
            conversion.write_checkpoint(model, tmp_path / "flax.npz")

    @pytest.mark.parametrize(
        ("name", "given", "words"),
        [
            ("nest_tiny", {}, "holds a VisionTransformer, but nest_tiny_s196_224 is a NesT; leave the name out"),
            ("ViT-Ti_1", {}, "There is no model 'ViT-Ti_1'"),
            (None, {"hiden_size": 3}, "no field 'hiden_size'"),
            (None, {"hidden_size": 16}, "does not fit ViT-Ti_16 with other fields: .*tensors differ"),
            (None, {"num_classes": 7}, "reinit_head"),
        ],
    )
    def test_contradictions_are_a_sentence(self, saved, name, given, words):
        with pytest.raises(ValueError, match=words):
            keras_nest.create_model(name, weights=saved[1], **given)

    def test_another_published_model(self, saved):
        with pytest.raises(ValueError, match="holds ViT-Ti_16, whose hidden_size is not that of ViT-S_16"):
            keras_nest.create_model("ViT-S_16", weights=saved[1])


class TestCommand:
    def test_no_name_is_needed(self, saved, tmp_path, capsys):
        model, path = saved
        assert convert(path, tmp_path / "out.keras", "--image-size", 24) == 0
        again = keras.saving.load_model(tmp_path / "out.keras")
        assert again.config == {**model.config, "image_size": (24, 24)}
        assert convert("ViT-Ti_16", path, tmp_path / "out.weights.h5") == 0
        assert convert("nest_tiny", path, tmp_path / "no.keras") == 2
        assert not (tmp_path / "no.keras").exists()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_paths_of_variables_are_those_that_keras_gives(family):
    model = families.FAMILIES[family]()
    if family != "LiT":
        paths = [conversion.flax_path(variable.path) for variable in model.weights]
        assert sorted(checkpoint_variables(model)) == sorted(paths)
