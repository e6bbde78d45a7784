"""One picture, one answer: `predict` of every kind of file, files sent to a server, and evaluation in training."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_nest
from keras_nest import export
from keras_nest.data import Recipe, load
from keras_nest.export.tflite import to_tflite
from keras_nest.predict import open_predictor, read_image
from keras_nest.tflite import TFLiteModel
from tests.data.photographs import encoded, small
from tests.export import toys

PHOTO = small("chelsea", (48, 36))
DEEP = Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 256 + 200)
TRANSPARENT = small("chelsea", (48, 36)).convert("RGBA")
TRANSPARENT.putalpha(Image.linear_gradient("L").resize(TRANSPARENT.size))
PALETTE = PHOTO.quantize(16)


def jpeg_with_adobe_marker(transform):
    """CMYK (0) or YCCK (2) by the byte that says which."""
    file = bytearray(encoded(PHOTO.convert("CMYK"), "JPEG"))
    place = file.find(b"Adobe")
    file[place + 11] = transform
    return bytes(file)


SERVED = {
    **{f"jpeg_{o}.jpg": encoded(PHOTO, "JPEG", o) for o in range(10)},
    **{f"png_{o}.png": encoded(PHOTO, "PNG", o) for o in range(10)},
    "plain.jpg": encoded(PHOTO, "JPEG"),
    "gray.jpg": encoded(PHOTO.convert("L"), "JPEG"),
    "progressive.jpg": encoded(PHOTO, "JPEG", 8, progressive=True),
    "profile.jpg": encoded(PHOTO, "JPEG", 5, icc_profile=bytes(100_000)),
    "cmyk.jpg": jpeg_with_adobe_marker(0),
    "ycck.jpg": jpeg_with_adobe_marker(2),
    "gray.png": encoded(PHOTO.convert("L"), "PNG", 6),
    "gray_alpha.png": encoded(TRANSPARENT.convert("LA")),
    "transparent.png": encoded(TRANSPARENT, "PNG", 3),
    "palette.png": encoded(PALETTE),
    "palette_transparent.png": encoded(PALETTE, transparency=3),
    "key.png": encoded(PHOTO, transparency=PHOTO.getpixel((20, 20))),
    "one_bit.png": encoded(PHOTO.convert("1")),
    "deep.png": encoded(DEEP),
    "narrow.png": encoded(PHOTO.resize((1, 40)), "PNG", 6),
    "png_in_truth.jpg": encoded(PHOTO),
}
READ = SERVED | {
    "animated.gif": encoded(PHOTO, "GIF", save_all=True, append_images=[small("coffee")]),
    "plain.bmp": encoded(PHOTO, "BMP"),
    "transparent.webp": encoded(TRANSPARENT, "WEBP"),
    "transparent.gif": encoded(PALETTE, "GIF", transparency=3),
}


@pytest.fixture(scope="module")
def model(small_nest):
    return small_nest(image_size=(16, 24), num_classes=4)


def write(model, folder):
    """Every kind of file, by the name that it gets."""
    model.save(folder / "model.keras")
    export.to_saved_model(model, folder / "saved_model")
    to_tflite(model, folder, ["float32"])
    return folder


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    return write(model, tmp_path_factory.mktemp("files"))


@pytest.fixture(params=["model.keras", "saved_model", "float32.tflite"])
def predictor(files, request):
    return open_predictor(files / request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for path, files in (("test/a", READ), ("train/a", READ)):
        (root / path).mkdir(parents=True)
        for name, content in files.items():
            (root / path / name).write_bytes(content)
    return root


@pytest.fixture(scope="module")
def expected(model, folder):
    """Name -> probabilities that evaluation during training finds."""
    recipe = Recipe(model.config["preprocessing"])
    _, test, _ = load(folder, recipe, model.image_size, batch_size=len(READ))
    ((images, *_),) = test
    return dict(zip(sorted(READ), np.asarray(tf.nn.softmax(model(images))), strict=True))


def test_the_pictures_differ(expected):
    assert len({tuple(expected[f"png_{o}.png"].round(5)) for o in range(1, 9)}) == 8
    np.testing.assert_array_equal(expected["png_0.png"], expected["png_1.png"])


@pytest.mark.slow
def test_predict(predictor, folder, expected):
    images = [read_image(folder / "test/a" / name) for name in expected]
    np.testing.assert_allclose(predictor.probabilities(images), [*expected.values()], atol=2e-6)


@pytest.mark.slow
def test_files_sent_to_a_server(files, expected):
    serve = tf.saved_model.load(str(files / "saved_model")).signatures["serving_bytes"]
    found = serve(image_bytes=tf.constant([*SERVED.values()]))["probabilities"]
    np.testing.assert_allclose(found, [expected[name] for name in SERVED], atol=2e-6)
    for name in READ.keys() - SERVED.keys():
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="Image 0 of the batch is no complete JPEG or PNG file"
        ):
            serve(image_bytes=tf.constant([READ[name]]))


PIXELS = np.asarray(PHOTO)
GRAY = np.asarray(PHOTO.convert("L"))
ALIKE = {
    "floats in [0, 1]": PIXELS / 255,
    "floats in 0..255": np.float32(PIXELS),
    "int32": PIXELS.astype(np.int32),
    "tensor": tf.constant(PIXELS),
    "Pillow": PHOTO,
    "RGBA": np.asarray(PHOTO.convert("RGBA")),
}


def test_arrays_of_every_kind(model, predictor):
    expected = np.asarray(tf.nn.softmax(model(keras_nest.preprocessor(model)([PIXELS]))))
    for image in ALIKE.values():
        np.testing.assert_allclose(predictor.probabilities([image]), expected, atol=2e-6)
    on_white = Image.alpha_composite(Image.new("RGBA", PHOTO.size, "white"), TRANSPARENT).convert("RGB")
    expected = predictor.probabilities([on_white])
    for image in (TRANSPARENT, np.asarray(TRANSPARENT), np.asarray(TRANSPARENT) / 255):
        np.testing.assert_allclose(predictor.probabilities([image]), expected, atol=2e-6)
    gray = predictor.probabilities([np.repeat(GRAY[..., None], 3, -1)])
    np.testing.assert_array_equal(predictor.probabilities([GRAY]), gray)
    for images, words in (
        ([], "list of images is empty"),
        (PIXELS, "a single image must be in a list"),
        ([PIXELS / 127.5 - 1], "not be normalized yet"),
        ([PIXELS * np.nan], "values from nan"),
        ([np.moveaxis(PIXELS, -1, 0)], "channels must come last"),
    ):
        with pytest.raises(ValueError, match=words):
            predictor.probabilities(images)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 4])
def test_models_of_other_channels(small_nest, channels, tmp_path):
    spec = {"mean": [0.4] * channels, "std": [0.3] * channels, "crop_ratio": 0.875, "interpolation": "bilinear"}
    model = small_nest(in_channels=channels, preprocessing=spec)
    write(model, tmp_path)
    images = {1: [GRAY, GRAY[..., None], PHOTO.convert("L")], 4: [np.asarray(TRANSPARENT), TRANSPARENT]}[channels]
    expected = np.asarray(tf.nn.softmax(model(keras_nest.preprocessor(model)(images))))
    np.testing.assert_allclose(expected, np.repeat(expected[:1], len(images), 0), atol=1e-6)
    for kind in ("model.keras", "float32.tflite", *(["saved_model"] if channels == 1 else [])):
        np.testing.assert_allclose(open_predictor(tmp_path / kind).probabilities(images), expected, atol=2e-6)


def test_tflite_in_python(files):
    run, images = TFLiteModel(files / "float32.tflite"), toys.pixels(2, (16, 24))
    levels = np.round(255 * images).astype(np.uint8)
    expected = run(levels / np.float32(255))["probabilities"]
    for alike in (levels, np.float32(levels), levels.astype(np.int32)):
        np.testing.assert_array_equal(run(alike)["probabilities"], expected)
    for wrong, words in ((2 * images - 1, "normalized"), (images * np.nan, "nan"), (images[:0], "no pixels")):
        with pytest.raises(ValueError, match=words):
            run(wrong)


@pytest.mark.slow
def test_a_saved_model_that_does_not_say_how_images_of_its_channels_are_prepared(small_nest, tmp_path):
    model = small_nest(in_channels=4, preprocessing=None)
    with pytest.raises(ValueError, match=r"takes images of 4 channels and does not say how; predict needs its \.keras"):
        open_predictor(export.to_saved_model(model, tmp_path / "saved"))
