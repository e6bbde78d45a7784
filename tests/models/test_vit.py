"""ViT, its hybrids and MLP-Mixer against the outputs of the reference implementation, and as Keras models."""

import functools
import inspect

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest import MlpMixer, VisionTransformer, registry
from tests import keras_models
from tests.golden import vit_loading

# Tiny models; rounding reaches 1e-6 in logits and gradients, 6e-7 of a tensor's size inside.
LOGITS, GRADIENTS, INSIDE = 1e-5, 1e-5, 5e-6
TOY = {"image_size": 16, "patch_size": 4, "hidden_size": 12, "num_layers": 3, "num_heads": 2, "mlp_dim": 8}
TOY_MIXER = {"image_size": 16, "patch_size": 4, "hidden_dim": 12, "num_blocks": 3, "tokens_mlp_dim": 4}
TOY_MIXER["channels_mlp_dim"] = 8
IMAGES = np.random.default_rng(0).standard_normal((2, 16, 16, 3), np.float32)


def vit(**fields):
    return keras_nest.create_model("ViT-B_16", **{**TOY, "num_classes": 5, **fields})


def hybrid(**fields):
    fields = {"image_size": 32, "patch_size": 1, "resnet_num_layers": (1, 1), "resnet_width_factor": 0.5, **fields}
    return vit(**fields)


def mixer(**fields):
    return keras_nest.create_model("Mixer-B_16", **{**TOY_MIXER, "num_classes": 5, **fields})


@functools.cache
def loaded(name):
    """The model of a tiny case with its weights, which no test may change."""
    return keras_models.load(vit_loading.case(name))


@pytest.mark.parametrize("name", vit_loading.TINY)
class TestTinyModels:
    def test_outputs_of_every_module(self, name):
        case, model = vit_loading.case(name), loaded(name)
        with keras_models.recorded_outputs() as ours:
            logits = np.asarray(model(case.images))
        assert keras_models.gap(logits, case.expected["logits"]) <= LOGITS
        stored = case.intermediates
        if case.config.get("representation_size"):
            stored["pre_logits"] = np.tanh(stored["pre_logits"])
        elif case.architecture == "VisionTransformer":
            ours["pre_logits"] = ours["pool"]  # there is no layer; in Flax it is one without parameters
        assert len(stored) >= 2
        for path, value in stored.items():
            # Queries, keys and values are flat, heads outermost.
            sample = case.sample(f"inter:{path}", ours[path].reshape(*ours[path].shape[: value.ndim - 1], -1))
            tolerance = INSIDE * max(1.0, float(np.abs(value).max()))
            assert keras_models.gap(sample.reshape(value.shape), value) <= tolerance, path

    def test_gradients(self, name):
        case, model = vit_loading.case(name), loaded(name)
        labels = case.expected["labels"]
        loss, ours = keras_models.loss_and_gradients(model, case.images, labels, of_images=True)
        assert loss == pytest.approx(float(case.expected["loss"]), abs=LOGITS)
        assert keras_models.gap(ours.pop("images"), case.expected["grad_images"]) <= GRADIENTS
        assert set(ours) == set(case.gradients)
        for path, value in case.gradients.items():
            assert keras_models.gap(ours[path], value) <= GRADIENTS, path


@pytest.mark.parametrize("name", ["testing", "testing-unpooled"])
def test_published_configurations(name):
    """The larger ones are counted where they run, tests/models/test_published_models.py."""
    model = keras_nest.create_model(name)
    assert model.count_params() == vit_loading.parameter_count(name)
    assert keras_models.shapes(model) == vit_loading.shapes(name)


def test_every_published_configuration_is_the_references():
    ours = [name for name in keras_nest.list_models() if registry.resolve(name)[1] in (VisionTransformer, MlpMixer)]
    assert {name for name in vit_loading.CONFIGS if not name.startswith("LiT")} == set(ours)
    for name in ours:
        _, architecture, fields = registry.resolve(name)
        defaults = {k: p.default for k, p in inspect.signature(architecture.__init__).parameters.items()}
        stored = vit_loading.config(name)
        assert {field: {**defaults, **fields}[field] for field in stored} == stored, name
        assert registry.parameter_counts().get(name, 0) == vit_loading.parameter_count(name) or "testing" in name


class TestEndpoints:
    def test_common_names(self):
        model = hybrid()
        shapes = {name: x.shape[1:] for name, x in model.endpoints.items() if "/" not in name}
        expected = {
            "stem": (4, 4, 12),
            "level_1": (8, 8, 32),
            "level_2": (8, 8, 128),
            "level_3": (4, 4, 256),
            "level_4": (4, 4, 12),
            "tokens": (17, 12),
            "features": (4, 4, 12),
            "pre_logits": (12,),
            "logits": (5,),
        }
        assert {name: shapes[name] for name in expected} == expected

    def test_features_are_the_tokens_without_the_class_token(self):
        model = vit()
        ours = keras_models.endpoints(model, IMAGES, ["features", "tokens", "pre_logits", "Transformer/encoder_norm"])
        np.testing.assert_array_equal(ours["tokens"], ours["Transformer/encoder_norm"])
        np.testing.assert_array_equal(ours["features"].reshape(2, 16, 12), ours["tokens"][:, 1:])
        np.testing.assert_array_equal(ours["pre_logits"], ours["tokens"][:, 0])


