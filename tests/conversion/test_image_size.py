"""Checkpoints of oblong images: as many tokens as a square has, and yet no square."""

import functools
import io
import json
import logging
import zipfile

import flax.serialization
import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_nest
from keras_nest import cli, conversion
from keras_nest.conversion.image_size import told_size
from keras_nest.conversion.msgpack_file import msgpack_image_size, write_msgpack
from keras_nest.conversion.npz_file import npz_image_size, write_npz
from keras_nest.conversion.sources import read_image_size
from tests import keras_models
from tests.golden import loading

VIT = {"patch_size": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8, "num_classes": 3}
HYBRID = {**VIT, "patch_size": 1, "resnet_num_layers": (1, 1), "resnet_width_factor": 0.5}
NEST = {"embedding_dim": 4, "num_heads": 2, "num_layers_per_block": (1, 1), "init_patch_embed_size": 4}
# Name, fields; all of them see images of 16 x 64 as 2 x 8 tokens, or as blocks of 2 x 8 tokens.
FAMILIES = {
    "vit": ("ViT-Ti_16", VIT),
    "gap": ("ViT-Ti_16", {**VIT, "classifier": "gap"}),
    "hybrid": ("R+ViT-Ti_16", HYBRID),
    "mixer": (
        "Mixer-B_16",
        {"patch_size": 8, "hidden_dim": 8, "num_blocks": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 4},
    ),
    "nest": ("nest_tiny", {**NEST, "num_classes": 3}),
    "flax nest": (
        "vit_flax_nest",
        {"dim": 4, "heads": 2, "num_hierarchies": 2, "block_repeats": 1, "patch_size": 4, "num_classes": 3},
    ),
    "lit": (
        "LiT-B16B",
        {
            "image_model": {**VIT, "num_classes": 8},
            "text_model": {
                "hidden_size": 8,
                "num_layers": 1,
                "num_heads": 2,
                "mlp_dim": 8,
                "vocab_size": 9,
                "out_dim": 8,
                "max_len": 4,
            },
        },
    ),
}
RESIZED = [family for family in FAMILIES if family != "mixer"]
DIFFERENT = ("vit", "mixer", "nest")
SIZE = (16, 64)
FORMATS = (".npz", ".msgpack", ".flax", "")
# Files hold tensors by their names, whatever the family: all formats with one, and one with each.
FILES = [*(("vit", suffix) for suffix in FORMATS), *((family, ".npz") for family in FAMILIES if family != "vit")]
LARGER, TURNED, SQUARE = (32, 128), (64, 16), (32, 32)
RESIZINGS = [("vit", LARGER, FORMATS), ("vit", TURNED, (".npz",)), ("vit", SQUARE, (".npz",))]
RESIZINGS += [("gap", TURNED, (".npz",)), ("hybrid", SQUARE, (".npz",)), ("lit", LARGER, (".npz",))]
RESIZINGS += [("nest", LARGER, (".npz",)), ("nest", TURNED, ("",)), ("flax nest", SQUARE, (".npz",))]


def create(family, weights=None, **fields):
    name, config = FAMILIES[family]
    return keras_nest.create_model(name, weights=weights and str(weights), **{**config, **fields})


@functools.cache
def random(family, image_size=SIZE):
    """A model none of whose weights is as another one's; no test may change it."""
    model = create(family, image_size=image_size)
    rng = np.random.default_rng(0)
    model.set_weights([rng.standard_normal(np.shape(w)).astype(np.asarray(w).dtype) for w in model.get_weights()])
    return model


def same(model, other):
    ours, theirs = conversion.model_tree(model), conversion.model_tree(other)
    return ours.keys() == theirs.keys() and all(ours[path].tobytes() == theirs[path].tobytes() for path in ours)


@pytest.fixture
def said(caplog):
    """What the loader tells the user."""
    caplog.set_level(logging.INFO, "keras_nest")
    return caplog


class TestEqualShapesPassUntouched:
    @pytest.mark.parametrize(("family", "suffix"), FILES)
    def test_and_our_files_tell_their_size(self, family, suffix, tmp_path, said):
        model = random(family)
        conversion.write_checkpoint(model, tmp_path / f"wide{suffix}")
        given_size, told = (create(family, tmp_path / f"wide{suffix}", image_size=size) for size in (SIZE, None))
        assert told.image_size == SIZE
        assert same(given_size, model)
        assert same(told, model)
        assert not said.messages

    @pytest.mark.parametrize("family", FAMILIES)
    def test_where_the_file_does_not_tell_it_is_said(self, family, tmp_path, said):
        model = random(family)
        read = create(family, keras_models.write_untold(model, tmp_path / "wide.npz"), image_size=SIZE)
        assert same(read, model)
        assert len(said.messages) == 1
        assert "does not tell its image size and is read as one of 16 x 64;" in said.text

    @pytest.mark.parametrize("family", DIFFERENT)
    def test_of_tensors_without_a_file(self, family):
        model, other = random(family), create(family, image_size=SIZE)
        conversion.load_weights(other, conversion.model_tree(model))
        assert same(other, model)

    @pytest.mark.parametrize("family", DIFFERENT)
    def test_squares_are_no_question(self, family, tmp_path, said):
        model = random(family, (32, 32))
        read = create(family, keras_models.write_untold(model, tmp_path / "square.npz"), image_size=32)
        assert same(read, model)
        assert not said.messages


