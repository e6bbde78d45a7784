"""The ResNets against the outputs of the reference implementation, and as Keras models."""

import inspect

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest import ResNet, conversion, registry
from keras_nest.conversion.verify import largest_difference
from keras_nest.models import resnet
from tests import keras_models
from tests.golden import resnet_loading

# Rounding reaches 5e-7 in the logits, 1e-6 of a tensor's size inside, and 2e-6 of it in the gradients.
LOGITS, INSIDE, GRADIENTS = 3e-6, 5e-6, 1e-5
TOY = {"image_size": 16, "stage_sizes": (1, 2), "width_factor": 1 / 16}


def bottleneck(**fields):
    return keras_nest.create_model("resnet50", **{**TOY, "num_classes": 5, **fields})


def basic(**fields):
    return keras_nest.create_model("resnet18_cifar", **{**TOY, "num_classes": 5, **fields})


def images_of(model, batch=2):
    return np.random.default_rng(0).standard_normal((batch, *model.input_shape[1:]), np.float32)


def shape_of(x):
    return tuple(x.shape[1:])


def new_weights(model):
    """Weights with which all parts of the model matter; variances are positive."""
    keras_models.randomize(model)
    for variable in model.weights:
        if variable.path.endswith("moving_variance"):
            variable.assign(keras.ops.abs(variable) + 0.5)


@pytest.mark.parametrize("name", resnet_loading.TINY)
class TestTinyModels:
    def test_outputs_of_every_module(self, name):
        case = resnet_loading.case(name)
        model = keras_models.load(case)
        with keras_models.recorded_outputs() as ours:
            logits = np.asarray(model(case.images))
        assert keras_models.gap(logits, case.expected["logits"]) <= LOGITS
        stored = resnet_loading.below(case.expected, "inter:")
        assert len(stored) >= 20
        for path, value in stored.items():
            tolerance = INSIDE * max(1.0, float(np.abs(value).max()))
            assert keras_models.gap(resnet_loading.thin(ours[path]), value) <= tolerance, path

    def test_training_mode(self, name):
        """The variance that moves the average is that of the batch as it is, not an estimate: in Keras as in Flax."""
        case = resnet_loading.case(name)
        model = keras_models.load(case)
        logits = np.asarray(model(case.images, training=True))
        assert keras_models.gap(logits, case.expected["train_logits"]) <= LOGITS
        updated = conversion.model_tree(model)
        stored = resnet_loading.below(case.expected, "train_stats:")
        assert {f"batch_stats/{path}" for path in stored} == {
            path for path in updated if path.startswith("batch_stats")
        }
        for path, value in stored.items():
            ours = resnet_loading.thin(updated[f"batch_stats/{path}"])
            np.testing.assert_allclose(ours, value, atol=1e-6, err_msg=path)

    def test_training_gradients(self, name):
        case = resnet_loading.case(name)
        labels = case.expected["labels"]
        loss, ours = keras_models.loss_and_gradients(keras_models.load(case), case.images, labels, training=True)
        assert loss == pytest.approx(float(case.expected["train_loss"]), abs=LOGITS)
        stored = resnet_loading.below(case.expected, "train_grad:")
        assert set(ours) == set(stored)
        for path, value in stored.items():
            # Behind the root without ReLU nothing sees that a channel is shifted: this gradient is rounding.
            tolerance = max(GRADIENTS * float(np.abs(value).max()), 2e-7)
            assert keras_models.gap(resnet_loading.thin(ours[path]), value) <= tolerance, path


def test_every_published_configuration_is_the_references():
    names = [name for name in keras_nest.list_models() if registry.resolve(name)[1] is ResNet]
    assert names == list(resnet_loading.PUBLISHED)
    defaults = {k: p.default for k, p in inspect.signature(ResNet.__init__).parameters.items()}
    for name, entry in resnet_loading.facts()["published"].items():
        fields = {**defaults, **registry.resolve(name)[2]}
        stored = {**entry["config"], "stage_sizes": tuple(entry["config"]["stage_sizes"])}
        assert {field: fields[field] for field in stored} == stored, name
        assert fields["image_size"] == entry["image_size"]
        assert registry.parameter_counts()[name] == entry["parameters"]
    assert registry.parameter_counts()["resnet50"] == 25_557_032


@pytest.mark.parametrize(("name", "crop_ratio"), [("resnet50", 224 / 256), ("resnet18_cifar", 1.0)])
def test_pixels_are_left_in_the_unit_interval(name, crop_ratio):
    preprocess = keras_nest.preprocessor(name)
    assert preprocess.crop_ratio == crop_ratio
    image = np.full((*preprocess.image_size, 3), [0, 51, 255], np.uint8)
    np.testing.assert_allclose(preprocess(image)[0, 0], [0, 0.2, 1], rtol=1e-6)


