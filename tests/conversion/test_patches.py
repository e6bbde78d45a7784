"""Patches of another size than the checkpoint's, which are resized where they are asked for."""

import logging

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import conversion
from keras_nest.conversion.patches import resize_kernel
from tests import families, keras_models

MIXER = {"image_size": 16, "hidden_dim": 8, "num_blocks": 1, "tokens_mlp_dim": 4, "channels_mlp_dim": 8}
MODELS = {
    "ViT": ("ViT-Ti_16", {"image_size": 16, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8}, 8),
    "hybrid": (
        "R+ViT-Ti_16",
        {"image_size": 32, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 8},
        2,
    ),
    "Mixer": ("Mixer-B_16", MIXER, 8),
    "NesT": (
        "nest_tiny",
        {"image_size": 16, "embedding_dim": 8, "num_heads": 2, "num_layers_per_block": (1, 1)},
        4,
    ),
}
KERNELS = {"ViT": "embedding", "hybrid": "embedding", "Mixer": "stem", "NesT": "PatchEmbedding_0/Conv_0"}


def create(family, patch, weights=None, **fields):
    name, base, _ = MODELS[family]
    field = "init_patch_embed_size" if family == "NesT" else "patch_size"
    own = {} if weights is not None and weights.suffix == ".keras" else base | {"num_classes": 3}
    # The size follows from the checkpoint.
    own = {key: value for key, value in own.items() if weights is None or key != "image_size"}
    given = {} if patch is None else {field: patch}
    return keras_nest.create_model(name, weights=weights and str(weights), **{**own, **given, **fields})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model of every family, and its files."""
    folder = tmp_path_factory.mktemp("patches")
    found = {}
    for family, (_, _, patch) in MODELS.items():
        model = families.randomized(create(family, patch))
        model.save(folder / f"{family}.keras")
        conversion.write_checkpoint(model, folder / f"{family}.npz")
        found[family] = model, folder
    return found


def kernel_of(model, family):
    return conversion.model_tree(model)[f"params/{KERNELS[family]}/kernel"]


def resizing(old, new):
    """The matrix that resizes flattened patches, as TensorFlow does it."""
    units = tf.reshape(tf.eye(old[0] * old[1]), (-1, *old, 1))
    return tf.reshape(tf.image.resize(units, new), (old[0] * old[1], -1)).numpy().T.astype(np.float64)


@pytest.mark.parametrize(
    ("old", "new"), [((4, 4), (8, 8)), ((4, 4), (6, 7)), ((8, 8), (4, 4)), ((5, 3), (3, 4)), ((3, 3), (1, 1))]
)
def test_the_formula_of_the_paper(old, new):
    kernel = np.random.default_rng(0).standard_normal((*old, 3, 5))
    resized, matrix = resize_kernel(kernel, new), resizing(old, new)
    expected = np.linalg.pinv(matrix.T, rcond=1e-5) @ kernel.reshape(-1, 15)
    np.testing.assert_allclose(resized.reshape(-1, 15), expected, atol=1e-6)
    assert resize_kernel(kernel.astype(np.float32), new).dtype == np.float32


@pytest.mark.parametrize("new", [(8, 8), (5, 9), (4, 4)])
def test_larger_patches_give_exactly_what_the_smaller_ones_gave(new):
    rng = np.random.default_rng(0)
    patches, kernel = rng.standard_normal((6, 4, 4, 3)), rng.standard_normal((4, 4, 3, 5))
    larger = tf.image.resize(patches, new).numpy()
    expected = np.einsum("nhwi,hwio->no", patches, kernel)
    np.testing.assert_allclose(np.einsum("nhwi,hwio->no", larger, resize_kernel(kernel, new)), expected, atol=1e-5)


class TestModels:
    @pytest.mark.parametrize(
        ("family", "suffix"), [("ViT", ".npz"), ("hybrid", ".npz"), ("Mixer", ".keras"), ("NesT", ".keras")]
    )
    def test_twice_the_patch_on_twice_the_image(self, family, suffix, files, caplog):
        """As many tokens, so that nothing else changes; a resized patch gives the same logits."""
        caplog.set_level(logging.INFO, "keras_nest")
        model, folder = files[family]
        patch, size = 2 * MODELS[family][2], 2 * model.image_size[0]
        larger = create(family, patch, folder / f"{family}{suffix}", image_size=size)
        (said,) = caplog.messages
        assert f"{KERNELS[family]}/kernel was resized from patches of" in said
        assert larger.image_size == (size, size)
        np.testing.assert_array_equal(
            kernel_of(larger, family), resize_kernel(kernel_of(model, family), (patch, patch))
        )
        others = conversion.model_tree(model)
        for path, value in conversion.model_tree(larger).items():
            assert KERNELS[family] in path or value.tobytes() == others[path].tobytes()
        if family != "hybrid":  # its patches are those of a map
            images = np.random.default_rng(0).uniform(-1, 1, (2, *model.image_size, 3)).astype(np.float32)
            grid = patch // 2
            blocks = (
                images.reshape(2, size // patch, grid, size // patch, grid, 3).swapaxes(2, 3).reshape(-1, grid, grid, 3)
            )
            blocks = tf.image.resize(blocks, (patch, patch)).numpy()
            side = size // patch
            enlarged = blocks.reshape(2, side, side, patch, patch, 3).swapaxes(2, 3).reshape(2, size, size, 3)
            np.testing.assert_allclose(larger(enlarged), model(images), atol=1e-4)

    @pytest.mark.parametrize(("family", "suffix"), [("ViT", ".keras"), ("NesT", ".npz")])
    def test_half_the_patch_on_the_same_image(self, family, suffix, files, caplog):
        model, folder = files[family]
        patch = MODELS[family][2] // 2
        finer = create(family, patch, folder / f"{family}{suffix}")
        assert finer.image_size == model.image_size
        assert finer.endpoints["stem"].shape[1] == 2 * model.endpoints["stem"].shape[1]
        assert any("tokens" in sentence for sentence in caplog.messages)


def test_what_was_not_asked_for_is_a_mistake(files):
    _, folder = files["ViT"]
    with pytest.raises(ValueError, match=r"embedding/kernel is \(8, 8, 3, 8\) in the checkpoint and \(16, 16, 3, 8\)"):
        create("ViT", None, folder / "ViT.npz")


def test_mixer_at_another_size(files, tmp_path):
    model, folder = files["Mixer"]
    message = "trained on {} tokens, the model's images have 4 x 4, and it fits no other than its own: leave"
    with pytest.raises(ValueError, match=message.format("2 x 2")):
        create("Mixer", 8, folder / "Mixer.npz", image_size=32)
    with pytest.raises(ValueError, match=r"4 x 4, .*, or give a patch_size that makes as many\.$"):
        create("Mixer", 4, folder / "Mixer.keras")
    # Files of others do not tell more than the number.
    untold = keras_models.write_untold(model, tmp_path / "untold.npz")
    with pytest.raises(ValueError, match=message.format("4")):
        create("Mixer", 8, untold, image_size=32)


def test_oblong_patches_and_gray_images(files):
    model, folder = files["ViT"]
    gray = create("ViT", (4, 8), folder / "ViT.npz", in_channels=1)
    assert gray.image_size == (16, 16)
    expected = resize_kernel(kernel_of(model, "ViT"), (4, 8)).sum(axis=2, keepdims=True)
    np.testing.assert_allclose(kernel_of(gray, "ViT"), expected, rtol=1e-6)
