"""Evaluation preprocessing: against the reference, on every kind of input, and where it is stored."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import EvalPreprocessing
from tests.golden import loading, synthetic, vit_loading

IMAGENET, _ = keras_nest.registry.preprocessing_spec("nest_tiny")
MEAN, STD = np.float32(IMAGENET["mean"]), np.float32(IMAGENET["std"])
TOY = {"image_size": 16, "init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1)}


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def reference_case(number):
    stored = loading.below(loading.arrays("eval_preprocess"), f"case{number}")
    noise = synthetic.images(int(stored["seed"]), (*stored["image_hw"], 3))
    image = np.clip(np.round(128 + 50 * noise), 0, 255).astype(np.uint8)
    assert image.sum() == stored["image_sum"]
    return image, stored


class TestAgainstTheReference:
    @pytest.mark.parametrize("number", range(5))
    def test_outputs(self, number):
        image, stored = reference_case(number)
        out = np.asarray(EvalPreprocessing(int(stored["input_size"]), **IMAGENET)(image))
        stride = int(stored["stride"])
        np.testing.assert_allclose(out[::stride, ::stride], stored["out"], atol=1e-6, rtol=0)
        assert out.mean() == pytest.approx(float(stored["out_mean"]), abs=1e-6)

    def test_resized_size_is_rounded_like_the_reference(self):
        ours = [EvalPreprocessing(size, **IMAGENET).resized[0] for size in range(7, 601)]
        assert ours == [int(256 / 224 * size) for size in range(7, 601)]

    @pytest.mark.parametrize(("size", "height", "width"), [(32, 120, 175), (256, 72, 99), (224, 99, 256)])
    def test_half_pixels_are_rounded_like_the_reference(self, size, height, width, monkeypatch):
        """Sides that are half a pixel in exact arithmetic: the reference rounds side * (target / short side)."""
        sizes = []
        resize = tf.image.resize
        monkeypatch.setattr(tf.image, "resize", lambda x, size, *rest: sizes.append(size) or resize(x, size, *rest))
        EvalPreprocessing(size, **IMAGENET)(np.zeros((height, width, 3), np.uint8))
        ratio = np.float32(int(256 / 224 * size)) / np.float32(min(height, width))
        np.testing.assert_array_equal(sizes[0], np.round(np.float32([height, width]) * ratio))

    @pytest.mark.parametrize("number", range(5))
    def test_vit_and_mixer_squeeze_the_whole_image(self, number):
        stored = vit_loading.arrays("images/preprocess")
        out = EvalPreprocessing(24, **keras_nest.registry.preprocessing_spec("ViT-B_16")[0])(stored[f"image_{number}"])
        np.testing.assert_allclose(out, stored[f"eval_{number}"][0, 0], atol=1e-6, rtol=0)
        assert keras_nest.registry.preprocessing_spec("Mixer-B_16") == keras_nest.registry.preprocessing_spec("B_16")

    @pytest.mark.parametrize("size", [16, 24, 12])
    @pytest.mark.parametrize("crop", [False, True])
    def test_pixels_are_truncated_as_lit_does(self, size, crop):
        """Another rounding would be off by 2 / 255 in half of all pixels."""
        stored = vit_loading.arrays("images/preprocess")
        preprocess = EvalPreprocessing(size, [0.5] * 3, [0.5] * 3, stretch=not crop, truncate=True)
        out = preprocess([stored[f"image_{number}"] for number in range(5)])
        np.testing.assert_allclose(out, stored[f"preprocess_size{size}_crop{int(crop)}"], atol=1e-6, rtol=0)

    def test_small_models_do_not_scale_their_own_size(self):
        image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
        spec, _ = keras_nest.registry.preprocessing_spec("nest_tiny_s16_32")
        out = keras_nest.preprocessor("nest_tiny_s16_32")(image)
        expected = (np.float32(image) / 255 - np.float32(spec["mean"])) / np.float32(spec["std"])
        np.testing.assert_allclose(out, expected, atol=1e-6)


class TestInputs:
    def test_bytes_and_unit_floats_are_the_same(self, image):
        preprocess = EvalPreprocessing(16, **IMAGENET)
        out = preprocess(image)
        assert (out.dtype, tuple(out.shape)) == (tf.float32, (16, 16, 3))
        for dtype in (np.float32, np.float64):
            np.testing.assert_allclose(preprocess(image.astype(dtype) / 255), out, atol=1e-5)
        np.testing.assert_allclose(preprocess(tf.constant(image)), out, atol=0)

    def test_batch_is_image_by_image(self, image):
        preprocess = EvalPreprocessing((16, 24), **IMAGENET)
        batch = np.stack([image, image[::-1], 255 - image])
        out = preprocess(batch)
        assert tuple(out.shape) == (3, 16, 24, 3)
        np.testing.assert_allclose(out, [preprocess(x) for x in batch], atol=1e-6)

    def test_list_of_different_sizes(self, image):
        preprocess = EvalPreprocessing(16, **IMAGENET)
        images = [image, image[:30, :20], image[:7, :9].astype(np.float32) / 255]
        np.testing.assert_allclose(preprocess(images), [preprocess(x) for x in images], atol=1e-6)

    def test_rectangular_target_keeps_the_aspect_ratio(self):
        """A left-to-right ramp of a wide image keeps its slope; the crop takes the middle."""
        ramp = np.broadcast_to(np.linspace(0, 1, 101, dtype=np.float32)[:, None], (50, 101, 3))
        out = np.asarray(EvalPreprocessing((25, 20), [0] * 3, [1] * 3)(ramp))
        assert out.shape == (25, 20, 3)
        np.testing.assert_allclose(np.diff(out[:, :, 0], axis=1), 0.02, atol=3e-4)  # half the size, double the slope
        assert out.mean() == pytest.approx(0.5, abs=0.02)

    def test_one_channel_with_one_mean(self):
        out = EvalPreprocessing(16, [0.5], [0.25])(np.full((20, 20, 1), 255, np.uint8))
        np.testing.assert_allclose(out, np.full((16, 16, 1), 2.0), atol=1e-6)

    def test_floats_in_0_255_are_those_of_keras_loaders(self, image, caplog):
        preprocess = EvalPreprocessing(16, **IMAGENET)
        floats = keras.utils.img_to_array(image)
        for _ in range(2):
            np.testing.assert_array_equal(preprocess(floats), preprocess(image))
        (record,) = caplog.records
        assert record.getMessage().startswith("Floats above 1 are taken for levels of 0..255; value_range=(0, 255)")

    def test_the_range_of_a_dark_image_can_be_told(self):
        dark = np.ones((16, 16, 3), np.float32)
        np.testing.assert_allclose(EvalPreprocessing(16, [0], [1])(dark)[0, 0, 0], 1.0, rtol=1e-6)
        told = EvalPreprocessing(16, [0] * 3, [1] * 3, value_range=(0, 255))
        np.testing.assert_allclose(told(dark), dark / 255)
        with pytest.raises(ValueError, match=r"value_range is \(0, 2\); it must be \(0, 1\), \(0, 255\), or None"):
            EvalPreprocessing(16, **IMAGENET, value_range=(0, 2))

    def test_of_a_model_with_one_mean_for_all_channels(self, image):
        model = keras_nest.create_model("nest_tiny", preprocessing={"mean": [0.5], "std": [0.25]}, num_classes=7, **TOY)
        expected = EvalPreprocessing(16, [0.5] * 3, [0.25] * 3)(image)
        np.testing.assert_array_equal(keras_nest.preprocessor(model)(image), expected)

    def test_what_is_truncated_takes_every_range(self, image):
        preprocess = EvalPreprocessing(16, MEAN, STD, stretch=True, truncate=True)
        for floats in (np.float32(image), np.float32(image) / 255):
            np.testing.assert_array_equal(preprocess(floats), preprocess(image))

    def test_nothing_is_cropped_of_a_stretched_image(self):
        with pytest.raises(ValueError, match=r"crop_ratio is 0\.5; with stretch=True"):
            EvalPreprocessing(16, MEAN, STD, crop_ratio=0.5, stretch=True)

    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [("crop_ratio", 0, "crop_ratio is 0"), ("crop_ratio", 1.2, r"\(0, 1\]"), ("interpolation", "area", "bicubic")],
    )
    def test_bad_fields(self, field, value, words):
        with pytest.raises(ValueError, match=words):
            EvalPreprocessing(16, **{**IMAGENET, field: value})


class TestInsideTfData:
    def test_images_of_any_size_get_a_static_shape(self, image):
        preprocess = EvalPreprocessing((16, 24), **IMAGENET)
        images = [image, image[:20, :45], image[:33]]
        spec = tf.TensorSpec((None, None, 3), tf.uint8)
        dataset = tf.data.Dataset.from_generator(lambda: images, output_signature=spec).map(preprocess).batch(3)
        assert dataset.element_spec.shape.as_list() == [None, 16, 24, 3]
        np.testing.assert_allclose(next(iter(dataset)), preprocess(images), atol=1e-6)

    def test_encoded_images_of_unknown_channels(self, image):
        preprocess = EvalPreprocessing(16, **IMAGENET)

        def dataset(pixels):
            encoded = tf.data.Dataset.from_tensors(tf.io.encode_png(pixels))
            return encoded.map(lambda x: preprocess(tf.io.decode_image(x, expand_animations=False)))

        assert dataset(image).element_spec.shape == (16, 16, 3)
        np.testing.assert_allclose(next(iter(dataset(image))), preprocess(image), atol=1e-6)
        gray = np.repeat(image[..., :1], 3, -1)
        np.testing.assert_allclose(next(iter(dataset(image[..., :1]))), preprocess(gray), atol=1e-6)
        with pytest.raises(tf.errors.InvalidArgumentError, match="they must have 3 channels, which come last"):
            next(iter(dataset(image[..., :2])))

    @pytest.mark.slow
    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_floats_of_both_ranges_and_integers(self, image, jit_compile):
        preprocess = EvalPreprocessing(16, **IMAGENET)
        compute = tf.function(preprocess, jit_compile=jit_compile, reduce_retracing=True)
        for images in (image, np.float32(image), np.float32(image) / 255, image.astype(np.int32)):
            np.testing.assert_allclose(compute(images), preprocess(image), atol=1e-5)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda x: x / 127.5 - 1, "and not be normalized yet"),
            (lambda x: x * 257, "and not be normalized yet"),
            (lambda x: x * np.nan, "values from"),
            (lambda x: x.astype(np.int32) - 9, "they must lie in 0..255"),
        ],
        ids=["normalized", "16 bits", "NaN", "negative"],
    )
    def test_what_only_values_show_is_refused_when_it_runs(self, image, change, words):
        images = tf.data.Dataset.from_tensors(change(np.float32(image))).map(EvalPreprocessing(16, **IMAGENET))
        with pytest.raises(tf.errors.InvalidArgumentError, match=words):
            next(iter(images))

    def test_unknown_rank_is_refused(self, image):
        encoded = tf.data.Dataset.from_tensors(tf.io.encode_png(image))
        with pytest.raises(ValueError, match="shape <unknown>; it must be"):
            encoded.map(lambda x: EvalPreprocessing(16, **IMAGENET)(tf.io.decode_image(x)))


class TestWhereItIsStored:
    def test_states_what_it_does(self):
        preprocess = keras_nest.preprocessor("nest_base")
        assert preprocess.image_size == (224, 224)
        assert preprocess.resized == (256, 256)
        assert preprocess.mean == (0.485, 0.456, 0.406)
        assert preprocess.std == (0.229, 0.224, 0.225)
        assert preprocess.crop_ratio == 0.875
        assert preprocess.interpolation == "bilinear"

    def test_follows_a_saved_and_a_fine_tuned_model(self, image, tmp_path):
        spec = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0], "crop_ratio": 0.5, "interpolation": "bicubic"}
        model = keras_nest.create_model("nest_tiny", preprocessing=spec, num_classes=7, **TOY)
        model.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        expected = EvalPreprocessing(16, **spec)(image)
        np.testing.assert_array_equal(keras_nest.preprocessor(loaded)(image), expected)
        config = keras_nest.preprocessor(loaded).get_config()
        assert {
            field: list(config[field]) if isinstance(spec[field], list) else config[field] for field in spec
        } == spec

    def test_of_a_name_is_that_of_its_model(self, image):
        model = keras_nest.create_model("nest_tiny", num_classes=7, **TOY)
        expected = EvalPreprocessing(16, **IMAGENET)(image)
        np.testing.assert_array_equal(keras_nest.preprocessor(model)(image), expected)

    def test_survives_serialization(self, image):
        layer = EvalPreprocessing((16, 24), **IMAGENET, name="preprocessor")
        copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(copy) is EvalPreprocessing
        assert copy.get_config() == layer.get_config()
        np.testing.assert_array_equal(copy(image), layer(image))
        assert layer.compute_output_shape((None, 40, 50, 3)) == (None, 16, 24, 3)

    def test_bicubic_differs(self, image):
        bilinear = EvalPreprocessing(16, **IMAGENET)(image)
        bicubic = EvalPreprocessing(16, **{**IMAGENET, "interpolation": "bicubic"})(image)
        assert np.abs(bilinear - bicubic).max() > 0.01


def test_as_a_layer_of_a_model():
    preprocess = keras_nest.preprocessor("nest_tiny_s16_32")
    model = keras.Sequential([keras.Input((40, 50, 3), dtype="uint8"), preprocess])
    images = np.random.default_rng(0).integers(0, 256, (2, 40, 50, 3), np.uint8)
    assert model.output_shape == (None, 32, 32, 3)
    np.testing.assert_allclose(model(images), preprocess(images), atol=1e-6)
    np.testing.assert_allclose(model.predict(images, verbose=0), preprocess(images), atol=1e-6)


def test_no_images():
    with pytest.raises(ValueError, match="list of images is empty"):
        keras_nest.preprocessor("nest_tiny")([])


@pytest.mark.parametrize("shape", [(5, 3000), (6, 3001), (2000, 7), (1, 900)])
@pytest.mark.parametrize("size", [16, (16, 24)])
def test_a_long_strip_is_cut_before_it_is_scaled_and_looks_the_same(shape, size, monkeypatch):
    strip = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    layer = EvalPreprocessing(size, [0.0] * 3, [1.0] * 3, crop_ratio=0.875)
    cut = layer(strip)
    monkeypatch.setattr("keras_nest.preprocessing._LONGEST", 10**6)
    np.testing.assert_allclose(cut, layer(strip), atol=2e-3)


def test_of_a_long_strip_little_is_scaled(monkeypatch):
    """The whole would become 256 x 2,560,000 pixels and take 7.9 GB."""
    scaled, resize = [], tf.image.resize
    monkeypatch.setattr(tf.image, "resize", lambda *x: scaled.append(resize(*x)) or scaled[-1])
    EvalPreprocessing(224, [0.0] * 3, [1.0] * 3, crop_ratio=0.875)(np.zeros((1, 10_000, 3), np.uint8))
    assert scaled[0].shape[0] == 256
    assert scaled[0].shape[1] <= 33 * 256
