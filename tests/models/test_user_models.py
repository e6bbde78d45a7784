"""Models of this package inside models of users: through every door, for families that differ in what they have."""

import copy
import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_nest
from keras_nest import explain, export
from keras_nest.cli.commands import main
from keras_nest.models.user_model import as_image_model, model_inside
from keras_nest.predict.open import build_predictor
from tests import families
from tests.user_models import CLASSES, FAMILIES, WRAPPERS, Case, flat, functional, same


@pytest.fixture(scope="module")
def cases():
    made = {}
    return lambda family: made.setdefault(family, None) or made.update({family: Case(family)}) or made[family]


# Every family, and every wrapper around one.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "wrapper"),
    [*(("NesT", wrapper) for wrapper in WRAPPERS), *((family, "flat") for family in FAMILIES if family != "NesT")],
)
def test_what_is_inside_is_found_in_memory_and_in_a_file(cases, family, wrapper, tmp_path):
    case = cases(family)
    model = case.wrapped(wrapper)
    model.save(tmp_path / "user.keras")
    loaded = keras_nest.open_model(tmp_path / "user.keras").model
    assert type(loaded) is type(model)
    for each in (model, loaded):
        same(each(case.images, training=False), case.logits)
        spec = keras_nest.preprocessor(case.classifier).get_config()
        assert keras_nest.preprocessor(each).get_config() == spec
        same(
            explain.class_activation_map(each, case.images, 1),
            explain.class_activation_map(case.classifier, case.images, 1),
        )
        found = model_inside(each)
        assert type(found) is type(case.base)
        same(found(case.images, training=False), case.base(case.images, training=False))


@pytest.mark.slow
def test_copies_of_all_kinds_know_what_they_take(cases):
    case = cases("ViT")
    model = case.wrapped("flat")
    copies = {
        "deepcopy": copy.deepcopy(model),
        "pickle": pickle.loads(pickle.dumps(model)),
        "clone": keras.models.clone_model(model),
        "clone of ours": keras.models.clone_model(case.classifier),
        "on another input": keras.models.clone_model(model, input_tensors=keras.Input(model.input_shape[1:])),
        "by a function": keras.models.clone_model(
            model, clone_function=lambda layer: type(layer).from_config(layer.get_config())
        ),
    }
    for name, made in copies.items():
        made.set_weights((case.classifier if name == "clone of ours" else model).get_weights())
        same(made(case.images, training=False), case.logits)
        assert keras_nest.preprocessor(made).mean == keras_nest.preprocessor(case.classifier).mean, name
        same(
            explain.class_activation_map(made, case.images, 1),
            explain.class_activation_map(case.classifier, case.images, 1),
        )


@pytest.mark.slow
def test_paths_and_attention_are_those_of_the_model_inside(cases):
    nest, vit = cases("NesT"), cases("ViT")
    for wrapper in WRAPPERS:
        model = nest.wrapped(wrapper)
        ours, theirs = (explain.gradcat(each, nest.images, 1).levels for each in (model, nest.classifier))
        for found, expected in zip(ours, theirs, strict=True):
            same(found.map, expected.map)
            assert np.array_equal(found.box, expected.box)
        found, expected = (explain.attention_maps(each, nest.images) for each in (model, nest.classifier))
        same([level.maps for level in found], [level.maps for level in expected])
        found, expected = (explain.attention_rollout(x, vit.images) for x in (vit.wrapped(wrapper), vit.classifier))
        same(found, expected)


@pytest.mark.parametrize("end", ["dense", "layer", "sigmoid", "of the model inside"])
def test_logits_before_an_activation_are_found(cases, end):
    case = cases("NesT")
    if end == "dense":
        model = case.wrapped("functional", activation="softmax")
    elif end == "of the model inside":
        ours = case.classifier.with_fields(classifier_activation="softmax")
        ours.set_weights(case.classifier.get_weights())
        inputs = keras.Input(ours.input_shape[1:])
        model = keras.Model(inputs, ours(inputs))
    else:
        last = keras.layers.Softmax() if end == "layer" else keras.layers.Activation("sigmoid")
        model = keras.Sequential([case.wrapped("functional"), last])
    network = as_image_model(model)
    assert network.classifier_activation == ("sigmoid" if end == "sigmoid" else "softmax")
    same(keras.Model(network.inputs, network.endpoints["logits"])([case.images]), case.logits)
    same(
        explain.class_activation_map(network, case.images, 1),
        explain.class_activation_map(case.classifier, case.images, 1),
    )


