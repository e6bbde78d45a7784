"""Files that earlier versions wrote are read, give the numbers that they gave then, and trainings go on."""

import functools
import json
import pathlib
import shutil
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import conversion, export
from keras_nest.cli import main
from keras_nest.tflite import TFLiteModel
from tests.compatibility.make_files import ANSWERS, CHECKPOINTS, RUNS, frozen_and_not, named, plain
from tests.compatibility.toys import MODELS

ARCHIVES = sorted(pathlib.Path(__file__).with_name("files").glob("*.tar.xz"))
# Rounding, of outputs of about 1. The bfloat16 that is rounded to has 8 bits.
ROUNDING, BFLOAT16 = 1e-5, 2e-2
STEPS, SAVED = 3, 2


class Record:
    """What a version left: files below `folder`, arrays and facts by the names of `make_files`."""

    def __init__(self, folder):
        self.folder = folder
        self.model = functools.cache(self._load)  # by the name of its file; no test may change it
        with np.load(folder / "expected.npz") as arrays:
            self._arrays = dict(arrays)
        self.facts = json.loads((folder / "expected.json").read_text())

    def path(self, name):
        return str(self.folder / name)

    def _load(self, name):
        return keras.saving.load_model(self.path(name))

    def arrays(self, name):
        """{"": array} or arrays by key."""
        start = f"{name}/"
        return {key.removeprefix(start): value for key, value in self._arrays.items() if key.startswith(start)}

    def inputs(self, file):
        """In the structure that the model took."""
        found = self.arrays(f"{file}:inputs")
        return found[""] if list(found) == [""] else list(found.values()) if "0" in found else found

    def assert_outputs(self, file, outputs, tolerance=ROUNDING):
        expected = self.arrays(f"{file}:outputs")
        assert expected
        assert named(outputs).keys() == expected.keys()
        for key, value in named(outputs).items():
            if expected[key].dtype.kind == "f":
                np.testing.assert_allclose(value, expected[key], rtol=0, atol=tolerance, err_msg=key)
            else:
                np.testing.assert_array_equal(plain(value), expected[key], err_msg=key)


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name)
def record(request, tmp_path_factory):
    """The files of a version, unpacked."""
    folder = tmp_path_factory.mktemp("files")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    return Record(folder)


def test_there_is_a_record():
    assert ARCHIVES


class TestKerasFiles:
    @pytest.mark.parametrize("name", MODELS)
    def test_same_numbers_and_what_was_frozen_is_frozen(self, record, name):
        file = f"models/{name}.keras"
        model = record.model(file)
        outputs = model(record.inputs(file), training=False)
        record.assert_outputs(file, outputs, BFLOAT16 if name == "nest_bfloat16" else ROUNDING)
        assert frozen_and_not(model) == record.facts[f"{file}:frozen"]

    @pytest.mark.parametrize(
        "name", ["nest", "vit", "hybrid", "mixer", "resnet", "vit_flax_nest", "lit_bert", "generator"]
    )
    def test_what_models_tell(self, record, name):
        file = f"models/{name}.keras"
        model = record.model(file)
        assert record.facts[f"{file}:endpoints"]
        assert set(record.facts[f"{file}:endpoints"]) <= set(model.endpoints)
        assert set(record.facts[f"{file}:config"]) <= set(model.config)

    @pytest.mark.parametrize("name", ["vit_frozen_inside", "vit_lora", "vit_changed_layers", "lit_bert", "generator"])
    def test_a_file_of_a_file(self, record, name, tmp_path):
        file = f"models/{name}.keras"
        record.model(file).save(tmp_path / "again.keras")
        model = keras.saving.load_model(tmp_path / "again.keras")
        record.assert_outputs(file, model(record.inputs(file), training=False))
        assert frozen_and_not(model) == record.facts[f"{file}:frozen"]

    def test_a_module_of_the_hub_inside(self, record):
        file = "models/hub_layer.keras"
        model = keras.saving.load_model(record.path(file), safe_mode=False)
        record.assert_outputs(file, model(record.inputs(file), training=False))
        assert model.trainable_variables == []

    def test_the_command_that_describes_them(self, record, capsys):
        assert main(["info", record.path("models/lit_bert.keras")]) == 0
        assert "parameters" in capsys.readouterr().out


class TestCheckpoints:
    @pytest.mark.parametrize("name", CHECKPOINTS)
    def test_into_a_model(self, record, name):
        file = f"models/{CHECKPOINTS[name][0]}.keras"
        model = record.model(file)
        model = type(model).from_config(model.get_config())
        for variable in model.weights:
            if "float" in variable.dtype:
                variable.assign(keras.ops.zeros_like(variable))
        conversion.load_weights(model, conversion.read_checkpoint(record.path(f"checkpoints/{name}")))
        record.assert_outputs(file, model(record.inputs(file), training=False))

    @pytest.mark.parametrize("name", ["vit.npz", "vit_pre_linen.npz", "nest.msgpack"])
    def test_by_the_name_of_a_model(self, record, name):
        file = f"models/{CHECKPOINTS[name][0]}.keras"
        model = MODELS[CHECKPOINTS[name][0]](weights=record.path(f"checkpoints/{name}"))
        record.assert_outputs(file, model(record.inputs(file), training=False))

    def test_keras_files_are_weights_too(self, record, tmp_path):
        file, checkpoint = "models/nest.keras", tmp_path / "weights.npz"
        assert main(["convert", "--to-flax", record.path(file), str(checkpoint)]) == 0
        assert main(["convert", record.path(file), str(tmp_path / "copy.keras")]) == 0
        model = keras.saving.load_model(tmp_path / "copy.keras")
        record.assert_outputs(file, model(record.inputs(file), training=False))
        tree = conversion.read_checkpoint(checkpoint)
        assert set(tree) == set(conversion.model_tree(model))


