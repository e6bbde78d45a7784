"""The converter's command line, as a user runs it."""

import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import conversion
from keras_nest import cli
from tests import keras_models
from tests.golden import loading, vit_loading

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


@pytest.mark.parametrize("name", ["vit_rep_pre_linen", "hybrid_pre_linen_gn4d", "mixer_linen"])
def test_old_files_under_the_name_they_were_published_by(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = vit_loading.checkpoint(name)
    published = {"vit_rep_pre_linen": "ViT-B_16", "mixer_linen": "Mixer-B_16"}.get(name, "R_Ti_16-i21k-300ep-lr_0.001")
    shutil.copy(checkpoint.path, tmp_path / f"{published}.npz")
    fields = {k: v for k, v in checkpoint.config.items() if k not in ("num_classes", "representation_size")}
    options = [f"--set={field}={str(value).replace(' ', '')}" for field, value in fields.items()]
    assert cli.main(["convert", f"{published}.npz", "out.keras", *options, "--verify"]) == 0
    assert "largest difference" in capsys.readouterr().out
    model = keras.saving.load_model(tmp_path / "out.keras")
    assert keras_models.gap(model(checkpoint.images).numpy(), checkpoint.logits) <= keras_models.SMALL_LOGITS

    layout = "linen" if name == "mixer_linen" else "pre_linen"
    assert cli.main(["convert", "--to-flax", "out.keras", "back.npz", "--layout", layout]) == 0
    with np.load(checkpoint.path) as original, np.load(tmp_path / "back.npz") as returned:
        assert set(original) == set(returned)
        assert all(np.array_equal(original[path], returned[path]) for path in original)


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
            ([TINY], "1 arguments were given; expected [NAME] CHECKPOINT OUT.keras"),
            ([TINY, "o.keras"], "file name ckpt.39 does not tell which model"),
            (["nest_tiny", TINY, "there.keras", *FIELDS], "exists already"),
            (["nest_tiny", TINY, "there.keras/o.keras", *FIELDS], "cannot be written to"),
            (["--to-flax", "nowhere.keras", "o.npz"], "no model nowhere.keras"),
            (["--to-flax", "there.keras", "o.npz"], "there.keras"),
        ],
    )
    def test_one_sentence_and_nothing_left(self, arguments, words, tmp_path, monkeypatch, capsys):
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

        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(conversion.cli, "largest_difference", lambda *args, **kwargs: (0.1, 1.0))
        assert cli.main(["convert", "nest_tiny", TINY, "o.keras", *FIELDS, "--verify"]) == 1
        assert "disagree" in capsys.readouterr().out