@pytest.mark.slow
@pytest.mark.parametrize("pack", [lambda x: [x], lambda x: (x,), lambda x: {"image": x}])
def test_one_input_and_one_output_in_a_list(cases, pack, tmp_path):
    case = cases("NesT")
    images = keras.Input(case.base.input_shape[1:], name="image")
    model = keras.Model(pack(images), [case.head()(case.base(images))])
    expected = explain.class_activation_map(case.classifier, case.images, 1)
    same(explain.class_activation_map(model, case.images, 1), expected)
    model.save(tmp_path / "packed.keras")
    predictor = build_predictor(keras_nest.open_model(tmp_path / "packed.keras"))
    assert predictor.probabilities(case.unit).shape == (2, CLASSES)
    served = tf.saved_model.load(export.to_saved_model(model, tmp_path / "served"))
    same(served(tf.constant(case.unit)), case.logits, 1e-5)


class TestRefused:
    @pytest.mark.slow
    def test_a_map_through_a_head_that_is_not_linear(self, cases):
        case = cases("NesT")
        hidden = keras.layers.Dense(4, activation="gelu")
        model = functional(case.base, lambda x: keras.layers.Dense(CLASSES)(hidden(x)))
        with pytest.raises(ValueError, match="not linear"):
            explain.class_activation_map(model, case.images, 1)
        with pytest.raises(tf.errors.InvalidArgumentError, match="not linear"):
            tf.function(lambda images: explain.class_activation_map(model, images, 1))(tf.constant(case.images))
        explain.gradcat(model, case.images, 1)

    def test_no_head_and_several(self, cases):
        case = cases("NesT")
        embedding = functional(case.base, lambda x: keras.layers.Dropout(0.1)(x))
        several = functional(case.base, lambda x: [keras.layers.Dense(2)(x), keras.layers.Dense(3)(x)])
        for model, remedy in ((embedding, "must be a classifier"), (several, "take that of its outputs")):
            with pytest.raises(ValueError, match=f"no head that gives one answer.*{remedy}"):
                explain.gradcat(model, case.images, 1)
        # The remedy works.
        explain.gradcat(keras.Model(several.inputs, several.outputs[0]), case.images, 1)

    def test_two_models(self, cases, tmp_path):
        case = cases("NesT")
        fields = {**case.base.config, "name": "second"}
        other = keras_nest.NesT(**fields)
        inputs = keras.Input(case.base.input_shape[1:])
        joined = keras.layers.Concatenate()([case.base(inputs), other(inputs)])
        model = keras.Model(inputs, keras.layers.Dense(CLASSES)(joined))
        model.save(tmp_path / "two.keras")
        assert keras_nest.preprocessor(model).mean == keras_nest.preprocessor(case.base).mean
        with pytest.raises(ValueError, match="several models"):
            explain.gradcat(model, case.images, 1)
        with pytest.raises(ValueError, match="holds 2 models"):
            keras_nest.create_model(weights=str(tmp_path / "two.keras"))

    def test_what_holds_nothing_of_ours(self):
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
        with pytest.raises(ValueError, match="nor one around such"):
            explain.class_activation_map(model, np.zeros((1, 8, 8, 3), np.float32))

    def test_one_that_is_not_built(self, cases):
        with pytest.raises(ValueError, match="not built"):
            explain.gradcat(keras.Sequential([cases("NesT").base]), cases("NesT").images)


