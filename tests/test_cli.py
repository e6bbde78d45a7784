"""The `keras-nest` command, as typed."""

import pathlib
import re
import subprocess
import sys

import keras
import pytest

import keras_nest
from keras_nest import cli, console
from tests.golden import loading

TOY = {"image_size": 16, "init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1)}


def run_process(*arguments):
    """Runs the installed command like a shell does: exit code, output, lines of errors."""
    command = pathlib.Path(sys.executable).with_name("keras-nest")
    done = subprocess.run([command, *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process, which saves the imports: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 110)

    def run_here(*arguments):
        code = cli.main(arguments)
        return code, *capsys.readouterr()

    return run_here


class TestAsAProcess:
    def test_list(self):
        code, output, errors = run_process("list")
        assert (code, errors) == (0, [])
        rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line[0] == "│"]
        assert [row[0] for row in rows] == keras_nest.list_models()
        assert rows[2] == ["nest_base_s196_224", "nest_base", "NesT", "224 x 224", "1000", "67,723,368"]

    def test_bad_input_is_one_sentence_and_exit_code_2(self):
        code, output, (sentence,) = run_process("info", "nest_tny")
        assert (code, output) == (2, "")
        assert sentence.startswith("error: There is no model 'nest_tny'; did you mean nest_tiny")


class TestList:
    def test_glob(self, run):
        code, output, _ = run("list", "*_s16_32")
        assert code == 0
        listed = [name for name in keras_nest.list_models() if name in output]
        assert listed == ["nest_tiny_s16_32", "nest_small_s16_32", "nest_base_s16_32"]

    def test_no_match(self, run):
        code, output, errors = run("list", "resnet*")
        assert (code, output) == (2, "")
        assert errors == "error: No model matches 'resnet*'; `keras-nest list` shows all.\n"


class TestInfo:
    def test_published_model(self, run):
        code, output, _ = run("info", "nest_tiny")
        assert code == 0
        macs = loading.facts("manifest")["variants"]["nest_tiny_s196_224"]["matmul_conv_macs_batch1"]
        facts = ["nest_tiny_s196_224", "17,057,608", f"{macs:,}", "224 x 224 x 3", "(None, 1000)"]
        preprocessing = ["mean [0.485, 0.456, 0.406]", "crop_ratio 0.875", "bilinear"]
        layers = ["PatchEmbedding_0", "EncoderNDBlock_11", "ConvPool_1", "(None, 14, 14, 384)"]
        for words in (*facts, *preprocessing, *layers):
            assert words in output, words

    def test_saved_model(self, run, tmp_path):
        fields = {**TOY, "image_size": (16, 24), "num_classes": 7, "norm_type": "BN"}
        keras_nest.create_model("nest_tiny", **fields).save(tmp_path / "model.keras")
        code, output, _ = run("info", str(tmp_path / "model.keras"))
        assert code == 0
        for words in (
            "nest_tiny_s196_224",
            "16 x 24 x 3",
            "(None, 7)",
            "norm_type",
            "BN",
            "BatchNorm_0",
            "crop_ratio 0.875",
        ):
            assert words in output, words

    def test_features_and_no_preprocessing(self, run, tmp_path):
        keras_nest.NesT(features_only=True, **TOY).save(tmp_path / "model.keras")
        code, output, _ = run("info", str(tmp_path / "model.keras"))
        assert code == 0
        assert "'P1': (None, 8, 8, 12)" in output
        assert re.search(r"preprocessing *│ none", output)

    def test_other_files(self, run, tmp_path):
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
        code, output, errors = run("info", str(tmp_path / "other.keras"))
        assert (code, output) == (2, "")
        assert errors.endswith("other.keras holds a Sequential, which is no model of keras_nest.\n")
        code, _, errors = run("info", str(tmp_path / "missing.keras"))
        assert code == 2
        assert "missing.keras" in errors


@pytest.mark.parametrize("arguments", [[], ["fly"], ["info"]])
def test_wrong_usage(capsys, arguments):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: keras-nest" in capsys.readouterr().err
