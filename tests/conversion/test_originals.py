"""Which program weights of PyTorch are compared with, and what is said without it. With both: `make test-torch`."""

import contextlib
import importlib.util
import json
import shutil
import sys
import types

import numpy as np
import pytest

from keras_nest.cli import commands as cli
from keras_nest.conversion import originals
from keras_nest.conversion.originals import find_original
from tests.golden import timm_loading

VIT = timm_loading.FOLDER / "cases" / "vit_token"
HUGGING = next(timm_loading.FOLDER / "cases" / name for name in timm_loading.CASES if name.startswith("transformers"))


@pytest.fixture(autouse=True)
def neither(monkeypatch):
    """As where neither is installed, wherever this is run."""
    for program in ("timm", "transformers"):
        monkeypatch.setitem(sys.modules, program, None)


@pytest.fixture
def convert(tmp_path, monkeypatch, capsys):
    """Exit code and output of `convert --verify`, without the lines of its table."""
    monkeypatch.chdir(tmp_path)

    def run(path, *options):
        code = cli.main(["convert", str(path), "out.keras", "--verify", *options])
        output, errors = capsys.readouterr()
        return code, " ".join(output.replace("│", " ").split()), errors

    return run


@pytest.fixture
def of_timm(monkeypatch):
    """A timm that answers as the model here does, but for one logit; how much that differs can be changed."""
    monkeypatch.setitem(sys.modules, "timm", types.ModuleType("timm"))
    change = [0.0]

    def compute(self, model, name, images):
        outputs = np.array(model(images))
        outputs[0, 0] += change[0] * np.abs(outputs).max()
        return outputs, "timm 1.0"

    monkeypatch.setattr(originals.Original, "outputs", compute)
    return change


def test_whose_weights_they_are(tmp_path):
    assert find_original(VIT)[:2] == ("timm", VIT / "model.safetensors")
    assert find_original(HUGGING).program == "transformers"
    for path, program in ((VIT, "timm"), (HUGGING, "transformers")):
        shutil.copy(path / "model.safetensors", tmp_path / "x.safetensors")
        assert find_original(tmp_path / "x.safetensors") == (program, tmp_path / "x.safetensors", {})
    for other in ("x.npz", "own.keras"):
        (tmp_path / other).touch()
        assert find_original(tmp_path / other) is None


@pytest.mark.parametrize(("path", "program"), [(VIT, "timm"), (HUGGING, "transformers")])
def test_neither_it_nor_flax_is_installed(path, program, convert, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    sentence = f"error: Weights of {program} are compared with {program} itself, which is not installed: pip install "
    assert convert(path) == (2, "", f"{sentence}{program}\n")
    assert list(tmp_path.iterdir()) == []


def test_agreement(of_timm, convert, tmp_path):
    code, output, errors = convert(VIT)
    assert (code, errors) == (0, "")
    assert "largest difference 0.0e+00 of the largest logit (" in output
    assert ", from timm 1.0 on random images" in output
    assert "Flax" not in output
    assert (tmp_path / "out.keras").exists()


def test_disagreement(of_timm, convert):
    of_timm[0] = 2e-4
    code, output, _ = convert(VIT)
    assert code == 1
    assert "largest difference 2.0e-04 of the largest logit (" in output
    assert output.endswith("The models disagree by 2.0e-04, which is more than rounding.")


def test_a_program_that_cannot_open_them(convert, monkeypatch):
    """Its errors are sentences; that nothing was compared is one."""
    monkeypatch.setitem(sys.modules, "timm", types.ModuleType("timm"))
    torch = types.ModuleType("torch")
    torch.inference_mode, torch.from_numpy = contextlib.nullcontext, lambda images: images
    monkeypatch.setitem(sys.modules, "torch", torch)
    code, _, errors = convert(VIT)
    assert code == 2
    assert errors.startswith(f"error: timm cannot open {VIT / 'model.safetensors'}, so nothing was compared: ")
    assert errors.count("\n") == 1


@pytest.mark.slow
def test_another_model_than_theirs_is_compared_with_flax(of_timm, convert):
    code, output, _ = convert(VIT, "--set", "activation=gelu_tanh")
    assert code == 0
    assert "from the Flax module on random images" in output


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"model.safetensors": HUGGING}, "transformers opens no weights without a config.json"),
        ({"model.safetensors.index.json": VIT, "config.json": VIT}, "timm opens no weights in several files"),
    ],
)
def test_files_that_they_do_not_open(files, sentence, tmp_path, monkeypatch):
    for program in ("timm", "transformers"):
        monkeypatch.setitem(sys.modules, program, types.ModuleType(program))
    for name, source in files.items():
        if name.endswith(".index.json"):
            (tmp_path / name).write_text(json.dumps({"weight_map": {}}))
        else:
            shutil.copy(source / name, tmp_path)
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        find_original(tmp_path / next(iter(files))).check()
