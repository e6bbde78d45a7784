"""What is said about a .keras file before anything of it is built, by every reader of such files."""

import contextlib
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ml_collections import ConfigDict

import keras_nest
from keras_nest import export
from keras_nest.cli import commands as cli
from keras_nest.conversion.sources import read_checkpoint
from keras_nest.models import read_model
from keras_nest.opening import open_model
from keras_nest.predict import open_predictor
from keras_nest.training.lit import image_tower
from keras_nest.zero_shot.open import open_lit
from tests.test_hub import SMALL, Bomb, rewritten

SENTENCE = r"holds a (HubLayer|Lambda|TFSMLayer), which runs code of the file .*: --trust \(trust=True\)\."


@keras.saving.register_keras_serializable(package="tests_of_keras_file")
class Witness(keras.layers.Layer):
    """Counts how many were built."""

    built_layers = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        type(self).built_layers += 1


@pytest.fixture(scope="module")
def nest_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("nest") / "nest.keras"
    keras_nest.NesT(**{**SMALL, "preprocessing": keras_nest.models.base.IMAGENET_PREPROCESSING}).save(path)
    return path


def part(name, config=None, module="keras.layers", registered=None):
    return {"module": module, "class_name": name, "config": config or {"name": "x"}, "registered_name": registered}


def holding(nest_file, target, inner):
    """A file of a NesT whose configuration holds something else, deep inside."""

    def change(config):
        config["config"]["extra"] = {"a": [{"b": inner}]}
        return config

    return rewritten(nest_file, target, change)


PARTS = {
    "HubLayer by its registered name": part("Dense", registered="keras_nest>HubLayer"),
    "HubLayer": part("HubLayer", module="keras_nest.hub", registered="keras_nest>HubLayer"),
    "Lambda": part("Lambda"),
    "TFSMLayer": part("TFSMLayer", {"filepath": "x"}),
    "TorchModuleWrapper": part("TorchModuleWrapper"),
    "a Python function": part("__lambda__", {"value": "x"}, module="builtins"),
    "a function of another package": part("function", "system", module="os", registered="system"),
    "a function of Keras that is none for models": part("function", "get_file", "keras.utils", "get_file"),
    "a class of another package": part("Popen", module="subprocess"),
    "a package of Keras that would be imported": part("Backbone", module="keras_hub.models"),
    "what nobody registered": part("Unknown", module="mylab.layers", registered="mylab>Unknown"),
    "a compiled model inside": {
        **part("Sequential", {"layers": []}, "keras"),
        "compile_config": {"loss": part("Lambda")},
    },
}


