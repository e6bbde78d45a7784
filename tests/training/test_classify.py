"""The model that a configuration describes, and the weights it starts from."""

import pathlib
import shutil

import numpy as np
import pytest

import keras_nest
from keras_nest import conversion
from keras_nest.data import DatasetInfo, Recipe
from keras_nest.registry import preprocessing_spec
from keras_nest.training.classify import build_classifier
from keras_nest.training.config import resolve
from keras_nest.training.plan import build_plan
from keras_nest.training.setup import freeze, get_start, get_weights

INDEX = pathlib.Path(__file__).resolve().parents[1] / "golden/vit/augreg/index.csv"
BEST, OTHER = (f"Ti_16-i21k-300ep-lr_0.001-aug_{kind}-do_0.0-sd_0.0" for kind in ("none-wd_0.03", "light1-wd_0.1"))
SMALL_VIT = {"patch_size": 8, "hidden_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 16}
SMALL_NEST = {"init_patch_embed_size": 4, "embedding_dim": 8, "num_heads": 2, "num_layers_per_block": (1, 1)}
OF_VIT = {"model_name": "ViT-Ti_16", "model": SMALL_VIT, "dataset": "digits", "total_steps": 3, "warmup_steps": 1}
OF_NEST = {"model_name": "nest_tiny_s16_32", "model": SMALL_NEST, "dataset": "digits", "num_epochs": 1}
INFO = DatasetInfo("digits", tuple("0123456789"), (32, 32, 3), 1437, 360)
PREPROCESSING = {"mean": [0.3] * 3, "std": [0.3] * 3, "crop_ratio": 1.0, "interpolation": "bilinear"}


def create(config, size=(16, 16), **change):
    fields = resolve({**config, **change})
    return build_classifier(fields, build_plan(fields, INFO.num_train, 1), INFO, size, Recipe(PREPROCESSING))


def write(path, name="ViT-Ti_16", image_size=16, seed=0, **fields):
    """Writes a checkpoint with random weights; returns its tensors."""
    small = SMALL_NEST if name.startswith("nest") else SMALL_VIT
    model = keras_nest.create_model(name, image_size=image_size, **{"num_classes": 21, **small, **fields})
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        variable.assign(rng.normal(size=variable.shape))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".keras":
        model.save(path)
    else:
        conversion.write_checkpoint(model, path, layout="pre_linen" if path.suffix == ".npz" else "linen")
    return tensors(model)


def tensors(model):
    return {path.removeprefix("params/"): value for path, value in conversion.model_tree(model).items()}


def assert_body(model, expected, new=("head/kernel", "head/bias")):
    """Everything is as in the checkpoint, but for the head of zeros."""
    found = tensors(model)
    assert set(found) == set(expected)
    for path, value in found.items():
        np.testing.assert_array_equal(value, np.zeros_like(value) if path in new else expected[path], err_msg=path)


def test_classes_size_and_preprocessing_are_those_of_the_data():
    model = create(OF_NEST)
    assert (model.num_classes, model.image_size) == (10, (16, 16))
    assert keras_nest.preprocessor(model).mean == (0.3, 0.3, 0.3)
    assert model.config["embedding_dim"] == 8
    own = create(OF_NEST, model={**SMALL_NEST, "num_classes": 4})
    assert own.num_classes == 4, "what the configuration says stands above"


class TestFineTuning:
    def test_file_named_after_the_model(self, tmp_path):
        expected = write(tmp_path / "ViT-Ti_16.npz")
        model = create(OF_VIT, pretrained_dir=str(tmp_path))
        assert model.num_classes == 10
        assert_body(model, {**expected, "head/kernel": np.zeros((8, 10)), "head/bias": np.zeros(10)})

    def test_a_training_of_ones_own(self, tmp_path):
        own = keras_nest.create_model("ViT-Ti_16", image_size=16, preprocessing=PREPROCESSING, **SMALL_VIT)
        own.save(tmp_path / "model.keras")
        body = {path: value for path, value in tensors(own).items() if not path.startswith("head/")}
        new = {"head/kernel": np.zeros((8, 10)), "head/bias": np.zeros(10)}
        assert_body(create(OF_VIT, pretrained_dir=str(tmp_path)), {**body, **new})
        start = get_start(resolve({**OF_VIT, "pretrained_dir": str(tmp_path)}))
        assert keras_nest.preprocessor(start).mean == (0.3, 0.3, 0.3), "its preprocessing goes on"

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "file"), [("Ti_16", BEST), (OTHER, OTHER)])
    def test_model_or_file_of_augreg(self, name, file, tmp_path):
        shutil.copy(INDEX, tmp_path)
        written = {other: write(tmp_path / f"{other}.npz", seed=seed) for seed, other in enumerate((BEST, OTHER))}
        without_name = {field: value for field, value in OF_VIT.items() if field != "model_name"}
        model = create(without_name, pretrained_dir=str(tmp_path), model_or_filename=name)
        kernel = "embedding/kernel"
        np.testing.assert_array_equal(tensors(model)[kernel], written[file][kernel])

    def test_position_embeddings_are_resized_to_the_images(self, tmp_path):
        expected = write(tmp_path / "ViT-Ti_16.npz", image_size=32)
        model = create(OF_VIT, (24, 24), pretrained_dir=str(tmp_path))
        path = "Transformer/posembed_input/pos_embedding"
        before, after = expected[path][0], tensors(model)[path][0]
        assert (before.shape, after.shape) == ((17, 8), (10, 8))
        np.testing.assert_array_equal(after[0], before[0]), "the class token's"
        grid, small = before[1:].reshape(4, 4, 8), after[1:].reshape(3, 3, 8)
        # Corners stay; the middle of the grid is the mean of its four middle ones.
        np.testing.assert_allclose(small[::2, ::2], grid[::3, ::3], rtol=1e-6)
        np.testing.assert_allclose(small[1, 1], grid[1:3, 1:3].mean((0, 1)), rtol=1e-5, atol=1e-6)

    def test_evaluation_keeps_the_head(self, tmp_path):
        expected = write(tmp_path / "ViT-Ti_16.npz", num_classes=10)
        assert_body(create(OF_VIT, pretrained_dir=str(tmp_path), eval_only=True), expected, new=())
        assert_body(create(OF_VIT, init_checkpoint=str(tmp_path / "ViT-Ti_16.npz"), eval_only=True), expected, new=())

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"ViT-Ti_16\.npz"):
            create(OF_VIT, pretrained_dir=str(tmp_path))
        with pytest.raises(FileNotFoundError, match=r"index\.csv"):
            create(OF_VIT, pretrained_dir=str(tmp_path), model_or_filename="Ti_16")

    def test_addresses(self):
        at = {"pretrained_dir": "gs://vit_models/imagenet21k"}
        assert get_weights(resolve({**OF_VIT, **at})) == "gs://vit_models/imagenet21k/ViT-Ti_16.npz"
        at = {"pretrained_dir": "gs://vit_models/augreg/", "model_or_filename": BEST}
        assert get_weights(resolve({**OF_VIT, **at})) == f"gs://vit_models/augreg/{BEST}.npz"


