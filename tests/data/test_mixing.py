"""Mixup and CutMix: the reference's batches for given draws and for its keys, the options, and wrong input."""

import numpy as np
import pytest
import tensorflow as tf

from keras_nest.data.mixing import cutmix, mixup, random_mix, smooth_one_hot
from tests.golden import augment_loading

CLASSES = augment_loading.facts()["mix"]["num_classes"]
MIXUP, CUTMIX = {"cutmix_alpha": 0.0}, {"mixup_alpha": 0.0}
# The coin of the whole batch is an entry of the reference data for each key.
COINS = augment_loading.facts()["mix/branch_for_rng_[i,4]"]["values"]


def cases(kind):
    stored = augment_loading.arrays("mix")
    names = {name.rsplit("/", 1)[0] for name in stored if f"/{kind}" in name}
    return sorted(names)


def case(name):
    """Images, labels, and what is stored about one case."""
    batch = augment_loading.arrays(f"mix/{name.split('/')[0]}")
    return tf.constant(batch["images"]), batch["labels"], augment_loading.arrays(f"mix/{name}")


def smoothing(name):
    return float(name.rsplit("smooth", 1)[1])


def mix_one_hot(batch, size, key, **options):
    """Each image is all its own index: (own shares by pixel (B, size, size), partners (B,), labels (B, K))."""
    images = tf.reshape(tf.one_hot(tf.range(batch), batch), [batch, 1, 1, batch])
    mixed, labels = random_mix(tf.tile(images, [1, size, size, 1]), tf.range(batch), key, batch, **options)
    shares = mixed.numpy()
    own = np.stack([shares[n, ..., n] for n in range(batch)])
    others = shares.max((1, 2))
    # Who has no other is its own partner.
    others[np.arange(batch), np.arange(batch)] = 1e-9
    return own, others.argmax(1), labels.numpy()


class TestReference:
    @pytest.mark.parametrize("batch", ["b4", "b5"])
    def test_smoothing(self, batch):
        smooth = smooth_one_hot(augment_loading.array(f"mix/{batch}/labels"), CLASSES, 0.1)
        np.testing.assert_allclose(smooth, augment_loading.array(f"mix/{batch}/smoothed0.1"), atol=1e-7)

    @pytest.mark.parametrize("name", cases("mixup"))
    def test_mixup(self, name):
        images, labels, stored = case(name)
        smooth = smooth_one_hot(labels, CLASSES, smoothing(name))
        mixed, mixed_labels = mixup(images, smooth, stored["weight_own"], stored["perm"])
        np.testing.assert_array_equal(mixed, stored["images"])
        np.testing.assert_allclose(mixed_labels, stored["labels"], atol=2e-7)

    @pytest.mark.parametrize("name", cases("cutmix"))
    def test_cutmix(self, name):
        images, labels, stored = case(name)
        smooth, reverse = smooth_one_hot(labels, CLASSES, smoothing(name)), np.arange(len(labels))[::-1]
        corners = stored["box_y0_x0_h_w"][:, :2]
        mixed, mixed_labels = cutmix(images, smooth, stored["weight_own"], corners, reverse)
        np.testing.assert_array_equal(mixed, stored["images"])
        np.testing.assert_allclose(mixed_labels, stored["labels"], atol=2e-7)

    @pytest.mark.parametrize("name", cases("cutmix"))
    def test_draws_of_cutmix(self, name, monkeypatch):
        """The reference draws from the key that `random_mix` splits off first."""
        images, labels, stored = case(name)
        key = tf.constant(augment_loading.facts()["mix"]["seed_cutmix"])
        split_off(monkeypatch, {0: key})
        mixed, mixed_labels = random_mix(
            images, labels, tf.constant([0, 0]), CLASSES, label_smoothing=smoothing(name), **CUTMIX
        )
        np.testing.assert_array_equal(mixed, stored["images"])
        np.testing.assert_allclose(mixed_labels, stored["labels"], atol=2e-7)

    @pytest.mark.parametrize("alpha", [0.2, 0.8])
    def test_weights_of_mixup(self, alpha, monkeypatch):
        split_off(monkeypatch, {1: tf.constant(augment_loading.facts()["mix"]["seed_mixup"])})
        own, partners, _ = mix_one_hot(5, 1, tf.constant([0, 0]), mixup_alpha=alpha, **MIXUP)
        stored = augment_loading.array(f"mix/b5/mixup_alpha{alpha}_smooth0/weight_own")
        moved = partners != np.arange(5)
        assert moved.any()
        np.testing.assert_allclose(own[moved, 0, 0], stored[moved], atol=1e-6)

    @pytest.mark.parametrize("number", COINS)
    def test_coin(self, number):
        own, _, _ = mix_one_hot(6, 16, tf.constant([int(number), 4]))
        boxes = np.all((own == 0) | (own == 1))
        assert boxes == (COINS[number] == 1)