class TestReadModel:
    @pytest.mark.parametrize("name", PARTS)
    def test_what_carries_code_or_is_unknown_is_refused(self, nest_file, tmp_path, name):
        path = holding(nest_file, tmp_path / "bad.keras", PARTS[name])
        with pytest.raises(ValueError, match=r"bad\.keras holds a \w+( of [\w.>]+)?, which (runs code|neither Keras)"):
            read_model(path)

    def test_nothing_is_built_before_that(self, nest_file, tmp_path):
        inner = part("Witness", module="x", registered="tests_of_keras_file>Witness")
        path = holding(nest_file, tmp_path / "bad.keras", [inner, part("Lambda")])
        with pytest.raises(ValueError, match=SENTENCE):
            read_model(path)
        keras.Sequential([keras.Input((2,)), Witness()]).save(tmp_path / "other.keras")
        before = Witness.built_layers
        with pytest.raises(ValueError, match="holds a Sequential, which is no model of keras_nest"):
            read_model(tmp_path / "other.keras")
        assert Witness.built_layers == before

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ("[" * 100_000, "nested too deeply|cannot be read"),
            ("[]", "a config.json that holds no names and values"),
            ("{}", "cannot be read"),
            ("\ufeff{", "a config.json that is no JSON"),
            ('{"class_name": "NesT", "config": {}}', "holds a NesT, which is no model of keras_nest"),
            ('{"class_name": ["NesT"], "config": {}, "registered_name": ["x"]}', "no model of keras_nest"),
        ],
    )
    def test_configurations_that_are_none(self, tmp_path, config, message):
        with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
            archive.writestr("config.json", config)
        with pytest.raises(ValueError, match=message):
            read_model(tmp_path / "bad.keras")

    def test_a_configuration_that_would_fill_the_memory_is_not_unpacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr("keras_nest.untrusted.limits.SPARE", 10_000)
        with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("config.json", " " * 100_000)
        with pytest.raises(ValueError, match="bytes claim to hold 100,000"):
            read_model(tmp_path / "bomb.keras")

    def test_other_kinds_of_files_are_refused(self, nest_file, tmp_path):
        (tmp_path / "text.keras").write_text("no archive")
        (tmp_path / "nest.h5").write_bytes(nest_file.read_bytes())
        (tmp_path / "cut.keras").write_bytes(nest_file.read_bytes()[:-40])
        for name in ("text.keras", "nest.h5", "cut.keras"):
            with pytest.raises(ValueError, match=f"{name} cannot be read as a Keras model"):
                read_model(tmp_path / name)

    def test_a_model_compiled_with_what_is_not_known_here_is_read(self, nest_file, tmp_path):
        def change(config):
            return {**config, "compile_config": {"loss": part("Mine", module="mylab", registered="mylab>Mine")}}

        assert read_model(rewritten(nest_file, tmp_path / "own.keras", change)).num_classes == 5

    def test_a_model_around_one_of_ours_is_read_where_it_is_asked_for(self, nest_file, tmp_path):
        keras.Sequential([read_model(nest_file), keras.layers.Softmax()]).save(tmp_path / "around.keras")
        with pytest.raises(ValueError, match=r"holds a Sequential, which is no model of keras_nest\.$"):
            read_model(tmp_path / "around.keras")
        assert type(read_model(tmp_path / "around.keras", around=True)) is keras.Sequential

    def test_a_subclass_of_a_user_is_read(self, tmp_path):
        @keras.saving.register_keras_serializable(package="tests_of_keras_file")
        class Own(keras_nest.NesT):
            pass

        Own(**SMALL).save(tmp_path / "own.keras")
        assert type(read_model(tmp_path / "own.keras")) is Own

    def test_an_address_that_tensorflow_reads(self, nest_file):
        tf.io.gfile.copy(str(nest_file), "ram://models/nest.keras", overwrite=True)
        assert read_model("ram://models/nest.keras").num_classes == 5
        with pytest.raises(FileNotFoundError, match=r"^There is no model ram://models/nowhere\.keras"):
            read_model("ram://models/nowhere.keras")


