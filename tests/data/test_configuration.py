"""Recipes from training configurations: the papers' own fields, and what is wrong with others."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import DatasetInfo, recipe_of
from keras_nest.data.sources import Example
from keras_nest.models.base import CIFAR10_PREPROCESSING, IMAGENET_PREPROCESSING, STRETCHED_PREPROCESSING
from keras_nest.models.losses import cross_entropy

CIFAR = DatasetInfo("cifar10", tuple("0123456789"), (32, 32, 3), 50000, 10000)
PETS = DatasetInfo("oxford_iiit_pet", ("cat", "dog"), (None, None, 3), 100, 100)
# As the configuration of NesT for CIFAR has them.
AUGMENT = {
    "type": "randaugment",
    "randaugment_num_layers": 2,
    "randaugment_cutout": False,
    "randaugment_prob_to_apply": 0.5,
    "randaugment_magnitude": 9,
    "randaugment_magstd": 0.5,
    "size": 32,
}
ERASING, MIX = {"erase_prob": 0.25}, {"mixup_alpha": 0.8, "prob_to_apply": 1.0, "smoothing": 0.1}
JITTER = {"type": "colorjitter", "colorjitter_strength": 0.3, "size": 224}
PUBLISHED = {"mean": [0.1] * 3, "std": [0.2] * 3}


def example(seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    return Example(tf.constant(pixels), tf.constant(0), tf.constant(1))


def recipe(config, info=CIFAR, size=(32, 32)):
    return recipe_of(config, info, size, PUBLISHED)


def stages(found):
    names = ("crop", "shift", "flip", "randaugment", "color_jitter", "erasing", "mix")
    return [name for name in names if getattr(found, name) is not None]


def test_labels_are_smoothed_alone_as_keras_does():
    fields = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "smoothing": 0.2}
    mix = recipe({"pp": {"train": "train"}, "mix": fields}).mix
    images, logits = tf.random.stateless_uniform((3, 8, 8, 3), [0, 1]), tf.random.stateless_normal((3, 10), [2, 3])
    same, labels = mix(images, tf.constant([4, 0, 9]), tf.constant([1, 2]), 10)
    np.testing.assert_array_equal(same, images)
    smoothed = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2)
    np.testing.assert_allclose(
        tf.reduce_mean(cross_entropy(labels, logits)), smoothed(tf.one_hot([4, 0, 9], 10), logits), rtol=1e-6
    )


def test_nest_on_cifar_is_the_named_recipe():
    from keras_nest.data import create_recipe

    found = recipe({"augment": AUGMENT, "randerasing": ERASING, "mix": MIX})
    named = create_recipe("nest", CIFAR, 32)
    assert stages(found) == stages(named)
    assert found.randaugment == named.randaugment
    assert found.preprocessing == CIFAR10_PREPROCESSING
    for number in range(12):
        key = tf.constant([number, 3])
        first, second = (some.train_image(example(), key, (32, 32)) for some in (found, named))
        np.testing.assert_array_equal(first, second)
    images, labels = tf.random.stateless_normal([4, 8, 8, 3], [1, 2]), tf.range(4)
    for first, second in zip(
        *(some.mix(images, labels, tf.constant([1, 2]), 10) for some in (found, named)), strict=True
    ):
        np.testing.assert_array_equal(first, second)


def test_nest_on_imagenet():
    config = {"augment": AUGMENT, "randerasing": ERASING, "mix": MIX, "colorjitter": JITTER}
    found = recipe(config, PETS, (64, 64))
    assert stages(found) == ["crop", "flip", "randaugment", "color_jitter", "erasing", "mix"]
    assert found.preprocessing == IMAGENET_PREPROCESSING
    assert found.randaugment.image_size == 64, "the model's size, not the one that was forgotten in the configuration"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, []),
        ({"augment": {"type": "none"}}, []),
        ({"augment": {"type": "shift", "max_shift": 3}}, ["shift"]),
        ({"augment": {"type": "default"}}, ["shift", "flip"]),
        ({"randerasing": ERASING}, ["shift", "flip", "erasing"]),
        ({"randerasing": {"erase_prob": 0}, "mix": MIX}, ["shift", "flip", "mix"]),
        ({"augment": AUGMENT}, ["shift", "flip", "randaugment"]),
        ({"colorjitter": {**JITTER, "type": "default"}}, ["shift", "flip"]),
        ({"pp": {"train": "train[:98%]", "test": "test", "crop": 384}}, ["crop", "flip"]),
        ({"pp": {"crop": 384}, "mix": MIX, "augment": AUGMENT}, ["crop", "flip", "randaugment", "mix"]),
        (
            {"augment": {"type": "shift", "max_shift": 3}, "mix": MIX, "randerasing": ERASING},
            ["shift", "erasing", "mix"],
        ),
    ],
    ids=str,
)
def test_a_stage_that_is_not_named_is_left_out(config, expected):
    assert stages(recipe(config)) == expected


def test_values_reach_their_stages():
    config = {"augment": {"type": "randaugment", "randaugment_num_layers": 3, "randaugment_magstd": 0.0}}
    assert (recipe(config).randaugment.num_layers, recipe(config).randaugment.magnitude_std) == (3, 0.0)
    images, labels = tf.ones([4, 8, 8, 3]), tf.range(4)
    unmixed = recipe({"mix": {**MIX, "prob_to_apply": 0.0, "smoothing": 0.4}}).mix(
        images, labels, tf.constant([1, 2]), 4
    )
    np.testing.assert_allclose(unmixed[1], 0.6 * np.eye(4) + 0.1, atol=1e-6)
    always = recipe({"randerasing": {"erase_prob": 1.0}})
    never = recipe({"augment": {"type": "default"}})
    key = tf.constant([1, 2])
    assert np.any(always.train_image(example(), key, (32, 32)) != never.train_image(example(), key, (32, 32)))


def test_whose_preprocessing_holds():
    assert recipe({}).preprocessing == PUBLISHED
    assert recipe({"pp": {"crop": 384}}).preprocessing == STRETCHED_PREPROCESSING
    given = {"mean": [0.3] * 3, "std": [0.4] * 3}
    for config in ({}, {"pp": {"crop": 384}}, {"augment": AUGMENT}):
        assert recipe({**config, "model": {"preprocessing": given}}).preprocessing == given


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"augment": {"type": "autoaugment"}},
            r"^augment\.type is 'autoaugment'; it must be one of randaugment, default, shift, none\.$",
        ),
        (
            {"augment": {**AUGMENT, "randaugment_magntude": 3}},
            r"^There is no field augment\.randaugment_magntude; did you mean randaugment_magnitude\?$",
        ),
        (
            {"augment": {**AUGMENT, "randaugment_magnitude": 11}},
            r"^magnitude is 11; it must be between 0 and num_levels",
        ),
        (
            {"augment": {**AUGMENT, "randaugment_cutout": True}},
            r"^augment\.randaugment_cutout is true; no published model",
        ),
        ({"mix": {"alpha": 1}}, r"^There is no field mix\.alpha; did you mean "),
        ({"randerasing": {"probability": 1}}, r"^There is no field randerasing\.probability; known are erase_prob\.$"),
        ({"colorjitter": {"strength": 1}}, r"^There is no field colorjitter\.strength; "),
        ({"augment": {"type": "shift"}}, r"^augment\.max_shift is missing; it must be a number of pixels\.$"),
        (
            {"augment": {"type": "shift", "max_shift": -1}},
            r"^augment\.max_shift is -1; it must be a number of pixels\.$",
        ),
    ],
    ids=str,
)
def test_wrong_fields(config, message):
    with pytest.raises(ValueError, match=message):
        recipe(config)
