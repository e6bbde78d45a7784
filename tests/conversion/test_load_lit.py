"""Files of LiT into models and back."""

import shutil

import numpy as np
import pytest

from keras_nest import conversion
from keras_nest.cli import main
from keras_nest.conversion.verify import largest_difference
from tests import keras_models, lit_models
from tests.golden import lit_loading, synthetic

POSITIONS = "params/img/Transformer/posembed_input/pos_embedding"


def stored():
    with np.load(lit_loading.PRE_LINEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def model():
    return lit_models.create()


def test_embeddings(model):
    case = lit_loading.case("lit_bert")
    outputs = model({"images": case.images, "tokens": case.tokens})
    for name, value in outputs.items():
        assert keras_models.gap(np.asarray(value), case.expected[name]) <= 5e-6, name
    assert model.image_size == (8, 8)


def test_older_and_newer_names_are_the_same_model(model, tmp_path):
    case = lit_loading.case("lit_bert")
    np.savez(tmp_path / "linen.npz", **case.params)
    newer = conversion.model_tree(lit_models.create(tmp_path / "linen.npz"))
    assert newer.keys() == lit_models.tree(case.params).keys()
    for path, value in conversion.model_tree(model).items():
        np.testing.assert_array_equal(value, newer[path])
        np.testing.assert_array_equal(value, case.params[path.removeprefix("params/")])


def test_back_into_the_published_file(model, tmp_path):
    conversion.write_checkpoint(model, tmp_path / "model.npz", layout="pre_linen")
    theirs = stored()
    with np.load(tmp_path / "model.npz") as ours:
        assert set(ours) == set(theirs)
        assert all(ours[path].tobytes() == value.tobytes() for path, value in theirs.items())


def test_names_of_a_text_transformer_do_not_age(tmp_path):
    case = lit_loading.case("lit_text_transformer")
    model = lit_models.build(case)
    conversion.write_checkpoint(model, tmp_path / "old.npz", layout="pre_linen")
    with np.load(tmp_path / "old.npz") as file:
        assert {path for path in file if path.startswith("txt")} == {p for p in case.params if p.startswith("txt")}
        assert "img/Transformer/encoderblock_0/MlpBlock_3/Dense_0/kernel" in file
    tree = conversion.read_checkpoint(tmp_path / "old.npz")
    assert synthetic.checksum(tree) == pytest.approx(synthetic.checksum(case.params), rel=1e-12)
    assert tree.keys() == lit_models.tree(case.params).keys()


def test_there_is_no_head_to_start_anew():
    with pytest.raises(ValueError, match=r"a LiT has no head to start anew; leave reinit_head out\.$"):
        lit_models.create(lit_loading.PRE_LINEN, reinit_head=True)


def test_another_image_size(model, caplog):
    larger = lit_models.create(image_size=16)
    assert "img/Transformer/posembed_input/pos_embedding was resized from 2 x 2 to 4 x 4 tokens." in caplog.text
    positions = conversion.model_tree(larger)[POSITIONS]
    old = conversion.model_tree(model)[POSITIONS]
    np.testing.assert_array_equal(positions[:, 0], old[:, 0])
    np.testing.assert_allclose(positions[0, [1, 4, 13, 16]], old[0, 1:], atol=1e-6)
    assert larger.encode_image(np.zeros((1, 16, 16, 3), np.float32)).shape == (1, 10)


@pytest.mark.slow
def test_verified_against_flax(model):
    tree = conversion.model_tree(model)
    difference, scale = largest_difference(model, tree)
    assert difference <= 1e-5 < 0.5 < scale
    tree["params/txt/head/bias"] = tree["params/txt/head/bias"] + 1
    assert largest_difference(model, tree)[0] > 1e-2


def test_a_vocabulary_of_another_size():
    message = r"embedders_token_ids/embedding is \(50, 16\) in the checkpoint and \(60, 16\) in the model"
    with pytest.raises(ValueError, match=message):
        lit_models.create(text_model={"vocab_size": 60})


def test_a_file_of_one_tower(tmp_path):
    image = {path.removeprefix("img/"): value for path, value in stored().items() if path.startswith("img/")}
    np.savez(tmp_path / "vit.npz", **image)
    with pytest.raises(ValueError, match="the checkpoint lacks img/"):
        lit_models.create(tmp_path / "vit.npz")


def test_commands(tmp_path, capsys):
    """Converted by its file name, and described."""
    towers = lit_loading.case("lit_bert").config
    settings = [
        f"--set={field}={ {k: v for k, v in tower.items() if k != 'class_name'} }" for field, tower in towers.items()
    ]
    shutil.copy(lit_loading.PRE_LINEN, tmp_path / "LiT-B16B.npz")
    paths = [str(tmp_path / "LiT-B16B.npz"), str(tmp_path / "model.keras")]
    assert main(["convert", *paths, *settings]) == 0
    assert main(["info", paths[1]]) == 0
    output = capsys.readouterr().out
    assert "9,245" in output
    assert "8 x 8 x 3, 8" in output