class TestTheModelInside:
    @pytest.mark.slow
    def test_is_what_create_model_takes_out(self, cases, tmp_path):
        case = cases("ViT")
        case.base.get_layer("embedding").trainable = False
        try:
            for wrapper in WRAPPERS:
                case.wrapped(wrapper).save(tmp_path / f"{wrapper}.keras")
                made = keras_nest.create_model(
                    weights=str(tmp_path / f"{wrapper}.keras"), num_classes=7, reinit_head=True
                )
                assert made.num_classes == 7
                assert not made.get_layer("embedding").trainable
                pre_logits = keras.Model(made.input, made.endpoints["pre_logits"])
                same(pre_logits(case.images), case.base(case.images))
        finally:
            case.base.get_layer("embedding").trainable = True

    def test_must_be_whole(self, cases):
        case = cases("ViT")
        part = keras.Model(case.base.input, keras.layers.Flatten()(case.base.endpoints["stem"]))
        with pytest.raises(ValueError, match="lacks its layer"):
            model_inside(part)


def test_two_of_one_architecture_get_names():
    first, second = (families.vit(name, num_classes=0) for name in ("ViT-Ti_16", "ViT-Ti_16")), "second"
    one, other = next(first), keras_nest.create_model("ViT-Ti_16", num_classes=0, name=second, **families._VIT)
    inputs = keras.Input(one.input_shape[1:])
    model = keras.Model(inputs, keras.layers.Add()([one(inputs), other(inputs)]))
    assert [layer.name for layer in model.layers[1:3]] == ["ViT-Ti_16", "second"]
    assert keras_nest.create_model(name="ViT-Ti_16", **families._VIT).name == "ViT-Ti_16"


def test_a_replaced_preprocessing_is_seen_in_a_model_of_the_same_layers():
    base = families.vit(num_classes=0)
    model = flat(base, keras.layers.Dense(2))
    base.config["preprocessing"] = {"mean": [0.1] * 3, "std": [0.2] * 3}
    for each in (model, keras.models.clone_model(model)):
        assert list(keras_nest.preprocessor(each).mean) == [0.1] * 3
    assert type(base).from_config(base.get_config()).config["preprocessing"]["std"] == [0.2] * 3


@pytest.mark.slow
def test_a_file_of_a_user_through_the_commands(cases, tmp_path, capsys):
    model = cases("NesT").wrapped("functional", activation="softmax")
    model.save(tmp_path / "own.keras")
    (tmp_path / "classes.txt").write_text("cat\ndog\nowl\n")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(tmp_path / "a.png")
    own, image = str(tmp_path / "own.keras"), str(tmp_path / "a.png")
    for words in (["predict", image, "--model", own], ["explain", image, "--model", own, "--method", "cam"]):
        assert main(words) == 0
        output = capsys.readouterr().out
        assert any(name in output for name in ("cat", "dog", "owl"))
    assert main(["info", own]) == 0
    assert "NesT" in capsys.readouterr().out
    assert main(["export", own, "--format", "saved_model", "--output", str(tmp_path / "served")]) == 0
    card = (tmp_path / "served" / "1" / "README.md").read_text()
    assert "architecture NesT in a model around it" in card
    assert "cat, dog, owl" in card


def test_other_inputs_than_images_are_refused_where_only_images_are_given(cases, tmp_path):
    base = cases("NesT").base
    images, more = keras.Input(base.input_shape[1:]), keras.Input((2,))
    joined = keras.layers.Concatenate()([base(images), more])
    keras.Model([images, more], keras.layers.Dense(2)(joined)).save(tmp_path / "two.keras")
    loaded = keras_nest.open_model(tmp_path / "two.keras")
    assert keras_nest.preprocessor(loaded.model).image_size == base.image_size
    with pytest.raises(ValueError, match="takes 2 inputs; it must take images alone"):
        build_predictor(loaded)
    for write in (export.to_saved_model, export.publish, export.to_tflite, export.to_onnx):
        with pytest.raises(ValueError, match=r"has 2 inputs, .*; write it with Keras' own model.export\(path\)"):
            write(loaded.model, tmp_path / "served")
