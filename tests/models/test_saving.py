"""What a file, a copy and a clone keep of models that were changed after they were made.

That of every family: tests/models/test_every_family.py.
"""

import copy
import importlib
import inspect
import pickle
import pkgutil

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest.layers.attention import BlockAttention
from keras_nest.layers.base import Layer
from keras_nest.layers.changes import layers_by_path
from keras_nest.layers.encoder import PreNormBlock
from keras_nest.layers.image_input import ImageInput
from keras_nest.preprocessing import EvalPreprocessing
from keras_nest.training.evaluation import Similarities
from tests import families
from tests.families import inputs_of
from tests.harness import assert_same, dense_layers, flags, through_file


def freeze_block(model):
    model.get_layer("Transformer").blocks[0].trainable = False


def freeze_all_but_one(model):
    model.trainable = False
    model.get_layer("Transformer").blocks[1].mlp.trainable = True


def freeze_biases(model):
    for variable in model.trainable_variables:
        variable.trainable = "bias" not in variable.name


def all_in_a_frozen_parent(model):
    freeze_all_but_one(model)
    model.get_layer("Transformer").blocks[1].mlp.dense[0].bias.trainable = False


def change_rates(model):
    for layer in layers_by_path(model).values():
        if hasattr(layer, "rate"):
            layer.rate, layer.seed = 0.5, 3


def change_epsilon(model):
    model.get_layer("Transformer").encoder_norm.epsilon = 0.5


def change_policy(model):
    model.get_layer("head").dtype_policy = "mixed_bfloat16"


def make_constraint(model):
    layer = model.get_layer("Transformer").blocks[0].mlp.dense[1]
    layer.kernel.constraint = layer.kernel_constraint = keras.constraints.MaxNorm(0.1)


def softmax(model):
    model.get_layer("head").activation = keras.activations.softmax


def lora_on_all(model):
    for layer in dense_layers(model):
        layer.enable_lora(2, lora_alpha=3)


KINDS = {kind.__name__: [kind] for kind in (freeze_block, freeze_all_but_one, freeze_biases, all_in_a_frozen_parent)}
KINDS |= {"arguments": [change_rates, change_epsilon, change_policy, make_constraint, softmax], "LoRA": [lora_on_all]}
QUANTIZED = [pytest.param(mode, marks=pytest.mark.slow) for mode in ("int8", "int4", "float8")]


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
class TestEveryKindOfChange:
    @pytest.mark.parametrize("kind", [*KINDS, *QUANTIZED])
    def test_is_kept(self, tmp_path, kind):
        model = families.vit()
        for change in KINDS.get(kind, [lambda model: model.quantize(kind)]):
            before = model.get_config()
            change(model)
            assert model.get_config() != before, change
        again = through_file(model, tmp_path / "model.keras")
        assert_same(again, model)
        assert again.trainable == model.trainable
        assert again.get_config() == model.get_config()

    def test_copies_keep_it_too(self):
        model = families.vit()
        freeze_biases(model)
        lora_on_all(model)
        assert_same(pickle.loads(pickle.dumps(model)), model)
        assert_same(copy.deepcopy(model), model)
        from_json = keras.models.model_from_json(model.to_json())
        assert [v.trainable for v in from_json.variables] == [v.trainable for v in model.variables]

    def test_frozen_batch_normalization_keeps_its_statistics(self, tmp_path):
        model = families.nest(norm_type="BN")
        model.get_layer("EncoderNDBlock_0").trainable = False
        again = through_file(model, tmp_path / "model.keras")
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        again.compile("sgd", loss, run_eagerly=True)
        again.train_on_batch(inputs_of(model), np.array([0, 1]))
        for block, moves in (("EncoderNDBlock_0", False), ("EncoderNDBlock_1", True)):
            old, new = (m.get_layer(block).norms[0].moving_mean.numpy() for m in (model, again))
            assert np.array_equal(old, new) is not moves

    @pytest.mark.slow
    def test_a_quantized_model_is_quantized_before_its_first_call(self):
        model = families.nest()
        model.quantize("int8")
        assert str(model.get_layer("Dense_0").kernel.dtype) == "int8"

    def test_training_with_lora_goes_on_with_the_state_of_the_optimizer(self, tmp_path):
        model = families.vit()
        lora_on_all(model)
        freeze_block(model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, run_eagerly=True)
        model.fit(inputs_of(model), np.array([0, 1]), epochs=2, verbose=0)
        again = through_file(model, tmp_path / "model.keras")
        assert_same(again, model)
        assert int(again.optimizer.iterations) == 2
        for ours, theirs in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_array_equal(ours, theirs)

    def test_a_regularizer_acts_after_loading_as_it_does_in_keras(self, tmp_path):
        model = families.vit()
        model.get_layer("head").kernel_regularizer = keras.regularizers.L2(0.1)
        [loss] = through_file(model, tmp_path / "model.keras").losses
        np.testing.assert_allclose(loss, 0.1 * np.sum(np.square(model.get_layer("head").kernel)), rtol=1e-6)

    def test_files_of_the_first_versions_are_read(self):
        config = {**families.vit().get_config(), "frozen_layers": ["embedding"]}
        assert not keras_nest.VisionTransformer.from_config(config).get_layer("embedding").trainable


def add_a_layer(model):
    model.extra = keras.layers.Dense(3)


def replace_a_layer(model):
    model.get_layer("Transformer").blocks[0].mlp.dense[0] = keras.layers.Dense(8, name="Dense_0", activation="relu")


def replace_by_another_kind(model):
    model.get_layer("Transformer").blocks[0].mlp.dense[0] = keras.layers.EinsumDense("abc,cd->abd", 8, name="Dense_0")