@pytest.fixture(scope="module")
def hybrid(tmp_path_factory):
    """A LiT whose image tower is a SavedModel in a layer, of the quickest of our models."""
    folder = tmp_path_factory.mktemp("hybrid")
    quick = {"num_layers": None, "classifier": "gap", "patch_size": 8, "hidden_size": 4}
    export.to_saved_model(keras_nest.VisionTransformer(5, 16, **quick), folder / "module", head="none")
    tower = keras.Sequential([keras.Input((16, 16, 3)), keras_nest.HubLayer(folder / "module")], name="img")
    fields = {"class_name": "TextTransformer", "width": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 20}
    model = keras_nest.LiT(tower, {**fields, "max_len": 4, "mlp_dim": 8, "out_dim": tower.output_shape[-1]})
    model.save(folder / "hybrid.keras")
    return folder / "hybrid.keras"


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A .keras file with a graph, and the file that says that it ran."""
    folder = tmp_path_factory.mktemp("evil")
    module = tf.train.Checkpoint()
    module.bomb = Bomb(folder / "ran.txt")
    module.__call__ = tf.function(lambda x: x, input_signature=[tf.TensorSpec((None, 4))])
    tf.saved_model.save(module, folder / "module")
    keras.Sequential([keras.Input((4,)), keras_nest.HubLayer(folder / "module")]).save(folder / "evil.keras")
    (folder / "ran.txt").unlink()
    return folder / "evil.keras", folder / "ran.txt"


READERS = {
    "read_model": lambda path, **trust: read_model(path, **trust),
    "open_model": lambda path, **trust: open_model(path, **trust),
    "open_predictor": lambda path, **trust: open_predictor(path, **trust),
    "read_checkpoint": lambda path, **trust: read_checkpoint(path, **trust),
    "create_model": lambda path, **trust: keras_nest.create_model("nest_tiny", weights=str(path), **trust),
}
COMPLAINTS = {"open_predictor": "gives no classes", "create_model": "holds a LiT, but nest_tiny"}


class TestEveryReader:
    @pytest.mark.parametrize("reader", [*READERS, "open_lit", "image_tower"])
    def test_no_graph_runs(self, evil, reader, tmp_path):
        (tmp_path / "vocab.txt").write_text("[PAD]\n")
        others = {
            "open_lit": lambda path: open_lit(str(path), vocabulary=tmp_path / "vocab.txt"),
            "image_tower": lambda path: image_tower(ConfigDict({"image_tower": str(path)})),
        }
        with pytest.raises(ValueError, match="holds a Sequential, which is no model of keras_nest"):
            {**READERS, **others}[reader](evil[0])
        assert not evil[1].exists()

    @pytest.mark.parametrize("reader", READERS)
    def test_permission_is_passed_on(self, hybrid, reader):
        with pytest.raises(ValueError, match=SENTENCE):
            READERS[reader](hybrid)
        # Some have no use for a LiT whose tower is none of ours, and say so when they have read it.
        complaint = COMPLAINTS.get(reader)
        with pytest.raises(ValueError, match=complaint) if complaint else contextlib.nullcontext():
            READERS[reader](hybrid, trust=True)

    def test_permission_for_all_of_a_program(self, hybrid, monkeypatch):
        monkeypatch.setattr("keras_nest.models.keras_file.in_safe_mode", lambda: False)
        assert isinstance(read_model(hybrid), keras_nest.LiT)

    def test_a_trusted_file_gives_the_same_numbers(self, hybrid):
        model = read_model(hybrid, trust=True)
        images = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
        vectors = model.encode_image(images)
        assert vectors.shape[0] == 2
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=-1), 1, rtol=1e-5)

    @pytest.mark.parametrize(
        "command",
        [
            ["info", "FILE"],
            ["predict", "IMAGE", "--model", "FILE"],
            ["explain", "IMAGE", "--model", "FILE"],
            ["zero-shot", "IMAGE", "--model", "FILE", "--labels", "a", "b", "--vocab", "VOCAB"],
            ["convert", "--to-flax", "FILE", "OUT.npz"],
            ["convert", "nest_tiny", "FILE", "OUT.keras"],
            ["export", "FILE", "--format", "saved_model", "--output", "OUT"],
        ],
        ids=lambda command: " ".join(command[:2]),
    )
    def test_every_command_refuses_and_has_the_flag(self, hybrid, tmp_path, capsys, command):
        keras.utils.save_img(tmp_path / "a.png", np.zeros((4, 4, 3)), scale=False)
        (tmp_path / "vocab.model").write_text("x")

        def run(file, *flags):
            words = {"FILE": str(file), "IMAGE": str(tmp_path / "a.png"), "VOCAB": str(tmp_path / "vocab.model")}
            words |= {name: str(tmp_path / name) for name in ("OUT", "OUT.npz", "OUT.keras")}
            code = cli.main([*(words.get(word, word) for word in command), *flags])
            return code, " ".join(capsys.readouterr().err.split())

        code, error = run(hybrid)
        assert code == 2
        assert "--trust (trust=True)" in error
        assert not [path for path in tmp_path.iterdir() if path.name.startswith(("OUT", ".partial"))]
        code, error = run(hybrid, "--trust")
        assert "--trust" not in error