class TestEndpoints:
    def test_common_names_and_flax_paths(self):
        shapes = {name: shape_of(x) for name, x in bottleneck(image_size=(32, 48)).endpoints.items()}
        assert shapes == {
            "init_conv": (16, 24, 4),
            "init_bn": (16, 24, 4),
            "stem": (8, 12, 4),
            "stage1/block1": (8, 12, 16),
            "stage1": (8, 12, 16),
            "level_1": (8, 12, 16),
            "stage2/block1": (4, 6, 32),
            "stage2/block2": (4, 6, 32),
            "stage2": (4, 6, 32),
            "level_2": (4, 6, 32),
            "features": (4, 6, 32),
            "pre_logits": (32,),
            "head": (5,),
            "logits": (5,),
        }

    def test_features_are_the_last_map(self):
        model = bottleneck()
        new_weights(model)
        values = keras_models.endpoints(model, images_of(model), ["features", "stage2/block2", "pre_logits"])
        np.testing.assert_array_equal(values["features"], values["stage2/block2"])
        np.testing.assert_allclose(values["features"].mean((1, 2)), values["pre_logits"], rtol=1e-5)

    def test_only_the_root_for_small_images_has_a_relu(self):
        lowest = []
        for model in (bottleneck(), basic()):
            model.get_layer("init_bn").beta.assign(np.full(4, -9))  # of deviations
            lowest.append(keras_models.endpoints(model, images_of(model), ["stem"])["stem"].min())
        assert lowest[0] < -5
        assert lowest[1] == 0


class TestFeatures:
    @pytest.mark.parametrize(("create", "names"), [(bottleneck, ["P2", "P3"]), (basic, ["P0", "P1"])])
    def test_names_of_the_pyramid(self, create, names):
        assert list(create(features_only=True).output) == names

    def test_embedding_without_head(self):
        assert bottleneck(num_classes=0).output_shape == (None, 32)

    def test_weights_fit_all_sizes(self):
        model, larger = bottleneck(), bottleneck(image_size=(23, 40))
        larger.set_weights(model.get_weights())
        assert larger(images_of(larger)).shape == (2, 5)


class TestCheckpoints:
    @pytest.mark.parametrize(("create", "suffix"), [(bottleneck, ".npz"), (basic, ".msgpack")])
    def test_round_trip(self, create, suffix, tmp_path):
        model = create()
        new_weights(model)
        path = tmp_path / f"model{suffix}"
        conversion.write_checkpoint(model, path)
        loaded = create(num_classes=None, weights=str(path))
        assert loaded.num_classes == 5
        for ours, theirs in zip(loaded.weights, model.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=theirs.path)

    def test_verified_against_flax(self):
        model = basic()
        new_weights(model)
        difference, scale = largest_difference(model, conversion.model_tree(model))
        assert difference <= 1e-5 * scale

    def test_other_channels_and_a_new_head(self, tmp_path):
        model = basic()
        new_weights(model)
        conversion.write_checkpoint(model, tmp_path / "model.npz")
        gray = basic(weights=str(tmp_path / "model.npz"), in_channels=1, num_classes=7, reinit_head=True)
        images = images_of(gray)
        assert gray.config["preprocessing"]["mean"] == [0.0]
        ours = keras_models.endpoints(gray, images, ["pre_logits", "logits"])
        theirs = keras_models.endpoints(model, np.repeat(images, 3, axis=-1), ["pre_logits"])["pre_logits"]
        np.testing.assert_allclose(ours["pre_logits"], theirs, atol=1e-5 * np.abs(theirs).max())
        np.testing.assert_array_equal(ours["logits"], np.zeros((2, 7)))


class TestAsKerasModels:
    def test_layers_are_serializable(self):
        for layer in (resnet.ResNetBlock(6, 2, bottleneck=False), resnet.ResNetBlocks(2, 6, 2, bottleneck=False)):
            copy = keras.layers.deserialize(keras.layers.serialize(layer))
            assert type(copy) is type(layer)
            assert copy.get_config() == layer.get_config()

    @pytest.mark.slow
    def test_fit(self):
        keras.utils.set_random_seed(0)
        model = basic(stage_sizes=(1,))
        labels = np.arange(8) % 2
        images = images_of(model, 8) + labels[:, None, None, None].astype(np.float32)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, run_eagerly=True)
        history = model.fit(images, labels, epochs=12, verbose=0).history["loss"]
        assert history[-1] < 0.5 * history[0]
        assert np.abs(model.get_layer("init_bn").moving_mean).min() > 0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"num_classes": -1}, "num_classes is -1"),
        ({"stage_sizes": ()}, r"stage_sizes is \(\); it must hold a positive number of blocks"),
        ({"stage_sizes": (2, 0)}, r"stage_sizes is \(2, 0\)"),
        ({"width_factor": 0.1}, "width_factor 0.1 makes a root of 6.4 channels"),
        ({"width_factor": 0}, "makes a root of 0 channels"),
        ({"image_size": (16, -1)}, "image_size"),
        ({"stage_size": 3}, "no field 'stage_size'; did you mean stage_sizes"),
    ],
)
def test_bad_fields(fields, words):
    with pytest.raises(ValueError, match=words):
        bottleneck(**fields)
