"""Speed of a model, through `main` and through the command line."""

import dataclasses
import json
import pathlib

import keras
import pytest

import keras_nest
from keras_nest.cli.train import main, prepare, run
from keras_nest.profiling import count_macs, count_parameters
from keras_nest.training.inference_time import InferenceTime, resolve

SMALL = {"patch_size": 8, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_dim": 16}
CONFIG = {
    "trainer": "inference_time",
    "model_name": "ViT-Ti_16",
    "model": SMALL,
    "batch": 6,
    "num_classes": 7,
    "image_size": 24,
    "steps": 3,
    "initial_steps": 2,
}
SPEEDS = ("images_per_second_min", "images_per_second_median", "images_per_second_max")


def test_sizes_and_speeds(tmp_path):
    results = main(CONFIG, tmp_path)
    assert results == json.loads((tmp_path / "inference_time.json").read_text())
    model = keras_nest.create_model("ViT-Ti_16", num_classes=7, image_size=24, **SMALL)
    sizes = {"parameters": count_parameters(model), "multiply-adds": count_macs(model)}
    assert {name: value for name, value in results.items() if name not in SPEEDS} == {
        "model": "ViT-Ti_16",
        "batch": 6,
        **sizes,
    }
    slowest, middle, fastest = (results[name] for name in SPEEDS)
    assert 0 < slowest <= middle <= fastest


def test_speeds_are_images_by_the_time_of_a_step(tmp_path, monkeypatch):
    timing = prepare(CONFIG, tmp_path)
    assert len(timing.measure_seconds()) == 3, "those before them are not measured"
    monkeypatch.setattr(InferenceTime, "measure_seconds", lambda self: [1, 3, 2])
    results = timing.execute()
    assert [results[name] for name in SPEEDS] == [2, 3, 6]


@pytest.mark.parametrize(("policy", "dtype"), [("float32", "float32"), ("mixed_bfloat16", "bfloat16")])
def test_precision(policy, dtype, tmp_path):
    timing = prepare({**CONFIG, "dtype_policy": policy}, tmp_path)
    assert timing.model.get_layer("embedding").compute_dtype == dtype
    assert keras.config.dtype_policy().name == "float32"


def test_images_have_the_size_that_was_asked_for(tmp_path):
    timing = prepare(CONFIG, tmp_path)
    assert timing.model.output_shape == (None, 7)
    shapes = []
    dataclasses.replace(
        timing, model=lambda images, training: shapes.append((images.shape, training)) or images
    ).measure_seconds()
    assert shapes == [((6, 24, 24, 3), False)], "traced once"


def test_the_directory_of_another_run_is_not_touched(tmp_path):
    prepare(CONFIG, tmp_path)
    prepare(CONFIG, tmp_path)
    with pytest.raises(FileExistsError, match="batch is 6 there and 8 here"):
        prepare({**CONFIG, "batch": 8}, tmp_path)
    assert prepare({**CONFIG, "batch": 8}, tmp_path, overwrite=True).config.batch == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_epochs": 3}, "unknown field 'num_epochs'; its fields are trainer, "),
        ({"seed": 3}, "unknown field 'seed'; its fields are trainer, "),
        ({"model_name": None}, "does not say model_name; it must"),
        ({"jit_compile": "yes"}, "jit_compile is 'yes'; it must be 'auto' or True or False"),
        ({"dtype_policy": "float16"}, "dtype_policy is 'float16'; it must be 'float32' or 'mixed_bfloat16' or 'mixed"),
        ({"batch": None}, "batch is None; it must be a positive whole number"),
        ({"image_size": 0}, "image_size is 0; it must be a positive whole number"),
        ({"steps": -1}, "steps is -1; it must be a positive whole number"),
    ],
)
def test_refused(change, message):
    with pytest.raises(ValueError, match=message) as refused:
        resolve({**CONFIG, **change})
    assert "\n" not in str(refused.value)


def test_defaults_fill_what_is_not_given():
    config = resolve(
        {"train": "inference_time", "model_name": "ViT-B_32", "batch": 8, "num_classes": 10, "image_size": 32}
    )
    assert (config.steps, config.initial_steps, config.batch, config.trainer) == (30, 10, 8, "inference_time")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.py"
    path.write_text(f"from ml_collections import ConfigDict\n\ndef get_config():\n    return ConfigDict({CONFIG!r})\n")
    return path


def test_command_line(file, tmp_path, capsys):
    run(["train_keras.py", f"--config={file}", f"--workdir={tmp_path / 'run'}", "--config.batch=4"])
    results = json.loads((tmp_path / "run" / "inference_time.json").read_text())
    assert results["batch"] == 4
    output, errors = capsys.readouterr()
    assert errors == ""
    assert str(results["images_per_second_median"]) in output
    assert f"{results['parameters']:,}" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.batch=0"], "batch is 0; it must be a positive whole number."),
        (["--config.batsh=4"], "unknown field 'batsh'; did you mean batch?"),
        (["--config.model.hidden=8"], "VisionTransformer has no field 'hidden'"),
        (["--workdir=/proc/run"], "/proc/run cannot be written to"),
        ([f"--workdir={pathlib.Path(__file__)}"], "is a file; the working directory must be a directory."),
    ],
)
def test_wrong_use_ends_with_one_sentence_before_anything_is_measured(arguments, message, file, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run(["train_keras.py", f"--config={file}", f"--workdir={tmp_path / 'run'}", *arguments])
    assert stopped.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "run").exists()