class TestOutputs:
    @pytest.mark.parametrize("create", [vit, mixer])
    def test_a_feature_extractor_ends_with_the_last_block_it_needs(self, create):
        assert {name: x.shape[1:] for name, x in create(features_only=True).output.items()} == {"block_3": (4, 4, 12)}
        model = create(features_only=True, feature_blocks=(1,))
        assert {name: x.shape[1:] for name, x in model.output.items()} == {"block_1": (4, 4, 12)}
        assert not [path for path in keras_models.shapes(model) if "lock_1/" in path or "norm/" in path]
        model.compile("sgd", "mse", run_eagerly=True)
        model.train_on_batch(IMAGES, {"block_1": np.zeros((2, 4, 4, 12))})  # warns if a variable is not used

    def test_hybrids_add_their_stages(self):
        shapes = {name: x.shape[1:] for name, x in hybrid(features_only=True).output.items()}
        assert shapes == {"root": (8, 8, 32), "stage_1": (8, 8, 128), "stage_2": (4, 4, 256), "block_3": (4, 4, 12)}

    @pytest.mark.parametrize(
        ("classifier", "shape"), [("token", ()), ("gap", ()), ("unpooled", (16,)), ("token_unpooled", (17,))]
    )
    def test_classifiers(self, classifier, shape):
        assert vit(classifier=classifier, num_layers=1).output_shape == (None, *shape, 5)
        body = {"classifier": classifier, "num_classes": 0, "num_layers": 1}
        assert vit(**body).output_shape == (None, *shape, 12)
        assert vit(**body, representation_size=7).output_shape == (None, *shape, 7)

    def test_a_new_head_has_the_bias_asked_for(self):
        np.testing.assert_array_equal(vit(head_bias_init=-6.9)(IMAGES), np.full((2, 5), -6.9, np.float32))

    @pytest.mark.parametrize("create", [vit, hybrid, mixer])
    def test_sizes_and_channels(self, create):
        model = create(image_size=(40, 56), in_channels=5)
        assert model(np.zeros((1, 40, 56, 5), np.float32)).shape == (1, 5)
        assert len(model.config["preprocessing"]["mean"]) == 5

    def test_any_vit_becomes_a_hybrid(self):
        model = keras_nest.create_model("ViT-Ti_16", patch_size=8, resnet_num_layers=())
        assert model.count_params() == registry.parameter_counts()["R+ViT-Ti_16"]


class TestAsKerasModels:
    @pytest.mark.parametrize(
        ("create", "fields"),
        [
            (vit, {"num_layers": 1}),
            pytest.param(hybrid, {"num_layers": 1, "resnet_num_layers": (1,)}, marks=pytest.mark.slow),
            pytest.param(mixer, {"num_blocks": 1}, marks=pytest.mark.slow),
        ],
    )
    def test_fit(self, create, fields):
        keras.utils.set_random_seed(0)
        model = create(**fields)
        rng = np.random.default_rng(0)
        images = rng.standard_normal((8, *model.input_shape[1:]), np.float32)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(2e-2), loss, run_eagerly=True)
        history = model.fit(images, rng.integers(0, 5, 8), epochs=10, verbose=0).history["loss"]
        assert history[-1] < 0.7 * history[0]

    def test_names_are_fit_for_tensorflow_scopes(self):
        assert hybrid().name == "ViT-B_16"
        assert keras_nest.create_model("R+ViT-Ti_16", **TOY).name == "R_ViT-Ti_16"


@pytest.mark.parametrize(
    ("create", "fields", "words"),
    [
        (vit, {"classifier": "mean"}, "classifier is 'mean'; it must be one of 'token', 'gap'"),
        (vit, {"num_heads": 5}, "hidden_size 12 is not a multiple of num_heads 5"),
        (vit, {"dropout_rate": 1.0}, "dropout_rate is 1.0"),
        (vit, {"num_classes": -1}, "num_classes is -1"),
        (vit, {"feature_blocks": (0, 3)}, "rising numbers from 1 to 3"),
        (vit, {"feature_blocks": (3, 2)}, "rising numbers from 1 to 3"),
        (vit, {"image_size": 3}, "image_size 3 x 3 is too small: one patch takes 4 x 4 pixels"),
        (vit, {"embedding_dim": 3}, "no field 'embedding_dim'"),
        (hybrid, {"resnet_width_factor": 0.4}, "width 25.6; it must be a multiple of 32"),
        (mixer, {"feature_blocks": (4,)}, "rising numbers from 1 to 3"),
        (mixer, {"hidden_size": 4}, "no field 'hidden_size'; did you mean hidden_dim"),
    ],
)
def test_bad_fields(create, fields, words):
    with pytest.raises(ValueError, match=words):
        create(**fields)
