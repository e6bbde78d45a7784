"""Checkpoints into models: everything fits, or one sentence says what does not."""

import functools
import logging

import keras
import numpy as np
import pytest

import keras_nest
from keras_nest import conversion
from keras_nest.conversion.legacy import to_linen
from tests import keras_models
from tests.golden import loading

TINY = str(loading.FOLDER / "checkpoint_tiny")
# Fields in which the stand-in differs from the published nest_tiny; its size and head are read off the file.
FIELDS = {"embedding_dim": 6, "init_patch_embed_size": 2, "num_layers_per_block": (1, 1, 2)}


def create(weights=TINY, **fields):
    return keras_nest.create_model("nest_tiny", weights=weights, **{**FIELDS, **fields})


@functools.cache
def loaded():
    """The stand-in as it is; no test may change it."""
    return create()


@functools.cache
def reheaded():
    """The stand-in with a new head of seven classes; no test may change it."""
    return create(num_classes=7, reinit_head=True)


@pytest.mark.parametrize("name", ["checkpoint_tiny", "checkpoint_bn"])
def test_published_layout(name):
    case = loading.case(name)
    fields = {"scale_hidden_dims": None, **case.config}
    del fields["num_classes"], fields["patch_size"]
    model = keras_nest.create_model("nest_tiny", weights=loading.FOLDER / name / "ckpt.39", **fields)
    assert model.num_classes == 5
    assert model.image_size == case.images.shape[1:3]
    assert keras_models.gap(model(case.images).numpy(), case.expected["logits"]) <= keras_models.SMALL_LOGITS


def test_fine_tuning_at_another_size_is_the_reference_loader(caplog):
    case = loading.case("checkpoint_tiny_resized")
    with caplog.at_level(logging.WARNING, "keras_nest"):
        model = create(image_size=64)
    assert keras_models.gap(model(case.images).numpy(), case.expected["logits"]) <= keras_models.SMALL_LOGITS
    resized = loading.arrays("checkpoint_tiny_resized")
    assert len(resized) == len(caplog.messages) == 3
    assert "PositionEmbedding_0/pos_embedding was resized from 4 x 4 to 8 x 8 tokens" in caplog.text
    tree = conversion.model_tree(model)
    for path, value in resized.items():
        np.testing.assert_allclose(tree[f"params/{path}"], value, atol=1e-7)


@pytest.mark.slow
def test_full_size_resize():
    case = loading.case("nest_tiny_s196_224_resized_to384")
    model = keras_nest.create_model("nest_tiny", image_size=384)
    original = loading.case("nest_tiny_s196_224")
    report = conversion.load_weights(model, keras_models.tree(original))
    assert len(report.changed) == 3
    assert keras_models.gap(model(case.images).numpy(), case.expected["logits"]) <= keras_models.LOGITS


def test_grid_resize_differs_and_rectangles_work():
    by_block, by_grid = create(image_size=(64, 32)), create(image_size=(64, 32), resize_method="grid")
    path = "params/PositionEmbedding_0/pos_embedding"
    assert keras_models.gap(conversion.model_tree(by_block)[path], conversion.model_tree(by_grid)[path]) > 1e-3
    last = "params/PositionEmbedding_2/pos_embedding"  # a single block: both methods are one
    np.testing.assert_allclose(conversion.model_tree(by_block)[last], conversion.model_tree(by_grid)[last], atol=1e-7)


class TestHead:
    def test_another_size_is_refused(self):
        with pytest.raises(ValueError, match=r"head of 5 classes, the model has 7; pass reinit_head=True"):
            create(num_classes=7)

    def test_a_new_one_is_zero(self):
        model = reheaded()
        assert model.num_classes == 7
        assert not np.any(model(np.ones((1, 32, 32, 3), np.float32)))
        assert not np.any(create(reinit_head=True).get_layer("Dense_0").get_weights()[0])

    def test_the_body_is_the_checkpoints(self):
        ours, theirs = conversion.model_tree(reheaded()), conversion.read_checkpoint(TINY)
        for path in set(theirs) - {"params/Dense_0/kernel", "params/Dense_0/bias"}:
            np.testing.assert_array_equal(ours[path], theirs[path])

    def test_models_without_one_skip_it(self):
        case = loading.case("checkpoint_tiny")
        embedding = create(num_classes=0)
        pooled = keras_models.endpoints(loaded(), case.images, ["pre_logits"])["pre_logits"]
        np.testing.assert_allclose(embedding(case.images), pooled, atol=1e-6)
        assert list(create(features_only=True).output) == ["P1", "P2", "P3"]

    @pytest.mark.slow
    def test_a_checkpoint_without_one(self, tmp_path):
        create(num_classes=0).save(tmp_path / "body.keras")
        assert create(tmp_path / "body.keras").num_classes == 0
        with pytest.raises(ValueError, match="no head, the model has 3"):
            create(tmp_path / "body.keras", num_classes=3)
        assert create(tmp_path / "body.keras", num_classes=3, reinit_head=True).num_classes == 3


