"""ViT, hybrid and Mixer checkpoints into models: what fits, what is fitted, what is refused."""

import logging

import numpy as np
import pytest

from keras_nest import conversion
from tests import keras_models
from tests.golden import synthetic, vit_loading
from tests.vit_checkpoints import POSITIONS, create, loaded, tensor

CASES = vit_loading.facts("checkpoints/load_pretrained")
RESULTS = vit_loading.arrays("checkpoints/load_pretrained")


def create_case(name, **fields):
    """The model of a case of `load_pretrained.json`, with a new head, as the reference always has it."""
    case = CASES[name]
    config = vit_loading.flat_config(case["config"], case["num_classes"]) | fields
    size = tuple(case["image_shape"][:2])
    return create(case["checkpoint"], image_size=size, reinit_head=True, **config)


def logits_gap(model, images, expected):
    return keras_models.gap(np.asarray(model(images)), expected)


@pytest.fixture
def said(caplog):
    """What the loader tells the user."""
    caplog.set_level(logging.INFO, "keras_nest")
    return caplog


@pytest.mark.parametrize("name", vit_loading.CHECKPOINTS)
class TestStandIns:
    @pytest.mark.slow
    def test_logits_and_tensors(self, name, said):
        """Outputs cannot see the biases of keys, nor the last one over Mixer's tokens."""
        checkpoint = vit_loading.checkpoint(name)
        model = create(name)
        assert logits_gap(model, checkpoint.images, checkpoint.logits) <= keras_models.SMALL_LOGITS
        assert model.num_classes == 11
        assert model.image_size == checkpoint.images.shape[1:3]
        assert model.config.get("representation_size") == checkpoint.config.get("representation_size")
        assert not said.messages
        ours, theirs = conversion.model_tree(model), conversion.read_checkpoint(checkpoint.path)
        assert set(ours) == set(theirs)
        assert synthetic.checksum(ours) == pytest.approx(checkpoint.param_checksum, rel=1e-9)
        assert all(np.array_equal(ours[path], value) for path, value in theirs.items())

    def test_inside_a_train_state(self, name, tmp_path):
        """The SAM files keep parameters below opt/target, and two sets of moments beside them."""
        path = vit_loading.checkpoint(name).path
        with np.load(path) as file:
            state = {f"opt/target/{path}": value for path, value in file.items()}
            for moment in ("grad_ema", "grad_sq_ema"):
                state |= {f"opt/state/param_states/{path}/{moment}": value * 9 for path, value in file.items()}
        np.savez(tmp_path / "state.npz", **state, **{"opt/state/step": np.int32(7)})
        found, expected = conversion.read_checkpoint(tmp_path / "state.npz"), conversion.read_checkpoint(path)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[path], value) for path, value in expected.items())


class TestWhereTheReferenceWorks:
    """Same weights, the head that the reference takes from its new model, same logits."""

    @pytest.mark.parametrize(
        "name", [name for name in CASES if f"{name}:logits" in RESULTS and name != "fewer_layers_than_file"]
    )
    def test_logits(self, name, said):
        case = CASES[name]
        model = create_case(name)
        assert not np.any(model(np.ones((1, *case["image_shape"]), np.float32)))  # the new head
        head = model.get_layer("head")
        leaves = zip(("kernel", "bias"), head.weights, strict=True)
        head.set_weights([synthetic.leaf(f"head/{leaf}", weight.shape, "fresh:") for leaf, weight in leaves])
        images = synthetic.images(case["images_seed"], (2, *case["image_shape"]))
        assert logits_gap(model, images, RESULTS[f"{name}:logits"]) <= keras_models.SMALL_LOGITS
        for path in case["resized"]:
            np.testing.assert_allclose(tensor(model, path), RESULTS[f"{name}:{path}"], atol=1e-6)
        dropped = case["pre_logits_node"] == "absent" and case["checkpoint"].startswith("vit_rep")
        assert "The head was set to zero." in said.text
        assert (f"{POSITIONS} was resized from" in said.text) == bool(case["resized"])
        assert ("Of the checkpoint, pre_logits was not used." in said.text) == dropped

    def test_all_of_them_are_compared(self):
        compared = {key.partition(":")[0] for key in RESULTS}
        assert compared == {name for name, case in CASES.items() if case.get("applies") is True}
        assert len(compared) == 8