class TestStartingWeights:
    @pytest.mark.parametrize("suffix", ["keras", "msgpack", "npz"])
    def test_nest_keeps_the_head(self, suffix, tmp_path):
        file = tmp_path / f"weights.{suffix}"
        expected = write(file, "nest_tiny_s16_32", num_classes=10)
        assert_body(create(OF_NEST, init_checkpoint=str(file)), expected, new=())
        new = ("Dense_0/kernel", "Dense_0/bias")
        assert_body(create(OF_NEST, init_checkpoint=str(file), reinit_head="zero_all"), expected, new)

    def test_another_number_of_classes(self, tmp_path):
        write(tmp_path / "weights.npz", "nest_tiny_s16_32")
        with pytest.raises(ValueError, match=r"does not fit nest_tiny_s16_32: .*head"):
            create(OF_NEST, init_checkpoint=str(tmp_path / "weights.npz"))

    def test_none(self):
        assert get_weights(resolve(OF_NEST)) is None
        assert get_weights(resolve(OF_VIT)) is None

    def test_needed_or_named_twice(self):
        for config in (OF_NEST, OF_VIT):
            with pytest.raises(ValueError, match="eval_only needs weights; name them with init_checkpoint"):
                get_weights(resolve({**config, "eval_only": True}))
        with pytest.raises(ValueError, match="pretrained_dir and init_checkpoint both name weights; give one of them"):
            get_weights(resolve({**OF_VIT, "pretrained_dir": "a", "init_checkpoint": "b"}))