def split_off(monkeypatch, replaced):
    """Lets the split in four return given keys at some places."""
    split = tf.random.split

    def replacing(key, count=2):
        keys = tf.unstack(split(key, count))
        return tf.stack([replaced.get(n, k) for n, k in enumerate(keys)] if count == 4 else keys)

    monkeypatch.setattr(tf.random, "split", replacing)


class TestRandomMix:
    def test_labels_are_probabilities_and_follow_the_weights(self):
        for number in range(12):
            own, partners, labels = mix_one_hot(8, 16, tf.constant([1, number]), label_smoothing=0.0)
            np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)
            same = partners == np.arange(8)
            weights = labels[np.arange(8), np.arange(8)]
            # Sides are cut down, so that boxes have up to 2/16 less than their weight.
            assert np.all(np.abs(own.mean((1, 2)) - weights)[~same] < 0.12)
            rest = 1 - weights
            np.testing.assert_allclose(labels[np.arange(8), partners][~same], rest[~same], atol=1e-6)

    def test_smoothing_is_mixed(self):
        _, _, labels = mix_one_hot(8, 4, tf.constant([1, 2]), label_smoothing=0.4)
        np.testing.assert_allclose(labels.min(1), 0.4 / 8, atol=1e-6)
        np.testing.assert_allclose(labels.sum(1), 1, atol=1e-6)

    def test_unmixed_labels_are_smoothed_too(self):
        own, _, labels = mix_one_hot(8, 4, tf.constant([1, 2]), probability=0.0, label_smoothing=0.4)
        assert np.all(own == 1)
        np.testing.assert_allclose(labels, 0.6 * np.eye(8) + 0.05, atol=1e-6)

    def test_the_original_forgets_to_smooth_what_it_does_not_mix(self):
        options = {"probability": 0.0, "label_smoothing": 0.4, "smooth_unmixed": False}
        _, _, labels = mix_one_hot(8, 4, tf.constant([1, 2]), **options)
        np.testing.assert_array_equal(labels, np.eye(8))

    def test_no_method_is_left(self):
        own, _, labels = mix_one_hot(4, 2, tf.constant([1, 2]), mixup_alpha=0.0, cutmix_alpha=0.0)
        assert np.all(own == 1)
        np.testing.assert_allclose(np.diag(labels), 0.925, atol=1e-6)

    def test_how_often_batches_are_mixed_and_how(self):
        images, labels = tf.reshape(tf.range(24.0), [2, 3, 4, 1]), tf.constant([0, 1])

        @tf.function
        def draw(n):
            mixed, _ = random_mix(images, labels, tf.stack([3, n]), 2, probability=0.5)
            whole = tf.reduce_all(mixed == images)
            return whole, tf.reduce_all((mixed == images) | (mixed == images[::-1]))

        whole, boxes = np.array([draw(n) for n in tf.range(1000)]).T
        # A permutation of two leaves half of the batches of mixup as they are.
        assert abs(whole.mean() - (0.5 + 0.5 * 0.25)) < 4 * 0.0153
        assert abs((boxes & ~whole).mean() - 0.25) < 4 * 0.0137

    def test_own_part_by_method(self):
        own, _, _ = mix_one_hot(32, 8, tf.constant([1, 2]), **MIXUP)
        assert own.min() >= 0.5
        own, partners, _ = mix_one_hot(33, 8, tf.constant([1, 2]), **CUTMIX)
        np.testing.assert_array_equal(np.delete(partners, 16), np.delete(np.arange(33)[::-1], 16))
        assert np.all(own[16] == 1), "the middle of an odd batch is its own partner"
        assert np.delete(own, 16, axis=0).mean((1, 2)).max() < 0.5