def take_a_block_out(model):
    model.get_layer("Transformer").blocks.pop()


def turn_the_blocks_round(model):
    model.get_layer("Transformer").blocks.reverse()


def set_a_lambda(model):
    model.get_layer("head").activation = lambda x: 2 * x


def set_the_configuration(model):
    model.config["dropout_rate"] = 0.5


class TestWhatNoFileKeeps:
    @pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (add_a_layer, "vit.*extra|dense.*no file keeps"),
            (replace_by_another_kind, "Dense_0' was replaced by a EinsumDense"),
            (take_a_block_out, "encoderblock_1"),
            (turn_the_blocks_round, "encoderblock_"),
            (set_a_lambda, "activation of the layer 'head' is a lambda"),
            (set_the_configuration, "dropout_rate.*was set to 0.5"),
        ],
        ids=lambda each: getattr(each, "__name__", ""),
    )
    def test_is_refused_before_anything_is_written(self, tmp_path, change, words):
        model = families.vit()
        change(model)
        with pytest.raises(ValueError, match=words):
            model.save(tmp_path / "model.keras")
        assert list(tmp_path.iterdir()) == []

    def test_arguments_of_a_subclass(self, tmp_path):
        class Mine(keras_nest.NesT):
            def __init__(self, color="red", **fields):
                super().__init__(**fields)
                self.color = color

        fields = families.nest().get_config()
        with pytest.raises(ValueError, match="Mine takes color, which its get_config does not return"):
            Mine("blue", **fields).save(tmp_path / "model.keras")


@keras.saving.register_keras_serializable("test_saving")
class Colored(keras_nest.NesT):
    """A user's class, with an argument and a layer of its own."""

    def __init__(self, color="red", **fields):
        super().__init__(**fields)
        self.color, self.more = color, keras.layers.Dense(2, name="more")

    def get_config(self):
        return {**super().get_config(), "color": self.color}


class TestModels:
    def test_a_subclass_of_the_user_is_kept(self, tmp_path):
        model = Colored("blue", **families.nest().get_config())
        model.get_layer("EncoderNDBlock_0").mlp.trainable = False
        again = through_file(model, tmp_path / "model.keras")
        assert again.color == "blue"
        assert_same(again, model)

    def test_preprocessing_is_a_copy_that_may_be_changed(self, tmp_path):
        model = families.nest()
        model.config["preprocessing"]["mean"][0] = 0.0
        assert through_file(model, tmp_path / "model.keras").config["preprocessing"]["mean"][0] == 0.0
        assert families.nest().config["preprocessing"]["mean"][0] == 0.485

    def test_a_wrapped_model_keeps_what_is_frozen_inside(self, tmp_path):
        base = families.vit()
        freeze_block(base)
        model = keras.Sequential([keras.Input(base.input_shape[1:]), base, keras.layers.Dense(2)])
        for again in (through_file(model, tmp_path / "model.keras"), keras.models.clone_model(model)):
            assert flags(again) == flags(model)
            assert type(again.layers[0]) is keras_nest.VisionTransformer

    def test_a_checkpoint_in_fit_is_written(self, tmp_path):
        vit = families.vit(num_classes=0, num_layers=1)
        model = keras.Model(vit.input, keras.layers.Dense(2)(vit.output))
        model.compile("adam", "mse", run_eagerly=True)
        path = tmp_path / "model.keras"
        model.fit(inputs_of(model), np.zeros((2, 2)), verbose=0, callbacks=[keras.callbacks.ModelCheckpoint(str(path))])
        assert_same(keras.saving.load_model(path), model)

    @pytest.mark.parametrize("family", ["NesT", "hybrid", "Mixer"])
    def test_a_named_intermediate_is_saved(self, tmp_path, family):
        model = families.made(family)
        part = keras.Model(model.input, model.endpoints["level_1"])
        assert_same(through_file(part, tmp_path / "model.keras"), part)


def classes_of_layers():
    """Every layer class of the packages."""
    for package in ("keras_nest", "export", "conversion"):
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if not info.name.endswith("__main__"):
                module = importlib.import_module(info.name)
                classes = [value for value in vars(module).values() if inspect.isclass(value)]
                yield from (value for value in classes if issubclass(value, keras.layers.Layer))


def test_every_layer_has_a_whole_configuration():
    """Nobody has to remember it for a new one: a layer that no family has is named here."""
    inside = [layer for family in families.FAMILIES for layer in layers_by_path(families.made(family)).values()]
    inside += [
        ImageInput("keras_nest>NesT", {"image_size": 8}),
        Similarities(3),
        EvalPreprocessing((8, 8), (0.5,) * 3, (0.5,) * 3),
    ]
    ours = {
        each for each in classes_of_layers() if not issubclass(each, keras.Model) and each.__module__[:5] != "keras."
    }
    ours -= {Layer, BlockAttention, PreNormBlock}  # without a `call` that could run
    ours -= {keras_nest.HubLayer}  # tests/test_hub.py
    assert ours - {type(layer) for layer in inside} == set()
    for layer in {type(layer): layer for layer in inside if type(layer) in ours}.values():
        config = layer.get_config()
        arguments = inspect.signature(type(layer)).parameters.values()
        wanted = {each.name for each in arguments if each.kind is each.POSITIONAL_OR_KEYWORD}
        # Keras' own configuration of a dense layer leaves out these while they are unset.
        assert wanted - {"activity_regularizer", "lora_rank", "lora_alpha"} <= {*config}
        assert type(layer).from_config(config).get_config() == config
