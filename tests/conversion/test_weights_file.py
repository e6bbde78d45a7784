"""Files of `save_weights`: loaded by name, into another head, and in words where they do not fit."""

import warnings

import keras
import numpy as np
import pytest

import keras_nest
from tests import families
from tests.families import inputs_of

VIT = {"patch_size": 8, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 8}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A ViT of three classes and images of 16 x 16, and its file of weights."""
    path = tmp_path_factory.mktemp("weights") / "vit.weights.h5"
    model = families.vit()
    model.save_weights(path)
    return model, path


def create(path, **fields):
    return keras_nest.create_model("ViT-Ti_16", weights=str(path), **{**VIT, **fields})


def test_head_and_image_size_are_those_of_the_file(saved):
    model, path = saved
    again = create(path)
    assert (again.num_classes, again.image_size) == (3, (16, 16))
    np.testing.assert_array_equal(again(inputs_of(model)), model(inputs_of(model)))


def test_another_head_and_image_size(saved):
    model, path = saved
    new = create(path, num_classes=5, image_size=24, reinit_head=True)
    assert new.output_shape == (None, 5)
    for ours, theirs in zip(
        new.get_layer("Transformer").blocks[1].weights, model.get_layer("Transformer").blocks[1].weights, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    embedding = create(path, num_classes=0)
    np.testing.assert_array_equal(
        embedding(inputs_of(model)), keras.Model(model.input, model.endpoints["pre_logits"])(inputs_of(model))
    )


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"num_classes": 5}, "a head of 3 classes, the model has 5; pass reinit_head=True"),
        (
            {"hidden_size": 16},
            r"embedding \(\(8, 8, 3, 8\) and \(8,\) in the file, \(8, 8, 3, 16\) and \(16,\) in the model\)",
        ),
    ],
)
def test_says_what_does_not_fit(saved, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        create(saved[1], **fields)


def test_a_name_is_needed(saved):
    with pytest.raises(ValueError, match="does not tell which model it is"):
        keras_nest.create_model(weights=str(saved[1]))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        create(tmp_path / "none.weights.h5")
    (tmp_path / "cut.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match="cannot be read"):
        create(tmp_path / "cut.weights.h5")


def test_skip_mismatch_names_in_a_sentence_what_it_left(saved):
    model, path = saved
    new = families.vit(num_classes=5)
    head = new.get_layer("head").get_weights()
    with pytest.warns(UserWarning, match="does not fit") as told:
        new.load_weights(path, skip_mismatch=True)
    [sentence] = [str(warning.message) for warning in told if warning.category is UserWarning]
    assert "head ((8, 3) and (3,) in the file, (8, 5) and (5,) in the model), left as it was" in sentence
    assert len(sentence) < 300
    np.testing.assert_array_equal(new.get_layer("head").get_weights()[0], head[0])
    np.testing.assert_array_equal(
        new.get_layer("embedding").get_weights()[0], model.get_layer("embedding").get_weights()[0]
    )


def test_what_fits_is_loaded_without_a_word(saved):
    model, path = saved
    new = families.vit()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "__array__ implementation")
        new.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(new(inputs_of(model)), model(inputs_of(model)))
    with pytest.raises(ValueError, match=r"does not fit 'ViT-Ti_16': head \("):
        families.vit(num_classes=5).load_weights(path)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["a layer inside a block", "some of its variables"])
def test_the_optimizer_of_a_partly_frozen_model_goes_on(tmp_path, part):
    model = families.vit()
    dense = model.get_layer("Transformer").blocks[0].mlp.dense[0]
    if part == "a layer inside a block":
        dense.trainable = False
    else:
        dense.kernel.trainable = False
    mine = keras.Sequential([model, keras.layers.Dense(2)])
    x, y = inputs_of(model, 4), np.arange(4) % 2
    mine.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    mine.fit(x, y, epochs=2, verbose=0)
    mine.save(tmp_path / "mine.keras")
    again = keras.saving.load_model(tmp_path / "mine.keras")
    for ours, theirs in zip(again.optimizer.variables, mine.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for each in (mine, again):
        each.fit(x, y, shuffle=False, verbose=0)
    for ours, theirs in zip(again.get_weights(), mine.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
