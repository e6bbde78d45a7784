"""RandAugment: what a key means, how often and how strongly it acts, and that nothing else decides."""

import re

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data import randaugment
from keras_nest.data.randaugment import OPERATIONS, RandAugment, level_argument
from tests.data.test_operations import UNKNOWN_SIZE, compare
from tests.golden import augment_loading

GOLDEN_LAYERS = augment_loading.facts()["randaugment/c32 (signs forced +, size=32)"]


@pytest.fixture(scope="module")
def photo():
    return augment_loading.array("img/c32")


@pytest.fixture(scope="module")
def drawn():
    return many_draws(RandAugment(), 4000)


@pytest.fixture
def positive(monkeypatch):
    """The original's signs do not repeat; its stored results have positive ones."""
    monkeypatch.setattr(randaugment, "_sign", lambda key: tf.constant(1.0))


def key(number, stream=8):
    return tf.constant([number, stream])


def many_draws(augment, count):
    """Draws of the first layer for `count` keys, arrays (count,)."""
    keys = tf.stack([tf.range(count), tf.fill([count], 5)], 1)
    drawn = tf.function(lambda: tf.map_fn(lambda one: augment.draws(one)[0], keys, _signature(augment)))()
    return type(drawn)(*(values.numpy() for values in drawn))


def _signature(augment):
    return tf.nest.map_structure(lambda value: tf.TensorSpec([], value.dtype), augment.draws(key(0))[0])


class TestLevels:
    @pytest.mark.parametrize("size", [224, 128, 96, 64, 32, 384])
    def test_table_of_magnitudes(self, size):
        stored = augment_loading.facts()["magnitude_table_0_to_10"]
        tables = {name: values for name, values in stored.items() if re.match(rf"size{size}/", name)}
        assert tables
        for name, expected in tables.items():
            levels = np.arange(11, dtype=np.float32) / np.float32(10)
            found = [level_argument(name.split("/")[1], level, size) for level in levels]
            assert [value if value is None else value.numpy().item() for value in found] == expected, name

    def test_levels_between(self):
        levels = augment_loading.array("table/level_x10") / np.float32(10)
        for name, expected in augment_loading.arrays("table/size224").items():
            found = level_argument(name, levels, 224).numpy()
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected, err_msg=name)

    def test_operations_are_those_of_the_original_in_its_order(self):
        facts = augment_loading.facts()
        assert list(OPERATIONS) == facts["randaugment_ops"]
        signed = [name for name, operation in OPERATIONS.items() if operation.signed]
        assert signed == facts["randaugment_negating_ops"]

    def test_unknown_operation(self):
        with pytest.raises(ValueError, match=r"^There is no operation 'Rotat'; did you mean Rotate\?$"):
            level_argument("Rotat", 0.5, 224)
        with pytest.raises(ValueError, match=r"^There is no operation 'blur'; known are AutoContrast, "):
            level_argument("blur", 0.5, 224)


class TestOriginal:
    @pytest.mark.usefixtures("positive")
    def test_images(self, photo):
        augment = RandAugment(image_size=32)
        for number, expected in augment_loading.arrays("randaugment/c32").items():
            applied = [layer["op"] for layer in GOLDEN_LAYERS[number]["layers"] if layer["applied"]]
            compare("Sharpness" if "Sharpness" in applied else "", augment(photo, key(int(number))), expected)

    @pytest.mark.parametrize("number", GOLDEN_LAYERS)
    def test_draws(self, number):
        draws = RandAugment(image_size=32).draws(key(int(number)))
        for draw, layer in zip(draws, GOLDEN_LAYERS[number]["layers"], strict=True):
            assert list(OPERATIONS)[draw.operation] == layer["op"]
            assert bool(draw.applied) == layer["applied"]
            assert draw.level.numpy() == np.float32(layer["level"])


