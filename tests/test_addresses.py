"""No door takes an address for a directory named "s3:": what cannot be done there is refused, before any work.

What can be done: tests/test_outputs.py, tests/export/test_at_addresses.py, tests/cli/test_at_addresses.py.
"""

import pathlib

import pytest

from benchmarks import train_step
from keras_nest import conversion, export
from keras_nest.class_names import read_class_names
from keras_nest.cli import commands as cli
from keras_nest.cli import train as training
from keras_nest.conversion.download import download
from keras_nest.data.converted import Converted
from keras_nest.data.sources.pairs import read_pairs
from keras_nest.data.sources.table import read_table
from keras_nest.evaluation.images import open_images
from keras_nest.figures import picture_file
from keras_nest.files import atomic_output, cache_folder, check_local, local_path
from keras_nest.finetune.found import look
from keras_nest.generative.export import generator_to_saved_model, generator_to_tflite
from keras_nest.opening import open_model
from keras_nest.outputs import output_at
from keras_nest.places import read_lines
from keras_nest.predict import open_predictor
from keras_nest.predict.images import find_images
from keras_nest.tflite import TFLiteModel
from keras_nest.tokenizers import get_tokenizer

# Those that TensorFlow has no file system for, and others.
UNKNOWN = [
    *("s3://bucket/x", "s3:/bucket/x", "hdfs://host/x", "http://host/x", "https://host/x", "GS://bucket/x"),
    pathlib.Path("s3://bucket") / "x",
]
ADDRESSES = [*UNKNOWN, "gs://bucket/x", "gs:/bucket/x", "file:///tmp/x", "ram://x", pathlib.Path("gs://bucket/x")]
NO_FILE_SYSTEM = r"^\w+://\w+/x[\w./]*: TensorFlow has no file system for \w+://"
SENTENCE = r"x[\w./]* is an address and no path of this machine; give a path here"
# Whoever touches this in the place of a model, an image or a configuration has begun to work.
NOTHING = None


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:9")  # where nobody answers
    yield
    assert list(tmp_path.iterdir()) == []


def entered(context):
    with context:
        pytest.fail("the work began")


OUTPUTS = {
    "output_at": lambda path: entered(output_at(path)),
    "picture_file": lambda path: entered(picture_file(f"{path}.png")),
    "to_saved_model": lambda path: export.to_saved_model(NOTHING, path),
    "publish": lambda path: export.publish(NOTHING, path),
    "to_tflite": lambda path: export.to_tflite(NOTHING, path),
    "to_onnx": lambda path: export.to_onnx(NOTHING, path),
    "to_keras": lambda path: export.to_keras(NOTHING, path),
    "generator_to_saved_model": lambda path: generator_to_saved_model(NOTHING, path),
    "generator_to_tflite": lambda path: generator_to_tflite(NOTHING, path),
    "write_checkpoint, Orbax": lambda path: conversion.write_checkpoint(NOTHING, path),
    "write_checkpoint, .npz": lambda path: conversion.write_checkpoint(NOTHING, f"{path}.npz"),
    "write_checkpoint, .msgpack": lambda path: conversion.write_checkpoint(NOTHING, f"{path}.msgpack"),
}
INPUTS = {
    "read_lines": lambda path: read_lines(path, "label"),
    "class names": lambda path: read_class_names(path, 3),
    "TFLiteModel": TFLiteModel,
    "open_predictor, .tflite": lambda path: open_predictor(f"{path}.tflite"),
    "open_predictor, SavedModel": open_predictor,
    "open_model": open_model,
    "get_tokenizer": lambda path: get_tokenizer(f"{path}.txt"),
    "find_images": lambda path: find_images([path]),
    "captions": read_pairs,
    "table": read_table,
    "fine-tuning": look,
    "fine-tuning, a list": lambda path: look(f"{path}.csv"),
    "folder to measure with": open_images,
    "list to measure with": lambda path: open_images(f"{path}.csv"),
}
# Doors for paths of this machine.
LOCAL = {
    "atomic_output": lambda path: entered(atomic_output(path)),
    "download": lambda path: download("nowhere", path),
    "converted images": Converted,
}