def test_oblong_patches_make_a_square_of_an_oblong_image(tmp_path, said):
    fields = {**VIT, "patch_size": (4, 16)}
    model = keras_nest.create_model("ViT-Ti_16", image_size=SIZE, **fields)
    path = str(keras_models.write_untold(model, tmp_path / "wide.npz"))
    read = keras_nest.create_model("ViT-Ti_16", weights=path, **fields)
    assert read.image_size == SIZE
    assert same(read, model)
    assert not said.messages


class TestAnotherSize:
    @pytest.mark.parametrize(("family", "size", "formats"), RESIZINGS)
    def test_is_what_the_keras_file_gives(self, family, size, formats, tmp_path, said):
        model = random(family)
        model.save(tmp_path / "wide.keras")
        paths = [tmp_path / f"wide{suffix}" for suffix in formats]
        for path in paths:
            conversion.write_checkpoint(model, path)
        expected = create(family, tmp_path / "wide.keras", image_size=size)
        assert "resized from 2 x 8 to " in said.text
        for path in paths:
            assert same(create(family, path, image_size=size), expected)

    @pytest.mark.parametrize("resize_method", ["block", "grid"])
    def test_by_either_method(self, resize_method, tmp_path):
        model = random("nest")
        model.save(tmp_path / "wide.keras")
        conversion.write_checkpoint(model, tmp_path / "wide.npz")
        either = [
            create("nest", tmp_path / name, image_size=(48, 96), resize_method=resize_method)
            for name in ("wide.keras", "wide.npz")
        ]
        assert same(*either)

    def test_of_a_file_that_does_not_tell_its_own_is_taken_from_a_square(self, tmp_path, said):
        create("vit", keras_models.write_untold(random("vit"), tmp_path / "wide.npz"), image_size=(32, 128))
        assert "resized from 4 x 4 to 4 x 16" in said.messages[0]
        assert "is read as one of square images" in said.messages[1]

    @pytest.mark.parametrize("family", RESIZED)
    def test_of_no_square_and_an_unknown_size_is_refused(self, family, tmp_path):
        path = keras_models.write_untold(random(family, (16, 48)), tmp_path / "wide.npz")
        for size in (None, (32, 96)):
            with pytest.raises(ValueError, match=r"12 tokens are not a square block.* give the image_size"):
                create(family, path, image_size=size)
        assert same(create(family, path, image_size=(16, 48)), random(family, (16, 48)))

    def test_of_mixers_is_refused_also_with_as_many_tokens(self, tmp_path):
        conversion.write_checkpoint(random("mixer"), tmp_path / "wide.npz")
        with pytest.raises(ValueError, match="trained on 2 x 8 tokens, the model's images have 8 x 2"):
            create("mixer", tmp_path / "wide.npz", image_size=(64, 16))
        assert create("mixer", tmp_path / "wide.npz", image_size=(15, 61)).image_size == (15, 61)  # padded to as many

    @pytest.mark.parametrize(("old", "new"), [((79, 40), (31, 31)), ((47, 130), (31, 16))])
    def test_where_pixels_are_left_over(self, old, new, tmp_path, said):
        """Tokens are counted, not pixels: 79 pixels hold 4 patches of 16, and 31 hold one."""
        fields = {**FAMILIES["vit"][1], "patch_size": 16}
        model = keras_nest.create_model("ViT-Ti_16", image_size=old, **fields)
        conversion.write_checkpoint(model, tmp_path / "odd.npz")
        model.save(tmp_path / "odd.keras")
        for suffix in ("npz", "keras"):
            path = str(tmp_path / f"odd.{suffix}")
            keras_nest.create_model("ViT-Ti_16", weights=path, image_size=new, **fields)
            assert f"from {old[0] // 16} x {old[1] // 16} to 1 x 1 tokens" in said.text
            said.clear()


@settings(max_examples=5, deadline=None)
@given(
    family=st.sampled_from(sorted(FAMILIES)),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    suffix=st.sampled_from([".npz", ".msgpack", ""]),
    layout=st.sampled_from(["linen", "pre_linen"]),
)
def test_back_and_forth_is_the_same_bit_for_bit(family, grid, suffix, layout, tmp_path_factory):
    """And so is the image size, which need not be given."""
    size = (16 * grid[0], 16 * grid[1])
    folder = tmp_path_factory.mktemp("back")
    model = random(family, size)
    conversion.write_checkpoint(model, folder / f"out{suffix}", layout=layout)
    again = create(family, folder / f"out{suffix}")
    assert again.image_size == size
    assert same(again, model)


