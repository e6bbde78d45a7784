"""The `keras-nest` command, as typed."""

import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest

import keras_nest
from keras_nest import console, registry
from keras_nest.cli import commands as cli
from keras_nest.cli import download as published_cli
from keras_nest.conversion.download import download
from keras_nest.conversion.published import PUBLISHED
from tests.golden import loading

TOY = {"image_size": 16, "init_patch_embed_size": 2, "embedding_dim": 12, "num_layers_per_block": (1, 1)}


def run_process(*arguments):
    """Runs the installed command like a shell does: exit code, output, lines of errors."""
    command = pathlib.Path(sys.executable).with_name("keras-nest")
    loud = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "0"}  # as where nobody has set it
    done = subprocess.run([command, *arguments], env=loud, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.splitlines()


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command in this process, which saves the imports: exit code, output, errors."""
    monkeypatch.setattr(console.console, "width", 110)

    def run_here(*arguments):
        code = cli.main(arguments)
        return code, *capsys.readouterr()

    return run_here


@pytest.mark.slow
def test_bad_input_to_the_process_is_one_sentence_and_exit_code_2():
    """And no note of TensorFlow's. What succeeds as a process: tests/test_pages_run.py."""
    code, output, (sentence,) = run_process("info", "nest_tny")
    assert (code, output) == (2, "")
    assert sentence.startswith("error: There is no model 'nest_tny'; did you mean nest_tiny")


class TestList:
    def test_all(self, run):
        code, output, errors = run("list")
        assert (code, errors) == (0, "")
        header, *rows = [re.split(r" {2,}", line.strip()) for line in output.splitlines()]
        assert header == ["name", "alias", "architecture", "input", "classes", "params"]
        assert [row[0] for row in rows] == [n for n in keras_nest.list_models() if not n.startswith("testing")]
        assert rows[2] == ["nest_base_s196_224", "nest_base", "NesT", "224", "1000", "67.7 M"]

    def test_names_are_whole_in_80_columns(self, run, monkeypatch):
        monkeypatch.setattr(console.console, "width", 80)
        _, output, _ = run("list")
        cells = {cell for line in output.splitlines() for cell in re.split(r" {2,}", line.strip())}
        assert {n for n in keras_nest.list_models() if not n.startswith("testing")} | set(registry.ALIASES) <= cells

    def test_toys_are_listed_when_they_are_asked_for(self, run):
        _, output, _ = run("list", "testing*")
        assert "testing-unpooled" in output

    def test_glob(self, run):
        code, output, _ = run("list", "*_s16_32")
        assert code == 0
        listed = [name for name in keras_nest.list_models() if name in output]
        assert listed == ["nest_tiny_s16_32", "nest_small_s16_32", "nest_base_s16_32"]

    def test_no_match(self, run):
        code, output, errors = run("list", "densenet*")
        assert (code, output) == (2, "")
        assert errors == "error: No model matches 'densenet*'; `keras-nest list` shows all.\n"


class TestUrls:
    def test_rows(self, run):
        code, output, errors = run("list", "--urls", "sam/*")
        assert (code, errors) == (0, "")
        assert re.search(r"^ *ViT-S_16 +1000 +224 +252 +gs://vit_models/sam/ViT-S_16\.npz *$", output, re.MULTILINE)
        assert set(re.findall(r"gs://\S+", output)) == {row.uri for row in PUBLISHED if row.source == "sam"}

    def test_all(self, run):
        code, output, _ = run("list", "--urls")
        assert code == 0
        lines = [line.strip() for line in output.splitlines()]
        assert [line for line in lines if line in {row.source for row in PUBLISHED}] == [
            *("nest-checkpoints", "imagenet21k+imagenet2012", "augreg", "imagenet21k", "sam", "gsam"),
            *("imagenet1k", "imagenet21k", "sam", "gsam", "lit", "augreg"),
        ]
        assert re.findall(r"gs://\S+", output) == [row.uri for row in PUBLISHED]

    @pytest.mark.parametrize("pattern", ["LiT-L16S*", "*/LiT-L16S*"])
    def test_glob(self, run, pattern):
        _, output, _ = run("list", "--urls", pattern)
        files = [f"gs://vit_models/lit/LiT-L16S.{suffix}" for suffix in ("npz", "model")]
        assert re.findall(r"gs://\S+", output) == files

    def test_no_match(self, run):
        code, output, errors = run("list", "--urls", "resnet*")
        assert (code, output) == (2, "")
        assert errors == "error: No published checkpoint matches 'resnet*'; `keras-nest list --urls` shows all.\n"


class TestDownload:
    @pytest.fixture
    def bucket(self, tmp_path, monkeypatch):
        """A folder that stands in for the published buckets."""
        folder = tmp_path / "bucket"

        def from_folder(uri, *arguments):
            return download(str(uri).replace("gs://", f"{folder}/"), *arguments)

        monkeypatch.setattr(published_cli, "download", from_folder)
        for file in ("mixer_models/sam/Mixer-B_16.npz", "vit_models/lit/LiT-L16S.npz", "vit_models/lit/LiT-L16S.model"):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(file.encode() * 2**16)
        return folder

    def test_own_file(self, run, tmp_path):
        (tmp_path / "model.npz").write_bytes(b"12345")
        code, output, errors = run("download", str(tmp_path / "model.npz"), str(tmp_path / "out"))
        assert (code, errors) == (0, "")
        assert "Downloaded model.npz" in output
        assert (tmp_path / "out" / "model.npz").read_bytes() == b"12345"

    def test_unknown_name(self, run, tmp_path):
        code, output, errors = run("download", "ViT-B16", str(tmp_path / "out"))
        assert (code, output) == (2, "")
        assert errors.startswith("error: There is no published checkpoint and no file 'ViT-B16'; did you mean ViT-B_16")
        assert not (tmp_path / "out").exists()

    def test_published_one(self, run, bucket, tmp_path):
        code, output, _ = run("download", "sam/Mixer-B_16", str(tmp_path / "out"))
        assert code == 0
        for words in ("Downloaded Mixer-B_16", "gs://mixer_models/sam/Mixer-B_16.npz", "1.9 MiB", "1,000", "224 x 224"):
            assert words in output, words
        other = ["imagenet1k/Mixer-B_16", "imagenet21k/Mixer-B_16", "gsam/Mixer-B_16"]
        assert output.split("Other checkpoints of Mixer-B_16:")[1].split() == other
        file = "mixer_models/sam/Mixer-B_16.npz"
        assert (tmp_path / "out" / "Mixer-B_16.npz").read_bytes() == (bucket / file).read_bytes()
        assert "Already there: Mixer-B_16" in run("download", "sam/Mixer-B_16", str(tmp_path / "out"))[1]

    def test_what_was_left_is_told(self, run, bucket, tmp_path):
        whole = (bucket / "mixer_models/sam/Mixer-B_16.npz").read_bytes()
        (tmp_path / "Mixer-B_16.npz.partial").write_bytes(whole[: 2**20])
        _, output, _ = run("download", "sam/Mixer-B_16", str(tmp_path))
        assert "0.9 MiB; an earlier download had left the rest" in output

    def test_vocabulary_comes_along(self, run, bucket, tmp_path):
        code, output, _ = run("download", "LiT-L16S", str(tmp_path / "out"))
        assert code == 0
        assert "Other checkpoints" not in output
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["LiT-L16S.model", "LiT-L16S.npz"]

    def test_another_file_there(self, run, bucket, tmp_path):
        (tmp_path / "Mixer-B_16.npz").write_bytes(b"precious")
        code, _, errors = run("download", "sam/Mixer-B_16", str(tmp_path))
        assert (code, errors.count("\n")) == (2, 1)
        assert "exists already" in errors
        assert (tmp_path / "Mixer-B_16.npz").read_bytes() == b"precious"
        assert run("download", "sam/Mixer-B_16", str(tmp_path), "--overwrite")[0] == 0

    def test_missing_in_the_bucket(self, run, bucket, tmp_path):
        code, _, errors = run("download", "gsam/Mixer-B_16", str(tmp_path / "out"))
        assert code == 2
        assert re.fullmatch(r"error: There is no .*gsam/Mixer-B_16\.npz\.\n", errors)
        assert not (tmp_path / "out").exists()


class TestInfo:
    @pytest.mark.slow
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
        fields["classifier_activation"] = "sigmoid"
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
        assert re.search(r"classifier_activation\W+sigmoid\b", output)

    def test_features_and_no_preprocessing(self, run, tmp_path):
        keras_nest.NesT(features_only=True, **TOY).save(tmp_path / "model.keras")
        code, output, _ = run("info", str(tmp_path / "model.keras"))
        assert code == 0
        assert "'P1': (None, 8, 8, 12)" in output
        assert re.search(r"preprocessing *│ none", output)
        assert re.search(r"classifier_activation\W+None\b", output)

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