class TestMisfits:
    def test_another_architecture(self):
        with pytest.raises(ValueError, match=r"does not fit nest_tiny.*Conv_0/kernel is \(4, 4, 3, 8\)") as error:
            create(loading.FOLDER / "checkpoint_bn")
        assert "(2, 2, 3, 6) in the model" in str(error.value)
        assert "and " in str(error.value)

    def test_missing_and_extra_tensors(self, tmp_path):
        tree = conversion.read_checkpoint(TINY)
        tree["params/Extra_0/kernel"] = tree.pop("params/LayerNorm_0/scale")
        model = loaded()
        before = conversion.model_tree(model)
        with pytest.raises(ValueError, match="lacks LayerNorm_0/scale; the model lacks Extra_0/kernel"):
            conversion.load_weights(model, tree)
        after = conversion.model_tree(model)
        assert all(np.array_equal(before[path], after[path]) for path in before)

    def test_nothing_is_loaded_unless_all_is(self):
        model = keras_models.build(loading.case("small_mh_scale2"))
        before = conversion.model_tree(model)
        with pytest.raises(ValueError, match="tensors differ"):
            conversion.load_weights(model, keras_models.tree(loading.case("small_mq_scale2")))
        assert all(np.array_equal(before[path], value) for path, value in conversion.model_tree(model).items())

    def test_unknown_resize_method(self):
        with pytest.raises(ValueError, match="must be one of block, grid"):
            create(image_size=64, resize_method="bicubic")


def test_nan_is_a_warning():
    tree = conversion.read_checkpoint(TINY)
    tree["params/LayerNorm_0/scale"] = tree["params/LayerNorm_0/scale"] * np.nan
    with pytest.warns(UserWarning, match="NaN or infinite values in LayerNorm_0/scale"):
        conversion.load_weights(create(), tree)


def test_group_norm_vectors_of_old_flax():
    case = loading.case("small_mh_gn")
    tree = {
        path: value.reshape(1, 1, 1, -1) if "GroupNorm" in path else value
        for path, value in keras_models.tree(case).items()
    }
    model = keras_models.load(case, to_linen(tree))
    assert keras_models.differences(model, case)["logits"] <= keras_models.SMALL_LOGITS


@pytest.mark.slow
def test_keras_files_know_their_rectangle(tmp_path, caplog):
    """Blocks of 2 x 8 tokens: as many as in the 4 x 4 of a square image, but laid out otherwise."""
    create(image_size=(16, 64)).save(tmp_path / "wide.keras")
    wide = conversion.read_checkpoint(tmp_path / "wide.keras")
    caplog.clear()
    again = create(tmp_path / "wide.keras")
    assert again.image_size == (16, 64)
    assert not caplog.messages
    path = "params/PositionEmbedding_0/pos_embedding"
    np.testing.assert_array_equal(conversion.model_tree(again)[path], wide[path])
    square = create(tmp_path / "wide.keras", image_size=32)
    assert "from 2 x 8 to 4 x 4" in caplog.text
    corner = conversion.model_tree(square)[path].reshape(16, 4, 4, 6)[:, 0, -1]
    np.testing.assert_allclose(corner, wide[path].reshape(16, 2, 8, 6)[:, 0, -1], atol=1e-7)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "broken.keras").write_bytes(b"PK nothing")
    with pytest.raises(ValueError, match=r"broken\.keras cannot be read as a Keras model"):
        create(tmp_path / "broken.keras")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(tmp_path / "dense.keras")
    with pytest.raises(ValueError, match="holds a Sequential, which is no model of keras_nest"):
        create(tmp_path / "dense.keras")