@pytest.mark.parametrize("address", UNKNOWN, ids=repr)
@pytest.mark.parametrize("door", [*OUTPUTS, *INPUTS])
def test_no_file_system(door, address):
    with pytest.raises(ValueError, match=NO_FILE_SYSTEM):
        {**OUTPUTS, **INPUTS}[door](address)


@pytest.mark.parametrize("address", ADDRESSES, ids=repr)
@pytest.mark.parametrize("door", LOCAL)
def test_this_machine(door, address):
    with pytest.raises(ValueError, match=SENTENCE):
        LOCAL[door](address)


def test_the_cache_is_of_this_machine(monkeypatch):
    monkeypatch.setenv("KERAS_NEST_CACHE", "gs://bucket/x")
    with pytest.raises(ValueError, match=SENTENCE):
        cache_folder()


@pytest.mark.parametrize("address", ["s3://bucket/x", "hdfs://host/x"])
@pytest.mark.parametrize(
    "command",
    [
        "convert nest_tiny nowhere.npz {}.keras",
        "convert nest_tiny nowhere.npz {}.weights.h5",
        "convert --to-flax nowhere.keras {}.npz",
        "convert --to-flax nowhere.keras {}",
        "export nowhere.keras --format saved_model --output {}",
        "export nowhere.keras --format tflite --output {}",
        "export nowhere.keras --format onnx --output {}",
        "export nowhere.keras --format keras --output {}",
        "predict IMAGE --model nowhere.keras --save {}",
        "predict {} --model nowhere.keras",
        "explain IMAGE --model nowhere.keras --save {}",
        "zero-shot IMAGE --model nowhere.keras --labels a b --save {}",
        "data nowhere --show {}.png",
        "data {}",
        "predict IMAGE --model {}.tflite",
        "predict IMAGE --model {}",
        "evaluate nowhere.keras --data . --save {}.json",
        "report {}",
        "zero-shot IMAGE --model nowhere.keras --labels-file {}",
        "zero-shot --captions {}.csv --model nowhere.keras",
        "zero-shot --dataset {} --model nowhere.keras",
        "evaluate nowhere.keras --data {}.csv",
        "finetune {} --model nest_tiny --workdir runs/x",
        "finetune {}.csv --model nest_tiny --workdir runs/x",
    ],
)
def test_command_line(command, address, capsys):
    told = refused(command, address, capsys)
    assert f": TensorFlow has no file system for {address.partition('://')[0]}://" in told


@pytest.mark.parametrize("address", ["gs://bucket/x", "gs:/bucket/x", "s3://bucket/x", "file:///tmp/x"])
@pytest.mark.parametrize(
    "command",
    [
        "download nowhere.npz {}",
        "download sam/ViT-B_16 {}",
    ],
)
def test_command_line_of_this_machine(command, address, capsys):
    assert "is an address and no path of this machine" in refused(command, address, capsys)


def refused(command, address, capsys):
    words = command.format(address).replace("IMAGE", str(pathlib.Path(__file__).parents[1] / "docs/demo.png")).split()
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert f"error: {address}" in told.err
    assert told.out == ""
    return told.err


@pytest.mark.parametrize("address", ["s3://bucket/x", "s3:/bucket/x"])
def test_training(address, capsys):
    """Where there is a file system for it, a run has an address: tests/training/test_bucket_runs.py."""
    config = pathlib.Path(__file__).parents[1] / "configs/digits_nest.py"
    with pytest.raises(SystemExit) as end:
        training.run(["train_keras.py", f"--config={config}", f"--workdir={address}"])
    assert end.value.code == 2
    assert "error: s3://bucket/x: TensorFlow has no file system for s3://" in capsys.readouterr().err


def test_the_results_of_benchmarks(capsys):
    with pytest.raises(SystemExit) as end:
        train_step.main(["--quick", "--results", "gs://bucket/results"])
    assert end.value.code == 2
    assert "gs://bucket/results is an address" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path",
    ["C:\\models\\x", "C:/models/x", "x", "./x", "a:b", "run:1/x", "12:/x", "/tmp/x", "../gs/x", "x.keras", "~/x", ""],
)
def test_paths_of_a_machine_are_none(path):
    check_local(path)
    assert local_path(path) == pathlib.Path(path)