@pytest.mark.slow
def test_the_commands_go_back_and_forth_without_a_size(tmp_path, capsys):
    def convert(*arguments):
        return cli.main(["convert", *map(str, arguments)])

    model = random("vit")
    model.save(tmp_path / "a.keras")
    fields = [f"--set={name}={value}" for name, value in VIT.items() if name != "num_classes"]
    assert convert("--to-flax", tmp_path / "a.keras", tmp_path / "b.npz") == 0
    assert convert("ViT-Ti_16", tmp_path / "b.npz", tmp_path / "c.keras", "--verify", *fields) == 0
    again = keras.saving.load_model(tmp_path / "c.keras")
    assert again.image_size == SIZE
    assert same(again, model)
    capsys.readouterr()
    path = keras_models.write_untold(model, tmp_path / "d.npz")
    assert convert("ViT-Ti_16", path, tmp_path / "e.keras", "--image-size", "16,64", "--verify", *fields) == 0
    assert "assumed" in capsys.readouterr().out
    assert same(keras.saving.load_model(tmp_path / "e.keras"), model)


class TestOtherReaders:
    def test_numpy_sees_tensors_alone(self, tmp_path):
        model = random("vit")
        conversion.write_checkpoint(model, tmp_path / "wide.npz")
        with np.load(tmp_path / "wide.npz", allow_pickle=False) as file:
            # As `vit_jax.checkpoint.load` reads it.
            keys, values = zip(*list(file.items()), strict=True)
        tree = {f"params/{key}": value for key, value in zip(keys, values, strict=True)}
        assert tree.keys() == conversion.model_tree(model).keys()
        assert all(tree[path].tobytes() == value.tobytes() for path, value in conversion.model_tree(model).items())

    def test_flax_fills_its_own_trees(self, tmp_path):
        model = random("nest")
        conversion.write_checkpoint(model, tmp_path / "wide.msgpack")
        data = (tmp_path / "wide.msgpack").read_bytes()
        restored = flax.serialization.msgpack_restore(data)["params"]
        target = {"params": flax.serialization.from_state_dict(restored, restored)}
        assert flax.serialization.from_bytes(target, data).keys() == {"params"}

    def test_orbax_restores_tensors_alone(self, tmp_path):
        import orbax.checkpoint

        conversion.write_checkpoint(random("vit"), tmp_path / "wide")
        assert orbax.checkpoint.PyTreeCheckpointer().restore(tmp_path / "wide").keys() == {"params"}


class TestWhatFilesTell:
    @pytest.mark.parametrize(
        "metadata",
        [None, 3, [], {}, {"size": [1, 2]}, {"image_size": [1, 2, 3]}, {"image_size": []}, {"image_size": [0, 4]}],
    )
    def test_metadata_of_others_are_none_of_ours(self, metadata):
        assert told_size(metadata) is None

    @pytest.mark.parametrize("comment", [b"", b"by somebody", b"\xff\xfe", b"[3]", b'{"image_size": 3}'])
    def test_comments_of_others_are_passed_over(self, comment):
        file = io.BytesIO()
        write_npz({"params/a": np.zeros(2)}, file, (3, 4))
        file.seek(0)
        assert npz_image_size(file) == (3, 4)
        with zipfile.ZipFile(file, "a") as archive:
            assert json.loads(archive.comment) == {"image_size": [3, 4]}
            archive.comment = comment
        file.seek(0)
        assert npz_image_size(file) is None

    @pytest.mark.parametrize("data", [b"", b"\x80", b"\x93\x01\x02\x03", b"\x81\xaakeras_nest\x03", b"\x81\xa1a\x01"])
    def test_msgpack_of_others_is_passed_over(self, data):
        assert msgpack_image_size(io.BytesIO(data)) is None

    def test_msgpack_of_ours_begins_with_it(self):
        file = io.BytesIO()
        write_msgpack({"params/a": np.zeros(2)}, file, (3, 4))
        file.seek(0)
        assert msgpack_image_size(file) == (3, 4)

    def test_published_files_do_not(self):
        assert read_image_size(loading.FOLDER / "checkpoint_tiny") is None
        assert read_image_size(loading.FOLDER / "checkpoint_tiny.npz") is None


def test_a_clock_before_1980_writes_the_same_file(monkeypatch, tmp_path):
    model = random("vit")
    conversion.write_checkpoint(model, tmp_path / "now.npz")
    monkeypatch.setattr("time.time", lambda: 0.0)
    conversion.write_checkpoint(model, tmp_path / "then.npz")
    assert (tmp_path / "now.npz").read_bytes() == (tmp_path / "then.npz").read_bytes()