def history(workdir):
    """Rows of history.csv by step, as text."""
    header, *rows = (line.split(",") for line in (workdir / "history.csv").read_text().splitlines())
    return {int(row[header.index("step")]): dict(zip(header, row, strict=True)) for row in rows}


def train(name):
    """The command that the recorded run was started with; the training command ends the process if it fails."""
    assert main(["train", f"--config=configs/{name}.py", f"--workdir=runs/{name}"]) == 0


@pytest.fixture
def run(record, tmp_path, request, monkeypatch):
    """A copy of all files, in which the present directory is, and the recorded run of a name."""
    shutil.copytree(record.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / request.param


@pytest.mark.parametrize("name", RUNS)
def test_models_of_runs(record, name):
    model = keras.saving.load_model(record.path(f"runs/{name}/{RUNS[name]}"))
    record.assert_outputs(f"runs/{name}", model(record.inputs(f"runs/{name}"), training=False))
    assert frozen_and_not(model) == record.facts[f"runs/{name}:frozen"]


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, indirect=True)
class TestRuns:
    def test_a_finished_training_is_not_repeated_and_one_that_is_not_goes_on(self, record, run):
        """From the checkpoint of step 2: as if it had been killed then, the results of step 3 are not there."""
        files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        train(run.name)
        assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == files
        before, expected = history(run), json.loads((run / "metrics.json").read_text())
        assert sorted(before) == [1, 2, STEPS]
        product = RUNS[run.name]
        for file in (product, "metrics.json"):
            (run / file).unlink()
        lines = (run / "history.csv").read_text().splitlines(keepends=True)
        (run / "history.csv").write_text("".join(lines[: 1 + SAVED]))
        train(run.name)
        # A training that had started anew would have other times in these rows.
        after = history(run)
        assert {step: after[step] for step in (1, 2)} == {step: before[step] for step in (1, 2)}
        assert after[STEPS]["seconds"] != before[STEPS]["seconds"]
        model = keras.saving.load_model(run / product)
        record.assert_outputs(f"runs/{run.name}", model(record.inputs(f"runs/{run.name}"), training=False))
        metrics = json.loads((run / "metrics.json").read_text())
        timing = {name for name in expected if "seconds" in name or "per_second" in name}
        for name in expected.keys() - timing:
            assert metrics[name] == pytest.approx(expected[name], abs=ROUNDING), name


class TestExports:
    path = "exports/saved_model/1"

    def test_a_saved_model(self, record):
        module = tf.saved_model.load(record.path(self.path))
        record.assert_outputs(self.path, module(record.inputs(self.path)))

    def test_its_signatures_as_export_reads_them(self, record):
        found = export.read_signatures(record.path(self.path))
        assert json.loads(json.dumps(found)) == record.facts[f"{self.path}:signatures"]

    def test_a_layer_of_it(self, record):
        layer = keras_nest.HubLayer(record.path(self.path), trainable=True)
        record.assert_outputs(self.path, layer(record.inputs(self.path)))
        assert layer.trainable_variables

    def test_a_tflite_file(self, record):
        file = "exports/tflite/float32.tflite"
        record.assert_outputs(file, TFLiteModel(record.path(file))(record.inputs(file)))

    @pytest.mark.slow
    @pytest.mark.parametrize("format", ["saved_model", "tflite"])
    def test_runs_are_exported_as_then(self, record, tmp_path, format):
        file = "exports/tflite/float32.tflite"
        # Once a file gave logits unless it was asked for something else.
        activation = ["--activation=none"] if "logits" in record.arrays(f"{file}:outputs") else []
        arguments = [f"--format={format}", f"--output={tmp_path}"]
        arguments += ["--no-warm-up"] if format == "saved_model" else ["--precision=float32", *activation]
        assert main(["export", record.path("runs/classifier"), *arguments]) == 0
        if format == "tflite":
            record.assert_outputs(file, TFLiteModel(tmp_path / "float32.tflite")(record.inputs(file)))
            return
        found = json.loads(json.dumps(export.read_signatures(tmp_path / "1")))
        # Signatures that answer each image for itself came later.
        found = {name: both for name, both in found.items() if not name.endswith("_each")}
        assert found == record.facts[f"{self.path}:signatures"]
        module = tf.saved_model.load(tmp_path / "1")
        for name in ("serving_default", "embed", "features"):
            images = tf.constant(record.inputs(f"{self.path}/{name}"))
            record.assert_outputs(f"{self.path}/{name}", module.signatures[name](images=images))


@pytest.mark.parametrize("name", ANSWERS)
def test_answers_of_commands(record, name, monkeypatch, capsys):
    monkeypatch.chdir(record.folder)
    assert main(ANSWERS[name]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert_alike(printed, record.facts[f"answer:{name}"])


def assert_alike(found, expected, where=""):
    """What was there then is there, numbers up to rounding; there may be more."""
    if isinstance(expected, dict):
        assert expected.keys() <= found.keys(), where
        for key, value in expected.items():
            assert_alike(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for number, value in enumerate(expected):
            assert_alike(found[number], value, f"{where}/{number}")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=ROUNDING), where
    else:
        assert found == expected, where