class TestWhereTheReferenceIsCareless:
    @pytest.mark.slow
    def test_the_head_is_not_dropped_in_silence(self):
        """The reference takes any head from the new model; here it is kept, or refused in a sentence."""
        with pytest.raises(ValueError, match="head of 11 classes, the model has 5; pass reinit_head=True"):
            create("vit_linen", num_classes=5)

    def test_a_representation_layer_that_the_file_lacks(self, said):
        """The reference's model has no such parameter and cannot be applied."""
        model = create_case("rep_wanted_but_not_in_file")
        for leaf in ("kernel", "bias"):
            assert f"pre_logits/{leaf} is not in the checkpoint and starts with random values." in said.messages
        assert model(np.ones((1, 16, 16, 3), np.float32)).shape == (1, 5)
        with pytest.raises(ValueError, match="the checkpoint lacks pre_logits/kernel, pre_logits/bias"):
            create("vit_linen", representation_size=16)

    @pytest.mark.parametrize("size", [(16, 16), (16, 24), (8, 8)])
    def test_gap_model_from_token_file(self, size, said):
        """The class token and its position are left out; the tokens are then those of a token model."""
        token, gap = (
            create("vit_rep_linen", image_size=size),
            create("vit_rep_linen", image_size=size, classifier="gap"),
        )
        assert "Of the checkpoint, cls was not used." in said.messages
        np.testing.assert_array_equal(tensor(gap, POSITIONS), tensor(token, POSITIONS)[:, 1:])

    def test_token_unpooled_at_another_size(self, said):
        """The class token's position is kept, as for "token", whose class token's logits are those of its own."""
        token, unpooled = (create("vit_rep_linen", image_size=24, classifier=c) for c in ("token", "token_unpooled"))
        assert said.text.count(f"{POSITIONS} was resized from 4 x 4 to 6 x 6 tokens.") == 2
        images = synthetic.images(43, (2, 24, 24, 3))
        assert unpooled(images).shape == (2, 37, 11)
        np.testing.assert_allclose(unpooled(images)[:, 0], token(images), atol=1e-5)

    def test_non_square_image(self, said):
        model = create_case("non_square_image")
        assert f"{POSITIONS} was resized from 4 x 4 to 4 x 6 tokens." in said.messages
        with np.load(vit_loading.checkpoint("vit_linen").path) as file:
            token, old = file[POSITIONS][:, :1], file[POSITIONS][0, 1:].reshape(4, 4, -1)
        ours = tensor(model, POSITIONS)
        np.testing.assert_array_equal(ours[:, :1], token)
        new = ours[0, 1:].reshape(4, 6, -1)
        expected = [[np.interp(np.linspace(0, 3, 6), range(4), line) for line in row.T] for row in old]
        np.testing.assert_allclose(new, np.moveaxis(expected, 1, 2), atol=1e-6)

    def test_other_depths(self, said):
        create_case("fewer_layers_than_file")
        assert "The first 2 of 12 blocks Transformer/encoderblock_… are used, and the others left out." in said.messages
        with pytest.raises(
            ValueError, match="num_layers is 3, and the checkpoint has 2 blocks; give no more than that"
        ):
            create_case("more_layers_than_file")

    def test_layers_that_the_user_takes_out_of_the_file(self, tmp_path):
        """What the reference makes of a file with more layers than the model: it runs the first ones."""
        case = CASES["fewer_layers_than_file"]
        tree = conversion.read_checkpoint(vit_loading.checkpoint(case["checkpoint"]).path)
        for path in case["extra_versus_model"]:
            del tree[f"params/{path}"]
        model = keras_models.ARCHITECTURES["VisionTransformer"](
            **vit_loading.flat_config(case["config"], case["num_classes"]), image_size=16
        )
        heads = {path: (*tree[path].shape[:-1], 5) for path in tree if path.startswith("params/head/")}
        tree |= {path: synthetic.leaf(path.removeprefix("params/"), heads[path], "fresh:") for path in heads}
        conversion.load_weights(model, tree)
        images = synthetic.images(case["images_seed"], (2, 16, 16, 3))
        assert logits_gap(model, images, RESULTS["fewer_layers_than_file:logits"]) <= keras_models.SMALL_LOGITS

    def test_headless_model(self, said):
        """The reference needs a head in both; ours says what it skips, and gives what the head would see."""
        model = create_case("headless_model")
        assert "Of the checkpoint, head was not used." in said.messages
        images = vit_loading.checkpoint("vit_linen").images
        seen = keras_models.endpoints(loaded("vit_linen"), images, ["pre_logits"])["pre_logits"]
        np.testing.assert_allclose(model(images), seen, atol=1e-6)

    def test_all_of_them_are_made(self):
        made = {"rep_wanted_but_not_in_file", "gap_model_from_token_file", "token_unpooled_other_size"}
        made |= {"non_square_image", "fewer_layers_than_file", "more_layers_than_file", "headless_model"}
        working = {key.partition(":")[0] for key in RESULTS} - {"fewer_layers_than_file"}
        assert set(CASES) == made | working


class TestHead:
    def test_one_trained_on_a_layer_that_is_left_out_is_refused(self):
        sentence = (
            "its head was trained on the layer pre_logits, which the model lacks; .* or representation_size=16 to"
        )
        with pytest.raises(ValueError, match=sentence):
            create("vit_rep_linen", representation_size=None)

    def test_a_new_one_does_without_that_layer(self, said):
        assert create("vit_rep_linen", num_classes=3, reinit_head=True).config["representation_size"] is None
        assert "Of the checkpoint, pre_logits was not used." in said.messages

    def test_headless_models_may_keep_it(self):
        checkpoint = vit_loading.checkpoint("vit_rep_linen")
        assert np.abs(create("vit_rep_linen", num_classes=0)(checkpoint.images)).max() < 1  # behind tanh
        assert np.abs(create("vit_rep_linen", num_classes=0, representation_size=None)(checkpoint.images)).max() > 1

    @pytest.mark.parametrize("name", ["vit_rep_linen", "hybrid_pre_linen_gn4d", "mixer_linen"])
    def test_files_without_one(self, name, tmp_path):
        conversion.write_checkpoint(create(name, num_classes=0), tmp_path / "body.npz")
        assert create(name, tmp_path / "body.npz").num_classes == 0
        with pytest.raises(ValueError, match="it has no head, the model has 3"):
            create(name, tmp_path / "body.npz", num_classes=3)
        model = create(name, tmp_path / "body.npz", num_classes=3, reinit_head=True)
        size = model.image_size
        assert not np.any(model(np.ones((1, *size, 3), np.float32)))
