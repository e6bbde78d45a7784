"""Preprocessing specifications: their dictionaries, what they refuse, what follows from them, and where crops lie."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import specs
from keras_nest.data import Recipe, create_recipe
from keras_nest.data.sources import digits
from keras_nest.specs import PreprocessingSpec
from tests import families

# As files of the first versions hold them.
DICTIONARIES = {
    "nest_tiny": {
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "crop_ratio": 0.875,
        "interpolation": "bilinear",
    },
    "nest_tiny_s16_32": {
        "mean": [0.4914, 0.4822, 0.4465],
        "std": [0.2471, 0.2435, 0.2616],
        "crop_ratio": 1.0,
        "interpolation": "bilinear",
    },
    "ViT-B_16": {"mean": [0.5] * 3, "std": [0.5] * 3, "stretch": True, "interpolation": "bilinear"},
    "LiT-B16B_2": {
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "stretch": True,
        "interpolation": "bilinear",
        "truncate": True,
    },
}
PUBLISHED = (specs.IMAGENET, specs.CIFAR10, specs.CIFAR100, specs.STRETCHED)


class TestDictionaries:
    @pytest.mark.parametrize("name", DICTIONARIES)
    def test_published_ones_are_as_ever(self, name):
        _, _, fields = keras_nest.registry.resolve(name)
        spec, _ = keras_nest.registry.preprocessing_spec(name)
        assert fields["preprocessing"] == spec.to_dict() == DICTIONARIES[name]
        assert list(fields["preprocessing"]) == list(DICTIONARIES[name])

    def test_through_json_and_back(self):
        told = PreprocessingSpec((0.1,), (0.2,), 0.5, "bicubic", value_range=(0, 255))
        for spec in (
            *PUBLISHED,
            told,
            dataclasses.replace(told, pillow=True),
            dataclasses.replace(told, crop_ratio=1.0, stretch=True, truncate=True),
        ):
            read = PreprocessingSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
            assert dataclasses.asdict(read) == dataclasses.asdict(spec)

    def test_is_a_mapping_like_its_dictionary(self):
        assert DICTIONARIES["nest_tiny"] == specs.IMAGENET
        assert specs.IMAGENET != specs.CIFAR10
        assert specs.CIFAR10.to_dict().keys() - {"crop_ratio", "interpolation"} == {"mean", "std"}
        assert {"mean": specs.CIFAR10.mean, "std": specs.CIFAR10.std} == specs.CIFAR10
        assert {"mean": specs.CIFAR10.mean} != specs.CIFAR10
        assert specs.IMAGENET["mean"] == [0.485, 0.456, 0.406]
        assert {**specs.IMAGENET, "crop_ratio": 1.0}["crop_ratio"] == 1.0
        assert "truncate" not in specs.IMAGENET

    def test_a_model_takes_one_and_holds_the_dictionary(self):
        model = families.nest(preprocessing=specs.STRETCHED)
        assert isinstance(model.config["preprocessing"], dict)
        assert model.get_config()["preprocessing"] == specs.STRETCHED.to_dict()

    def test_a_recipe_takes_either(self):
        given = Recipe(DICTIONARIES["nest_tiny"])
        assert isinstance(given.preprocessing, PreprocessingSpec)
        assert given == Recipe(specs.IMAGENET)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"crop_ration": 1.0}, "preprocessing has no field 'crop_ration'; did you mean crop_ratio?"),
            ({"std": [0.5, 0.0, 0.5]}, r"std is \[0.5, 0.0, 0.5\]; each must be above 0."),
            ({"mean": [124, 116, 104]}, r"must be that of pixels in \[0, 1\]: divide mean and std by 255."),
            ({"std": [0.5, 0.5]}, "mean has 3 values and std 2; both must have one for each channel."),
            ({"mean": 0.5}, "mean is 0.5; it must be a list of one number for each channel."),
            ({"mean": "0.5"}, "mean is '0.5'; it must be a list"),
            ({"mean": []}, r"mean is \[\]; it must be a list"),
            ({"interpolation": "area"}, "interpolation is 'area'; it must be one of bilinear, bicubic."),
            ({"crop_ratio": 0}, r"crop_ratio is 0; it must be in \(0, 1\]"),
            ({"crop_ratio": 0.5, "stretch": True}, "crop_ratio is 0.5; with stretch=True nothing is cropped"),
            ({"truncate": True, "pillow": True}, "truncate and pillow are both true"),
            ({"value_range": (0, 2)}, r"value_range is \(0, 2\)"),
        ],
    )
    def test_fields_without_meaning(self, change, message):
        fields = {**DICTIONARIES["nest_tiny"], **change}
        with pytest.raises(ValueError, match=message):
            PreprocessingSpec.from_dict(fields)
        with pytest.raises(ValueError, match=message):
            families.nest(preprocessing=fields)
        with pytest.raises(ValueError, match=message):
            Recipe(fields)

    def test_what_is_missing_or_no_dictionary(self):
        with pytest.raises(ValueError, match="preprocessing lacks std; it must hold mean and std, one number for each"):
            families.nest(preprocessing={"mean": [0.5]})
        with pytest.raises(ValueError, match="preprocessing is 'imagenet'; it must be a dictionary"):
            families.nest(preprocessing="imagenet")

    def test_one_that_was_replaced_later(self):
        model = families.nest(preprocessing=specs.STRETCHED)
        model.config["preprocessing"] = {"mean": [0.5]}
        with pytest.raises(ValueError, match="preprocessing lacks std"):
            keras_nest.preprocessor(model)

    def test_values_for_other_channels(self):
        model = families.nest(preprocessing=specs.STRETCHED)
        model.config["preprocessing"] = {"mean": [0.5] * 2, "std": [0.5] * 2}
        with pytest.raises(ValueError, match=r"mean \[0.5, 0.5\]; it must be .* one for each of 3 channels"):
            keras_nest.preprocessor(model)


class TestWhatFollows:
    def test_pixels_only(self):
        pixels = specs.IMAGENET.pixels_only(2)
        assert pixels == {**specs.IMAGENET, "mean": [0.0] * 2, "std": [1.0] * 2}

    def test_of_other_channels_each_gets_the_average(self):
        spec = PreprocessingSpec((0.1, 0.2, 0.6), (0.2, 0.2, 0.5), 0.5).for_channels(2)
        assert (spec["mean"], spec["std"]) == (pytest.approx([0.3] * 2), pytest.approx([0.3] * 2))
        assert spec.crop_ratio == 0.5

    def test_one_value_stands_for_all_channels(self):
        assert PreprocessingSpec([0.5], [0.1, 0.2]).broadcast(2) == PreprocessingSpec([0.5, 0.5], [0.1, 0.2])

    def test_recipes_of_data_sets(self):
        info = digits.load(8)[2]
        assert create_recipe("plain", info, 48).preprocessing == specs.IMAGENET
        cifar = dataclasses.replace(info, name="cifar100")
        assert create_recipe("nest", cifar, 32).preprocessing == specs.CIFAR100
        enlarged = {**specs.CIFAR100, "crop_ratio": 0.875, "truncate": True}
        assert create_recipe("nest", cifar, 48).preprocessing == enlarged


class TestGeometry:
    @pytest.mark.parametrize(
        ("spec", "sides", "size", "resized", "corner"),
        [
            (specs.IMAGENET, (500, 375), (224, 224), (341, 256), (58, 16)),
            (specs.CIFAR10, (32, 32), (32, 32), (32, 32), (0, 0)),
            (specs.STRETCHED, (500, 375), (224, 112), (224, 112), (0, 0)),
            # 99 * 256 / 72 is half a pixel in exact arithmetic.
            (specs.IMAGENET, (72, 99), (224, 224), (256, 352), (16, 64)),
        ],
    )
    def test_of_images(self, spec, sides, size, resized, corner):
        for geometry in (spec.geometry, tf.function(spec.geometry)):
            found = geometry(sides, size)
            assert (tuple(found.resized.numpy()), tuple(found.corner.numpy())) == (resized, corner)
            assert found.resized.dtype == found.corner.dtype == tf.int32

    def test_the_layer_crops_there(self):
        """Each pixel of an image that is not scaled says where it is."""
        layer = keras_nest.EvalPreprocessing((6, 4), **PreprocessingSpec([0.0], [1.0], crop_ratio=0.5))
        rows, columns = np.indices((12, 11))
        image = np.uint8(16 * rows + columns)[..., None]
        resized, corner = layer.geometry((12, 11))
        assert tuple(resized.numpy()) == (12, 11)
        top, left = corner.numpy()
        np.testing.assert_array_equal(np.rint(layer(image) * 255), image[top : top + 6, left : left + 4])