class TestOptions:
    def test_area_corrected(self):
        own, _, labels = mix_one_hot(16, 10, tf.constant([1, 2]), area_corrected=True, label_smoothing=0.0, **CUTMIX)
        np.testing.assert_allclose(np.diag(labels), own.mean((1, 2)), atol=1e-6)
        _, _, drawn = mix_one_hot(16, 10, tf.constant([1, 2]), label_smoothing=0.0, **CUTMIX)
        assert np.all(np.diag(drawn) > np.diag(labels))

    def test_shuffled_cutmix(self):
        _, partners, _ = mix_one_hot(32, 4, tf.constant([1, 2]), shuffled_cutmix=True, **CUTMIX)
        assert np.mean(partners == np.arange(32)[::-1]) < 0.2

    @pytest.mark.parametrize("uniform", [False, True])
    def test_where_boxes_lie(self, uniform):
        """Share of the free room above and left of boxes, and whether they reach the far sides."""
        images = tf.reshape(tf.repeat([0.0, 1.0], 1000), [2000, 1, 1, 1]) * tf.ones([1, 16, 16, 1])
        mixed, _ = random_mix(images, tf.zeros(2000, tf.int32), tf.constant([1, 2]), 2, uniform_boxes=uniform, **CUTMIX)
        own = (mixed == images).numpy()[..., 0]
        for sides in (own.any(1), own.any(2)):
            sides = sides[sides.any(1)]
            room = 16 - sides.sum(1)
            place = sides.argmax(1) / room
            # Deviation .3 in nearly 2,000 draws: .007 of the mean; the bias is to small offsets.
            assert abs(place.mean() - 0.5) < 4 * 0.007 if uniform else place.mean() < 0.5 - 4 * 0.007
            assert sides[:, -1].any() == uniform

    @pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 3.0])
    def test_exact_beta(self, alpha):
        count = 40_000
        images = tf.reshape(tf.repeat([0.0, 1.0], count // 2), [count, 1, 1, 1])

        def weights(exact):
            options = {"mixup_alpha": 0.0, "cutmix_alpha": alpha, "label_smoothing": 0.0}
            labels = tf.repeat([0, 1], count // 2)
            mixed = random_mix(images, labels, tf.constant([1, 2]), 2, exact_beta=exact, **options)[1].numpy()
            return np.where(labels == 0, mixed[:, 0], mixed[:, 1])

        drawn = np.random.default_rng(0).beta(alpha, alpha, 200_000)
        expected = np.minimum(drawn, 1 - drawn)
        places = np.linspace(0.05, 0.95, 19)
        np.testing.assert_allclose(np.quantile(weights(True), places), np.quantile(expected, places), atol=0.012)
        # The approximation is exact for alpha 1 alone.
        difference = abs(weights(False).mean() - expected.mean())
        assert (difference < 4 * expected.std() / count**0.5) == (alpha == 1)


class TestDeterminism:
    def test_parallel_map(self):
        images = tf.random.stateless_uniform([40, 6, 8, 8, 3], [1, 2])
        batches = tf.data.Dataset.from_tensor_slices(images).enumerate()

        def mix(n, batch):
            return random_mix(batch, tf.range(6), tf.stack([tf.constant(5, tf.int64), n]), 6)

        mixed = batches.map(mix, num_parallel_calls=8).batch(40)
        (first, labels), (again, labels_again) = (next(iter(mixed)) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(labels, labels_again)
        assert len({batch.numpy().tobytes() for batch in first}) == 40

    def test_global_seed_has_no_part(self):
        results = []
        for seed in (1, 2):
            tf.random.set_seed(seed)
            results.append(mix_one_hot(6, 4, tf.constant([4, 4]))[0])
        np.testing.assert_array_equal(*results)


class TestXla:
    @pytest.mark.slow
    def test_compiles_and_repeats_as_the_papers_have_it(self):
        """Mixup and CutMix are both in the program; the key chooses. As recipes have it: tests/data/test_recipes.py."""
        options = dict.fromkeys(["exact_beta", "area_corrected", "uniform_boxes", "shuffled_cutmix"], True)
        images, labels = tf.random.stateless_uniform([6, 8, 8, 3], [1, 2]), tf.range(6)

        @tf.function(jit_compile=True)
        def step(images, labels, key):
            return random_mix(images, labels, key, 6, probability=0.9, **options)

        for number in range(4):
            mixed, mixed_labels = step(images, labels, tf.constant([1, number]))
            assert mixed.shape == images.shape
            np.testing.assert_allclose(tf.reduce_sum(mixed_labels, 1), 1, atol=1e-6)
            np.testing.assert_array_equal(step(images, labels, tf.constant([1, number]))[0], mixed)

    def test_given_draws_give_the_same(self):
        images, labels, stored = case("b5/cutmix_alpha1_smooth0.1")
        smooth, corners = smooth_one_hot(labels, CLASSES, 0.1), stored["box_y0_x0_h_w"][:, :2]
        compiled = tf.function(cutmix, jit_compile=True)
        mixed, mixed_labels = compiled(images, smooth, stored["weight_own"], corners, tf.range(5)[::-1])
        np.testing.assert_array_equal(mixed, stored["images"])
        np.testing.assert_allclose(mixed_labels, stored["labels"], atol=2e-7)


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float32])
def test_keeps_dtype_and_shape(dtype):
    graph = tf.function(lambda images, labels: random_mix(images, labels, tf.constant([1, 2]), 10))
    batch = tf.TensorSpec([8, 12, 14, 1], dtype), tf.TensorSpec([8], tf.int64)
    images, labels = graph.get_concrete_function(*batch).structured_outputs
    assert (images.dtype, images.shape) == (dtype, (8, 12, 14, 1))
    assert (labels.dtype, labels.shape) == (tf.float32, (8, 10))


def test_batches_of_unknown_size():
    graph = tf.function(
        lambda images, labels: random_mix(images, labels, tf.constant([1, 2]), 10),
        input_signature=[tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([None], tf.int32)],
    )
    for count in (1, 3):
        images, labels = graph(tf.zeros([count, 5, 6, 3]), tf.range(count))
        assert (images.shape, labels.shape) == ((count, 5, 6, 3), (count, 10))


@pytest.mark.parametrize("wrong", [-1, 10])
def test_labels_out_of_range(wrong):
    with pytest.raises(ValueError, match=rf"Labels are from .*{wrong}.*; they must be from 0 to 9, as there are 10"):
        smooth_one_hot([3, wrong, 4], 10)
    labels = tf.data.Dataset.from_tensors([3, wrong]).map(lambda batch: smooth_one_hot(batch, 10))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must be from 0 to 9, as there are 10 classes"):
        next(iter(labels))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"images": tf.zeros([2, 4, 4, 3], tf.uint8)},
            r"Images are uint8 \(2, 4, 4, 3\); they must be a batch of floats",
        ),
        ({"images": tf.zeros([4, 4, 3])}, r"Images are float32 \(4, 4, 3\)"),
        ({"labels": tf.eye(2)}, "Labels have dtype float32; they must be integers"),
        ({"probability": 1.1}, r"probability is 1.1; it must be between 0 and 1"),
        ({"label_smoothing": -0.1}, r"smoothing is -0.1"),
        ({"cutmix_alpha": -1.0}, r"alpha is -1.0; it must be above 0, or 0 to leave the method out"),
    ],
)
def test_wrong_input(changed, message):
    usual = {"images": tf.zeros([2, 4, 4, 3]), "labels": tf.constant([0, 1]), "key": tf.constant([1, 2]), "classes": 2}
    with pytest.raises(ValueError, match=message):
        random_mix(**(usual | changed))
