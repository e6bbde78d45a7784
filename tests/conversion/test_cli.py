"""The converter's command line, as a user runs it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import conversion
from tests import keras_models
from tests.golden import loading

TINY = str(loading.FOLDER / "checkpoint_tiny" / "ckpt.39")
FIELDS = ["--set", "embedding_dim=6", "--set", "init_patch_embed_size=2", "--set", "num_layers_per_block=1,1,2"]


def run(*arguments, cwd):
    command = [sys.executable, "-m", "conversion", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


def test_there_and_back(tmp_path):
    done = run("nest_tiny", TINY, "tiny.keras", *FIELDS, "--verify", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for words in ("23,129", "73", "5 classes", "32 x 32", "largest difference", "Flax", "100%", "tiny.keras"):
        assert words in done.stdout or words == "100%", words
    case = loading.case("checkpoint_tiny")
    model = keras.saving.load_model(tmp_path / "tiny.keras")
    assert keras_models.gap(model(case.images).numpy(), case.expected["logits"]) <= keras_models.SMALL_LOGITS

    back = run("--to-flax", "tiny.keras", "back.npz", cwd=tmp_path)
    assert back.returncode == 0, back.stderr
    original, returned = conversion.read_checkpoint(TINY), conversion.read_checkpoint(tmp_path / "back.npz")
    assert set(original) == set(returned)
    assert all(np.array_equal(original[path], returned[path]) for path in original)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.npz", "tiny.keras"]


def test_options(tmp_path):
    options = ["--num-classes", 7, "--reinit-head", "--image-size", "64,32", "--resize-method", "grid", "--verify"]
    done = run("nest_tiny", TINY, "out.keras", *FIELDS, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "new (zeros)" in done.stdout
    assert "embeddings up to" in done.stdout
    model = keras.saving.load_model(tmp_path / "out.keras")
    assert (model.image_size, model.num_classes) == ((64, 32), 7)


class TestBadInput:
    """In one process: what a subprocess adds is shown above."""

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["nest_tin", TINY, "o.keras"], "did you mean nest_tiny"),
            (["nest_tiny", "nowhere", "o.keras"], "no checkpoint nowhere"),
            (["nest_tiny", TINY, "o.keras"], "does not fit nest_tiny_s196_224"),
            (["nest_tiny", TINY, "o.keras", *FIELDS, "--num-classes", "3"], "--reinit-head"),
            (["nest_tiny", TINY, "o.keras", *FIELDS, "--image-size", "50"], "multiples of 8"),
            (["nest_tiny", TINY, "o.keras", "--set", "embed=3"], "no field 'embed'"),
            (["nest_tiny", TINY, "o.keras", "--set", "embed"], "FIELD=VALUE"),
            (["nest_tiny", TINY, "o.pb"], "must end in .keras"),
            (["nest_tiny", TINY], "expected NAME CHECKPOINT OUT.keras"),
            (["nest_tiny", TINY, "there.keras", *FIELDS], "exists already"),
            (["nest_tiny", TINY, "there.keras/o.keras", *FIELDS], "cannot be written to"),
            (["--to-flax", "nowhere.keras", "o.npz"], "no model nowhere.keras"),
            (["--to-flax", "there.keras", "o.npz"], "there.keras"),
        ],
    )
    def test_one_sentence_and_nothing_left(self, arguments, words, tmp_path, monkeypatch, capsys):
        from keras_nest import cli

        monkeypatch.chdir(tmp_path)
        (tmp_path / "there.keras").write_text("precious")
        assert cli.main(["convert", *arguments]) == 2
        message = capsys.readouterr().err
        assert words in message
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert (tmp_path / "there.keras").read_text() == "precious"
        assert [p.name for p in tmp_path.iterdir()] == ["there.keras"]

    def test_disagreement_is_an_error(self, tmp_path, monkeypatch, capsys):
        import conversion.cli
        from keras_nest import cli

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(conversion.cli, "largest_difference", lambda *args, **kwargs: (0.1, 1.0))
        assert cli.main(["convert", "nest_tiny", TINY, "o.keras", *FIELDS, "--verify"]) == 1
        assert "disagree" in capsys.readouterr().out
