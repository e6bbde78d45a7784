"""Names and shapes of files older than Flax Linen, and back to them."""

import numpy as np
import pytest

from keras_nest import conversion, registry
from keras_nest.conversion.legacy import to_layout, to_linen
from keras_nest.conversion.tree import select_variables
from tests import keras_models
from tests.golden import loading, vit_loading
from tests.vit_checkpoints import loaded

# Old file and the same weights in a file of today.
PAIRS = {
    "vit_pre_linen": "vit_linen",
    "vit_rep_pre_linen": "vit_rep_linen",
    "hybrid_pre_linen_gn4d": "hybrid_linen",
}
PUBLISHED = vit_loading.facts("manifest")["files"]


def stored(name):
    """A stand-in as it lies in the file."""
    with np.load(vit_loading.checkpoint(name).path) as file:
        return dict(file)


def of_shapes(shapes):
    """Tensors of these shapes that take no memory."""
    return {path: np.broadcast_to(np.float32(0), shape) for path, shape in shapes.items()}


def same(ours, theirs):
    assert set(ours) == set(theirs)
    for path, value in theirs.items():
        assert (ours[path].shape, ours[path].dtype) == (value.shape, value.dtype), path
        assert ours[path].tobytes() == value.tobytes(), path


class TestOldFiles:
    def test_every_old_stand_in_has_its_pair(self):
        old = {name for name in vit_loading.CHECKPOINTS if vit_loading.checkpoint(name).naming != "linen"}
        assert set(PAIRS) == old

    @pytest.mark.parametrize(("old", "new"), PAIRS.items())
    def test_read_as_files_of_today(self, old, new):
        """Twelve layers in the first pair: the eleventh is not the third."""
        assert set(stored(old)) != set(stored(new))
        same(conversion.read_checkpoint(vit_loading.checkpoint(old).path), select_variables(stored(new)))

    def test_published_files(self):
        """Their names and shapes are those of the model, and tell its head, its size and its representation layer."""
        for entry in PUBLISHED:
            facts = {"num_classes": entry["head_classes"], "image_size": entry["image_size"]}
            if entry["pre_logits"]:
                facts["representation_size"] = entry["pre_logits"]
            tree = select_variables(of_shapes(vit_loading.expand(entry["params"])))
            shapes = {path.removeprefix("params/"): value.shape for path, value in tree.items()}
            assert shapes == vit_loading.shapes(entry["config"], **facts), entry["uri"]
            _, architecture, fields = registry.resolve(entry["config"])
            inferred = architecture.infer_fields(fields, shapes)
            assert inferred == facts | {"image_size": (entry["image_size"],) * 2}, entry["uri"]
            assert "representation_size" not in architecture.infer_fields(fields, shapes, new_head=True)


class TestTreesOfToday:
    @pytest.mark.parametrize("name", [name for name in vit_loading.CHECKPOINTS if name not in PAIRS])
    def test_stay_as_they_are(self, name):
        tree = {f"params/{path}": value for path, value in stored(name).items()}
        same(to_linen(tree), tree)

    def test_those_of_nest_too(self):
        for name in loading.SMALL:
            tree = keras_models.tree(loading.case(name))
            same(to_linen(tree), tree)

    def test_those_of_every_published_model_too(self):
        for name in vit_loading.CONFIGS:
            tree = of_shapes({f"params/{path}": shape for path, shape in vit_loading.shapes(name).items()})
            ours, theirs = ({path: value.shape for path, value in each.items()} for each in (to_linen(tree), tree))
            assert ours == theirs, name


class TestBack:
    @pytest.mark.parametrize("name", vit_loading.CHECKPOINTS)
    def test_linen_is_bit_for_bit_what_was_loaded(self, name, tmp_path):
        conversion.write_checkpoint(loaded(name), tmp_path / "out.npz")
        with np.load(tmp_path / "out.npz") as file:
            same(dict(file), stored(PAIRS.get(name, name)))

    @pytest.mark.parametrize(("old", "new"), PAIRS.items())
    def test_pre_linen_is_bit_for_bit_the_old_file(self, old, new, tmp_path):
        tensors = conversion.write_checkpoint(loaded(new), tmp_path / "out.npz", layout="pre_linen")
        assert tensors == len(stored(old))
        with np.load(tmp_path / "out.npz") as file:
            same(dict(file), stored(old))
        same(conversion.read_checkpoint(tmp_path / "out.npz"), select_variables(stored(new)))

    @pytest.mark.parametrize("suffix", [".msgpack", ".flax"])
    def test_other_files_take_the_layout_too(self, suffix, tmp_path):
        conversion.write_checkpoint(loaded("hybrid_linen"), tmp_path / f"out{suffix}", layout="pre_linen")
        data = (tmp_path / f"out{suffix}").read_bytes()
        assert b"MlpBlock_3" in data
        assert b"MlpBlock_0" not in data
        same(conversion.read_checkpoint(tmp_path / f"out{suffix}"), select_variables(stored("hybrid_linen")))

    def test_mixers_have_one_layout(self):
        tree = select_variables(stored("mixer_linen"))
        same(to_layout(tree, "pre_linen"), tree)

    def test_unknown_layout(self, tmp_path):
        with pytest.raises(ValueError, match="layout is 'haiku'; it must be one of 'linen', 'pre_linen'"):
            conversion.write_checkpoint(loaded("mixer_linen"), tmp_path / "out.npz", layout="haiku")
        assert not list(tmp_path.iterdir())