class TestFreezing:
    @pytest.mark.parametrize(
        ("patterns", "trained"),
        [
            (("embedding", "cls", "Transformer/*"), {"head"}),
            (["Transformer", "[ce]*"], {"head"}),
            ("Transformer/encoderblock_*", {"embedding", "cls", "head", "Transformer"}),
            ((), {"embedding", "cls", "head", "Transformer"}),
        ],
    )
    def test_what_is_left_to_train(self, patterns, trained):
        model = create(OF_VIT, freeze=patterns)
        assert {variable.path.split("/")[0] for variable in model.trainable_variables} == trained
        parts = {part for variable in model.trainable_variables for part in variable.path.split("/")}
        assert ("encoderblock_0" in parts) == (not patterns)

    def test_of_nest(self):
        model = create(OF_NEST, freeze="EncoderNDBlock_0")
        frozen = [variable.path for variable in model.weights if not variable.trainable]
        assert frozen
        assert all(path.startswith("EncoderNDBlock_0/") for path in frozen if "seed" not in path)

    def test_unknown_pattern(self):
        with pytest.raises(ValueError, match=r"freeze names 'Encoder_\*', which no layer has; did you mean Encoder"):
            create(OF_NEST, freeze=("Encoder_*",))
        with pytest.raises(ValueError, match=r"'encoderblock_0', which no layer has; did you mean Transformer/encoder"):
            create(OF_VIT, freeze=("head", "encoderblock_0"))

    def test_nothing_left(self):
        with pytest.raises(ValueError, match="freeze leaves nothing to train; name fewer layers"):
            freeze(create(OF_VIT), "*")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_precision(policy):
    model = create({**OF_VIT, "dtype_policy": policy})
    assert model.get_layer("embedding").dtype_policy.name == policy
    assert type(model).from_config(model.get_config()).get_layer("embedding").dtype_policy.name == policy


@pytest.mark.slow
@pytest.mark.parametrize("start", ["own.keras", "run"])
def test_a_model_of_ours_tells_its_fields_preprocessing_and_size(tmp_path, start):
    """Also those that the published model of that name does not have; it stays frozen where it was."""
    path = tmp_path / start if start.endswith(".keras") else tmp_path / start / "model.keras"
    path.parent.mkdir(exist_ok=True)
    fields = {"num_classes": 10, "image_size": 24, "dropout_rate": 0.25, "preprocessing": PREPROCESSING}
    own = keras_nest.create_model("ViT-Ti_16", **{**SMALL_VIT, **fields})
    own.get_layer("Transformer").blocks[0].trainable = False
    own.save(path)
    config = {**OF_VIT, "model": {}, "init_checkpoint": str(tmp_path / start)}
    assert preprocessing_spec(get_start(resolve(config))) == (PREPROCESSING, (24, 24))
    model = create(config)
    assert (model.config["dropout_rate"], model.config["hidden_size"], model.image_size) == (0.25, 8, (16, 16))
    assert len(model.trainable_variables) == len(own.trainable_variables)


def test_what_is_frozen_stays_so_in_the_copy_of_averages():
    model = create({**OF_VIT, "freeze": "Transformer/encoderblock_0"})
    copy = type(model).from_config(model.get_config())
    assert [v.path for v in copy.trainable_variables] == [v.path for v in model.trainable_variables]