class TestDistributions:
    def test_level(self, drawn):
        # Standard errors: .0489 / sqrt(4000) = .0008 of the mean, .0006 of the deviation, .0024 of the share.
        assert abs(drawn.level.mean() - 0.8999) < 4 * 0.0008
        assert abs(drawn.level.std() - 0.0489) < 4 * 0.0006
        assert abs(np.mean(drawn.level == 1) - 0.023) < 4 * 0.0024

    def test_half_of_the_layers_act_and_half_of_the_signs_are_negative(self, drawn):
        for share in (drawn.applied.mean(), np.mean(drawn.sign == -1)):
            assert abs(share - 0.5) < 4 * 0.0079
        assert set(drawn.sign) == {-1, 1}

    def test_operations_are_equally_frequent(self, drawn):
        # 250 each, deviation 15.3.
        np.testing.assert_allclose(np.bincount(drawn.operation, minlength=16), 250, atol=4.5 * 15.3)

    def test_draws_are_independent(self, drawn):
        correlations = np.corrcoef([np.asarray(values, float) for values in drawn])
        assert np.abs(correlations - np.eye(4)).max() < 4 / np.sqrt(4000)

    @pytest.mark.parametrize("probability", [0, 0.2, 1])
    def test_probability(self, probability):
        share = many_draws(RandAugment(prob_to_apply=probability), 1000).applied.mean()
        assert abs(share - probability) <= 4 * np.sqrt(probability * (1 - probability) / 1000)

    @pytest.mark.parametrize("std", [0, None])
    def test_constant_magnitude_is_divided_by_the_number_of_levels(self, std):
        augment = RandAugment(magnitude=9, magnitude_std=std)
        assert [draw.level.numpy() for draw in augment.draws(key(1))] == [np.float32(0.9)] * 2

    def test_magnitude_zero(self, photo):
        levels = many_draws(RandAugment(magnitude=0), 500).level
        assert levels.min() == 0
        assert 0 < levels.max() < 0.3
        still = RandAugment(magnitude=0, magnitude_std=0, prob_to_apply=1, num_layers=1)
        by_name = {list(OPERATIONS)[still.draws(key(n))[0].operation]: n for n in range(100)}
        for name in ("Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY", "SolarizeAdd"):
            np.testing.assert_array_equal(still(photo, key(by_name[name])), photo)

    def test_number_of_levels_is_the_unit_of_the_magnitude(self):
        of_ten, of_thirty = RandAugment(), RandAugment(magnitude=27, magnitude_std=1.5, num_levels=30)
        np.testing.assert_allclose(of_ten.draws(key(1))[1].level, of_thirty.draws(key(1))[1].level, rtol=1e-6)


class TestKeys:
    @pytest.mark.slow
    def test_same_bytes_in_parallel_and_in_every_pass(self, photo):
        augment = RandAugment(image_size=32)
        index = tf.data.Dataset.range(40)
        images = index.map(lambda n: augment(photo, tf.stack([tf.constant(3, tf.int64), n])), num_parallel_calls=4)
        passes = []
        for seed in range(2):
            tf.random.set_seed(seed)  # has no part
            passes.append(list(images.as_numpy_iterator()))
        np.testing.assert_array_equal(*passes)
        np.testing.assert_array_equal(passes[0][7], augment(photo, tf.constant([3, 7], tf.int64)))
        assert len({image.tobytes() for image in passes[0]}) > 20

    def test_both_halves_of_the_key_count(self, photo):
        augment = RandAugment(image_size=32, prob_to_apply=1)
        keys = [key(1, 1), key(2, 1), key(1, 2), key(3, 1), key(1, 3)]
        assert len({augment(photo, one).numpy().tobytes() for one in keys}) == 5

    def test_signs_turn_the_image_both_ways(self, photo):
        """Of one operation at a constant level only the sign is left to differ."""
        augment = RandAugment(image_size=32, num_layers=1, magnitude_std=0, prob_to_apply=1)
        rotation = list(OPERATIONS).index("Rotate")
        rotated = [n for n in range(200) if augment.draws(key(n))[0].operation == rotation]
        assert len({augment(photo, key(n)).numpy().tobytes() for n in rotated}) == 2

    def test_layers_draw_for_themselves(self):
        first, second = RandAugment().draws(key(1))
        assert first.level != second.level

    def test_keys_of_64_bits(self, photo):
        augment = RandAugment(image_size=32, prob_to_apply=1)
        far = [tf.constant([1, 2**40 + n], tf.int64) for n in range(4)]
        assert len({augment(photo, one).numpy().tobytes() for one in far}) == 4

    def test_graph_of_unknown_size_equals_eager(self, photo):
        augment = RandAugment(image_size=32)
        graph = tf.function(augment, input_signature=[UNKNOWN_SIZE, tf.TensorSpec([2], tf.int32)])
        for number in range(20):
            np.testing.assert_array_equal(graph(photo, key(number)), augment(photo, key(number)))

    def test_never_applied_changes_nothing(self, photo):
        np.testing.assert_array_equal(RandAugment(prob_to_apply=0)(photo, key(0)), photo)


class TestBadInput:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"prob_to_apply": 1.5}, "prob_to_apply is 1.5; it must be between 0 and 1."),
            ({"prob_to_apply": -0.1}, "prob_to_apply is -0.1; it must be between 0 and 1."),
            ({"magnitude": 11}, "magnitude is 11; it must be between 0 and num_levels, 10."),
            ({"magnitude": -1}, "magnitude is -1; it must be between 0 and num_levels, 10."),
            ({"magnitude_std": -1}, "magnitude_std is -1; it must be 0 or more, or None."),
            ({"num_layers": 0}, "num_layers is 0; it must be 1 or more."),
            ({"num_levels": 0}, "num_levels is 0; it must be 1 or more."),
            ({"image_size": 0}, "image_size is 0; it must be 1 or more."),
        ],
        ids=str,
    )
    def test_fields(self, fields, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            RandAugment(**fields)

    def test_image(self, photo):
        with pytest.raises(ValueError, match=r"^The image is float32; it must be uint8, with levels from 0 to 255\.$"):
            RandAugment()(photo / np.float32(255), key(0))
