"""What the signatures answer, for models of every kind."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest.export.module import reusable_object
from keras_nest.export.signatures import create_signatures
from tests import keras_models
from tests.export import toys


def create(model, **options):
    """The signatures before they are saved: all that is asked here is what they compute."""
    return create_signatures(reusable_object(model), model, **options)


def outputs(signature):
    """Names and shapes of what a signature gives."""
    structure = signature.get_concrete_function().structured_outputs
    return {name: tuple(value.shape) for name, value in structure.items()}


@pytest.fixture(scope="module")
def nest():
    """A model, its object and its signatures."""
    model = toys.build("nest")
    module = reusable_object(model)
    return model, module, create_signatures(module, model, class_names=toys.CLASS_NAMES)


@pytest.mark.slow
def test_probabilities_and_the_five_best_classes(nest):
    model, _, signatures = nest
    images = toys.pixels(7)
    answer = {name: value.numpy() for name, value in signatures["serving_default"](images).items()}
    logits = toys.logits(model, images)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    best = np.argsort(-logits, axis=-1)[:, :5]
    toys.assert_close(answer["logits"], logits)
    toys.assert_close(answer["probabilities"], probabilities)
    assert answer["classes"].dtype == np.int32
    np.testing.assert_array_equal(answer["classes"], best)
    toys.assert_close(answer["scores"], np.take_along_axis(probabilities, best, axis=-1))


def test_few_classes_and_sigmoid(small_nest, images):
    model, x = small_nest(num_classes=3), images(2)
    answer = create(model, activation="sigmoid")["serving_default"](x)
    assert answer["classes"].shape == answer["scores"].shape == (2, 3)
    toys.assert_close(answer["probabilities"], 1 / (1 + np.exp(-toys.logits(model, x))))


@pytest.mark.slow
def test_names_come_with_files_only_where_they_are_known(nest):
    """OpenVINO, for one, reads no strings: `serving_default` has none."""
    model, module, signatures = nest
    assert outputs(signatures["serving_bytes"])["labels"] == (None, 5)
    assert "labels" not in outputs(signatures["serving_default"])
    assert "labels" not in outputs(create_signatures(module, model)["serving_bytes"])


@pytest.mark.slow
@pytest.mark.parametrize("family", toys.FAMILIES)
def test_embedding_and_maps_are_those_of_the_model(family):
    fields = {"patch_size": 1, "resnet_num_layers": (1,)} if family == "hybrid" else {}
    model, maps = toys.build(family, **fields), toys.build(family, features_only=True, **fields)
    keras_models.copy_weights(model, maps)
    x, signatures = toys.pixels(2, model.image_size), create(model)
    inputs = toys.normalized(model, x)
    expected = keras.Model(model.input, {name: model.endpoints[name] for name in ("pre_logits", "features")})(inputs)
    toys.assert_close(signatures["embed"](x)["embedding"], expected.pop("pre_logits"))
    expected |= maps(inputs)
    answer = signatures["features"](x)
    assert sorted(answer) == sorted(expected)
    for name, value in expected.items():
        toys.assert_close(answer[name], value)


EMBEDDING, MAPS, CLASSES = {"embedding"}, {"P1"}, {"logits", "probabilities", "classes", "scores"}
PARTS = {"features": {*MAPS, "features"}, "embed": EMBEDDING}


def both(name, outputs):
    """A signature, and the one that answers each image."""
    return {name: outputs, f"{name}_each": {*outputs, "status", "message"}}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"num_classes": 0}, {**both("serving_default", EMBEDDING), **both("serving_bytes", EMBEDDING), **PARTS}),
        ({"features_only": True}, {**both("serving_default", MAPS), **both("serving_bytes", MAPS), "features": MAPS}),
        ({"preprocessing": None}, {**both("serving_default", CLASSES), **PARTS}),
        (
            {"preprocessing": None, "in_channels": 4, "image_size": (16, 32)},
            {**both("serving_default", CLASSES), **PARTS},
        ),
    ],
    ids=["no head", "maps", "no preprocessing", "four channels"],
)
def test_a_model_has_the_signatures_that_make_sense(fields, expected, small_nest):
    model = small_nest(**fields)
    signatures = create(model)
    assert {name: set(outputs(signature)) for name, signature in signatures.items()} == expected
    x = np.random.default_rng(0).random((2, *model.input_shape[1:]), np.float32)
    output = model(toys.normalized(model, x) if model.config["preprocessing"] else x)
    name = "logits" if model.num_classes else "embedding"
    answer = signatures["serving_default"](x)
    for key, value in (output if isinstance(output, dict) else {name: output}).items():
        toys.assert_close(answer[key], value)


def test_mixed_precision_gives_float32(small_nest, images):
    model = small_nest(dtype="mixed_bfloat16", features_only=True)
    assert {value.dtype for value in create(model)["features"](images(1)).values()} == {tf.float32}


@pytest.mark.slow
def test_the_other_nest_has_all_of_them(images):
    model = keras_nest.ViTFlaxNesT(
        image_size=16, patch_size=2, dim=16, heads=2, block_repeats=1, num_hierarchies=2, num_classes=10, dropout=0.1
    )
    signatures = create(model)
    toys.assert_close(signatures["serving_default"](images(2))["logits"], model(images(2)))
    assert set(outputs(signatures["features"])) == {"P1", "P2", "features"}


def test_every_position_of_unpooled_logits_is_classified():
    model, x = toys.build("vit", classifier="unpooled"), toys.pixels(2)
    answer = create(model)["serving_default"](x)
    assert answer["classes"].shape == (2, 16, 5)
    toys.assert_close(answer["logits"], toys.logits(model, x))


def test_another_model_than_ours_gives_its_output():
    inputs = keras.Input((4, 4, 3))
    signatures = create(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))
    assert list(signatures) == ["serving_default", "serving_default_each"]
    assert outputs(signatures["serving_default"]) == {"logits": (None, 3)}


@pytest.mark.parametrize("signature", ["serving_default", "embed", "features"])
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((16, 16, 3), np.float32, r"\[16,16,3\] is not compatible with expected shape \[\?,16,16,3\]"),
        ((4, 8, 8, 3), np.float32, r"\[4,8,8,3\] is not compatible with expected shape \[\?,16,16,3\]"),
        ((1, 16, 16, 3), np.uint8, "expected to be a float tensor but is a uint8 tensor"),
        ((0, 16, 16, 3), np.float32, "The batch is empty; it must hold an image at least"),
    ],
    ids=["rank", "size", "dtype", "empty"],
)
def test_bad_pixels_are_refused_and_the_model_goes_on(signature, shape, dtype, message, loaded):
    """In a file, where TensorFlow leaves shapes to the graph."""
    serve = loaded.signatures[signature]
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        serve(tf.zeros(shape, dtype))
    assert len(next(iter(serve(tf.zeros((2, 16, 16, 3))).values()))) == 2


def test_what_checks_shapes_is_read_by_an_assertion_alone(small_nest):
    """TensorFlow.js has another operation of that name; its converter leaves out what only assertions read."""
    graph = create(small_nest())["serving_default"].get_concrete_function().graph
    (check,) = [operation for operation in graph.get_operations() if operation.type == "EnsureShape"]
    read, readers = set(), [check]
    while readers:
        readers = [reader for each in readers for output in each.outputs for reader in output.consumers()]
        read |= {reader.type for reader in readers}
    assert "Assert" in read or "If" in read or "StatelessIf" in read
    assert not read & {"PartitionedCall", "StatefulPartitionedCall", "MatMul", "Identity"}


def test_a_model_that_puts_out_probabilities_has_the_same_signatures(small_nest, images):
    """Its activation is applied once, and is the one of the signature."""
    model, plain = small_nest(classifier_activation="softmax"), small_nest()
    plain.set_weights(model.get_weights())
    expected = create(plain, activation="softmax")["serving_default"](images(2))
    answer = create(model)["serving_default"](images(2))
    assert answer.keys() == expected.keys()
    for name, values in expected.items():
        toys.assert_close(answer[name], values)


UNIT = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)


@pytest.mark.parametrize("door", ["inference", "training", "serving_default", "embed", "features"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (255 * UNIT, r"\[Images have values from\] \[0\..*\] \[to\] \[25.*\] \[; they must lie in \[0, 1\]"),
        (2 * UNIT - 1, "not be normalized yet"),
        (UNIT * np.nan, r"they must lie in \[0, 1\]"),
        (UNIT[:0], "The batch is empty; it must hold an image at least"),
    ],
    ids=["levels", "normalized", "NaN", "empty"],
)
def test_values_that_are_not_in_the_range_are_refused(door, images, message, loaded):
    def call(images):
        if door in ("inference", "training"):
            return loaded(images, training=door == "training")
        return loaded.signatures[door](images)

    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        call(tf.constant(images))
    call(tf.constant(1.2 * UNIT - 0.1))  # what a resize oversteps


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_checks_change_no_number(jit_compile, loaded, published):
    compute = tf.function(loaded.__call__, jit_compile=jit_compile)
    toys.assert_close(compute(UNIT), toys.logits(published("nest")[0], UNIT))
