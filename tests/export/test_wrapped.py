"""Users' models around ours: what is written takes images in [0, 1], whatever lies around the model, or is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import keras_nest
from keras_nest import export, training
from keras_nest.export.module import on_unit_images, output_name, reusable_object, without_head
from keras_nest.export.signatures import create_signatures, image_inputs
from keras_nest.export.tflite_sources import image_source
from keras_nest.export.wrapped import AUTO, as_exported
from keras_nest.models.answers import is_classifier
from keras_nest.models.wrapping import find_preprocessing
from keras_nest.tflite import TFLiteModel
from tests.export import toys

SPEC = toys.build("nest", num_classes=0).config["preprocessing"]
MEAN, STD = np.float32(SPEC["mean"]), np.float32(SPEC["std"])


def headless(family="nest", **fields):
    levels = {"num_layers_per_block": (1,)} if family == "nest" else {}
    return toys.build(family, num_classes=0, **levels, **fields)


def stacked(*parts, channels=3, **options):
    """A functional model of layers, one after the other."""
    inputs = x = keras.Input((16, 16, channels), **options)
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def dense(name="head", **options):
    return layers.Dense(5, name=name, kernel_initializer=keras.initializers.RandomNormal(stddev=0.5), **options)


def flat(model, *parts):
    x = model.output
    for part in parts:
        x = part(x)
    return keras.Model(model.input, x)


def gone():
    """The model that it was made of is not there any more."""
    return flat(headless(), dense())


def two(first, second):
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, dense()(layers.Concatenate()([first(inputs), second(inputs)])))


def renamed(model):
    return type(model).from_config({**model.get_config(), "name": "other"})


def softmaxed():
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, keras.ops.softmax(dense()(headless()(inputs, training=False))))


def normalization():
    return layers.Normalization(mean=SPEC["mean"], variance=np.square(SPEC["std"]))


def unit(images):
    return images


def levels(images):
    return 255 * images


def normalized(images):
    return (images - MEAN) / STD


# Name -> the model, and what it must be given for images in [0, 1].
WRAPPED = {
    "functional": (lambda: stacked(headless(), dense()), normalized),
    "sequential": (lambda: keras.Sequential([headless(), dense()]), normalized),
    "sequential with an input": (lambda: keras.Sequential([keras.Input((16, 16, 3)), headless(), dense()]), normalized),
    "flat": (lambda: flat(headless(), dense()), normalized),
    "flat, of a model that is gone": (gone, normalized),
    "flat in a functional": (lambda: stacked(flat(headless(), layers.Dropout(0.5)), dense()), normalized),
    "an intermediate": (lambda: (lambda m: keras.Model(m.input, m.endpoints["level_1"]))(headless()), normalized),
    "softmax on logits": (lambda: stacked(toys.build("nest"), layers.Softmax()), normalized),
    "softmax in the head": (lambda: stacked(headless(), dense(activation="softmax")), normalized),
    "sigmoid": (lambda: stacked(headless(), dense(), layers.Activation("sigmoid")), normalized),
    "softmax as an operation": (softmaxed, normalized),
    "dropout and a hidden layer": (
        lambda: stacked(headless(), layers.Dropout(0.5), layers.Dense(7, "relu"), dense()),
        normalized,
    ),
    "nested twice": (lambda: stacked(keras.Sequential([keras.Sequential([headless()]), dense()])), normalized),
    "augmentation": (
        lambda: stacked(layers.RandomFlip(), layers.RandomRotation(0.2), layers.GaussianNoise(1), headless(), dense()),
        normalized,
    ),
    "preprocessor": (lambda: (lambda m: stacked(keras_nest.preprocessor(m), m, dense()))(headless()), unit),
    "normalization": (lambda: stacked(normalization(), headless(), dense()), unit),
    "rescaling and normalization": (
        lambda: stacked(layers.Rescaling(1 / 255), normalization(), headless(), dense()),
        levels,
    ),
    "rescaling of a vit": (lambda: stacked(layers.Rescaling(1 / 127.5, -1), headless("vit"), dense()), levels),
    "two alike": (lambda: two(headless(), renamed(headless())), normalized),
    "one twice": (lambda: (lambda m: two(m, m))(headless()), normalized),
    "nothing of ours": (lambda: stacked(layers.Flatten(), dense()), unit),
    "a sequential of nothing of ours": (
        lambda: keras.Sequential([keras.Input((16, 16, 3)), layers.Flatten(), dense()]),
        unit,
    ),
}
EMBEDS = {"functional", "sequential", "sequential with an input", "dropout and a hidden layer", "augmentation"}
EMBEDS |= {"softmax on logits", "softmax in the head", "sigmoid", "softmax as an operation", "preprocessor"}
EMBEDS |= {"normalization", "rescaling and normalization", "rescaling of a vit", "flat", "flat in a functional"}
EMBEDS |= {"flat, of a model that is gone", "nested twice"}
PROBABILITIES = {"softmax on logits", "softmax in the head", "sigmoid", "softmax as an operation"}
OTHERS = {"nothing of ours", "a sequential of nothing of ours"}
NO_BYTES = {"preprocessor", *OTHERS}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_is_exported_takes_unit_images(name):
    build, given = WRAPPED[name]
    model, images = build(), toys.pixels(3)
    exported = as_exported(model)
    toys.assert_close(on_unit_images(exported, exported)(images), model(given(images), training=False))
    assert output_name(exported) == ("probabilities" if name in PROBABILITIES else "logits")
    assert is_classifier(exported) == (name not in {"an intermediate", *OTHERS})
    assert ("pre_logits" in getattr(exported, "endpoints", {})) == (name in EMBEDS)
    assert ("image_bytes" in image_inputs(exported)) == (name not in NO_BYTES)


# One of each kind of wrapping, of outputs, and of images that are taken.
SAVED = ("flat, of a model that is gone", "an intermediate", "softmax in the head", "nested twice", "augmentation")
SAVED += ("preprocessor", "rescaling of a vit", "nothing of ours")


@pytest.mark.parametrize("name", ["functional", *(pytest.param(name, marks=pytest.mark.slow) for name in SAVED)])
def test_saved_model(tmp_path, name):
    build, given = WRAPPED[name]
    model, images = build(), toys.pixels(3)
    scores = "probabilities" if name in PROBABILITIES else "logits"
    expected = model(given(images), training=False).numpy()
    module = tf.saved_model.load(
        export.to_saved_model(model, tmp_path / "module", class_names=list("abcdefg")[: expected.shape[-1]])
    )
    toys.assert_close(module(images), expected)
    outputs = module.signatures["serving_default"](images=images)
    toys.assert_close(outputs[scores], expected)
    assert ("logits" in outputs) != (name in PROBABILITIES)
    if name not in {"an intermediate", *OTHERS}:
        np.testing.assert_array_equal(outputs["classes"], expected.argsort(-1)[:, ::-1][:, :5])
    assert ("embed" in module.signatures) == (name in EMBEDS)
    assert ("serving_bytes" in module.signatures) == (name not in NO_BYTES)
    if name not in NO_BYTES:
        files = [tf.io.encode_png(np.uint8(255 * image)) for image in toys.pixels(2, (20, 31))]
        prepared = keras_nest.preprocessor(model)([tf.io.decode_png(file) for file in files])
        found = module.signatures["serving_bytes"](image_bytes=tf.stack(files))
        toys.assert_close(found[scores], model(prepared, training=False))


def test_the_embedding_is_that_of_the_model_inside():
    images = toys.pixels(3)
    for base, *others in ((headless(), dense()), (toys.build("nest"), layers.Softmax())):
        exported = as_exported(stacked(base, *others))
        expected = keras.Model(base.input, base.endpoints["pre_logits"])(normalized(images))
        toys.assert_close(on_unit_images(without_head(exported), exported)(images), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flat", "rescaling and normalization", "softmax in the head"])
def test_tflite(tmp_path, name):
    build, given = WRAPPED[name]
    model, images = build(), toys.pixels(3)
    export.to_tflite(model, tmp_path, ["float32"], images=images, class_names=list("abcde"))
    ((scores, found),) = TFLiteModel(tmp_path / "float32.tflite")(images).items()
    outputs = model(given(images), training=False)
    assert scores == "probabilities"
    np.testing.assert_allclose(found, outputs if name in PROBABILITIES else tf.nn.softmax(outputs), atol=1e-5)


def test_what_a_model_of_numbers_gives_is_left_alone(tmp_path):
    """It was compiled with a loss of numbers, so they are no scores of classes, in no format."""
    model, images = stacked(headless(), dense()), toys.pixels(2)
    for loss, name in (("mse", "values"), ("sparse_categorical_crossentropy", "probabilities")):
        model.compile(loss=loss)
        exported = as_exported(model)
        assert list(image_source(exported, 1).call(tf.constant(images))) == [name]
        answers = create_signatures(reusable_object(exported), exported)["serving_default"](tf.constant(images))
        assert ("classes" in answers) == (name == "probabilities")


@pytest.mark.slow
def test_onnx(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    for name in ("functional", "softmax in the head"):
        model, images = WRAPPED[name][0](), toys.pixels(3)
        session = onnxruntime.InferenceSession(export.to_onnx(model, tmp_path / f"{model.name}.onnx"))
        expected = model(normalized(images), training=False)
        np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-4)


class TestWhatCannotBeTold:
    SENTENCE = r"^The model '\w+' has layers of keras_nest inside, and it cannot be told which images it takes; say: "
    CASES = (
        lambda: stacked(layers.Rescaling(1 / 255), headless(), dense()),
        lambda: stacked(layers.Lambda(lambda x: x[..., ::-1]), headless(), dense()),
        lambda: stacked(layers.Resizing(16, 16), layers.RandomBrightness(0.1), layers.Rescaling(2.0), headless()),
        lambda: two(headless(), headless("vit")),
        lambda: keras.Model(*(lambda i: (i, headless()(layers.Concatenate()([i, i, i]))))(keras.Input((16, 16, 1)))),
        lambda: stacked(headless(preprocessing=None), dense()),
    )

    @pytest.mark.parametrize("build", CASES)
    def test_it_is_refused_before_anything_is_written(self, tmp_path, build):
        model = build()
        for write in (export.to_saved_model, export.to_tflite, export.to_onnx):
            with pytest.raises(ValueError, match=self.SENTENCE):
                write(model, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []

    def test_but_flat_and_read_from_a_file_it_can(self, tmp_path):
        flat(headless(), dense()).save(tmp_path / "flat.keras")
        model, images = keras.saving.load_model(tmp_path / "flat.keras"), toys.pixels(3)
        assert list(keras_nest.preprocessor(model).mean) == list(SPEC["mean"])
        for given in (AUTO, "nest_tiny", SPEC):
            exported = as_exported(model, given)
            toys.assert_close(on_unit_images(exported, exported)(images), model(normalized(images)))

    @pytest.mark.parametrize(
        ("given", "expected"),
        [(None, unit), ("nest_tiny", normalized), ({"mean": [0.0], "std": [1 / 255]}, levels)],
    )
    def test_it_can_be_said(self, given, expected):
        model, images = stacked(layers.Rescaling(1 / 255), headless(), dense()), toys.pixels(3)
        exported = as_exported(model, given)
        toys.assert_close(on_unit_images(exported, exported)(images), model(expected(images)))

    def test_what_is_said_wrongly(self, tmp_path):
        model = stacked(headless(), dense())
        for given, message in (
            ("nest_tin", "There is no model 'nest_tin'; did you mean"),
            (
                {"mean": [0.0, 1.0], "std": [1.0]},
                r"preprocessing has mean \[0.0, 1.0\]; it must be a list of one",
            ),
            ({"mean": [0.0]}, "preprocessing lacks std; it must hold mean and std"),
        ):
            with pytest.raises(ValueError, match=message):
                export.to_saved_model(model, tmp_path / "out", preprocessing=given)
        with pytest.raises(ValueError, match="carries its preprocessing; leave preprocessing out"):
            export.to_saved_model(headless(), tmp_path / "out", preprocessing="nest_tiny")

    def test_integers(self, tmp_path):
        base = headless()
        model = stacked(keras_nest.preprocessor(base), base, dtype="uint8")
        with pytest.raises(ValueError, match="takes images of dtype uint8; it must take floats"):
            export.to_saved_model(model, tmp_path / "out")

    def test_a_layer_that_hides_the_model(self, tmp_path):
        class Block(keras.layers.Layer):
            def __init__(self):
                super().__init__()
                self.inner = [headless()]

            def call(self, x):
                return self.inner[0](x)

            def compute_output_shape(self, shape):
                return self.inner[0].output_shape

        with pytest.raises(ValueError, match=self.SENTENCE):
            export.to_saved_model(stacked(Block()), tmp_path / "out")


def test_the_preprocessor_of_a_users_model():
    model, images = stacked(headless(), dense()), toys.pixels(2, (16, 16))
    np.testing.assert_array_equal(keras_nest.preprocessor(model)(images), keras_nest.preprocessor(headless())(images))
    raw = stacked(layers.Rescaling(1 / 255), normalization(), headless())
    assert np.max(keras_nest.preprocessor(raw)(images)) > 100
    with pytest.raises(ValueError, match="carries no preprocessing"):
        keras_nest.preprocessor(stacked(layers.Flatten(), dense()))


def test_mixed_precision_is_refused_where_it_cannot_be_written(tmp_path):
    model = stacked(headless(dtype="mixed_bfloat16"), dense())
    for write in (export.to_tflite, export.to_onnx):
        with pytest.raises(ValueError, match="computes in bfloat16, which this format has not"):
            write(model, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_a_graph_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has inputs of shape \[\]; it must have a single one"):
        export.to_saved_model(training.Trainer(toys.build("nest")), tmp_path / "out")


def test_gray_images():
    base = headless(in_channels=1)
    model, images = stacked(base, dense(), channels=1), toys.pixels(2)[..., :1]
    exported = as_exported(model)
    toys.assert_close(on_unit_images(exported, exported)(images), model(toys.normalized(base, images)))


def test_what_has_no_card_is_not_published(tmp_path):
    with pytest.raises(ValueError, match="is no image model of keras_nest, nor one around such"):
        export.publish(stacked(layers.Flatten(), dense()), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_own_models_are_left_as_they_are():
    model = toys.build("nest")
    assert as_exported(model) is model
    assert find_preprocessing(model) is model.config["preprocessing"]
