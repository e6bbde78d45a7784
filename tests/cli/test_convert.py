"""The converter's command line. As a process: test_pages_run.py and the commands of tests/compatibility."""

import shutil

import keras
import numpy as np
import pytest

from keras_nest import conversion
from keras_nest.cli import commands as cli
from tests import keras_models
from tests.golden import loading, vit_loading

TINY = str(loading.FOLDER / "checkpoint_tiny" / "ckpt.39")
FIELDS = ["--set", "embedding_dim=6", "--set", "init_patch_embed_size=2", "--set", "num_layers_per_block=1,1,2"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in an empty directory and in this process, which saves the imports: its exit code."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: cli.main(["convert", *arguments])


@pytest.mark.slow
def test_there_and_back(run, tmp_path, capsys):
    assert run("nest_tiny", TINY, "tiny.keras", *FIELDS, "--verify") == 0
    output, errors = capsys.readouterr()
    assert errors == ""
    for words in ("23,129", "73", "5 classes", "32 x 32", "largest difference", "Flax", "tiny.keras"):
        assert words in output, words
    case = loading.case("checkpoint_tiny")
    model = keras.saving.load_model(tmp_path / "tiny.keras")
    assert keras_models.gap(model(case.images).numpy(), case.expected["logits"]) <= keras_models.SMALL_LOGITS

    assert run("--to-flax", "tiny.keras", "back.npz") == 0
    original, returned = conversion.read_checkpoint(TINY), conversion.read_checkpoint(tmp_path / "back.npz")
    assert set(original) == set(returned)
    assert all(np.array_equal(original[path], returned[path]) for path in original)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.npz", "tiny.keras"]


@pytest.mark.parametrize("name", ["vit_rep_pre_linen", "hybrid_pre_linen_gn4d", "mixer_linen"])
def test_old_files_under_the_name_they_were_published_by(name, run, tmp_path):
    checkpoint = vit_loading.checkpoint(name)
    published = {"vit_rep_pre_linen": "ViT-B_16", "mixer_linen": "Mixer-B_16"}.get(name, "R_Ti_16-i21k-300ep-lr_0.001")
    shutil.copy(checkpoint.path, tmp_path / f"{published}.npz")
    fields = {k: v for k, v in checkpoint.config.items() if k not in ("num_classes", "representation_size")}
    options = [f"--set={field}={str(value).replace(' ', '')}" for field, value in fields.items()]
    assert run(f"{published}.npz", "out.keras", *options) == 0
    model = keras.saving.load_model(tmp_path / "out.keras")
    assert keras_models.gap(model(checkpoint.images).numpy(), checkpoint.logits) <= keras_models.SMALL_LOGITS

    layout = "linen" if name == "mixer_linen" else "pre_linen"
    assert run("--to-flax", "out.keras", "back.npz", "--layout", layout) == 0
    with np.load(checkpoint.path) as original, np.load(tmp_path / "back.npz") as returned:
        assert set(original) == set(returned)
        assert all(np.array_equal(original[path], returned[path]) for path in original)


@pytest.mark.slow
def test_options(run, tmp_path, capsys):
    options = ["--num-classes", "7", "--reinit-head", "--image-size", "64,32", "--resize-method", "grid", "--verify"]
    assert run("nest_tiny", TINY, "out.keras", *FIELDS, *options) == 0
    output = capsys.readouterr().out
    assert "new (zeros)" in output
    assert "embeddings up to" in output
    model = keras.saving.load_model(tmp_path / "out.keras")
    assert (model.image_size, model.num_classes) == ((64, 32), 7)


class TestBadInput:
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
    def test_one_sentence_and_nothing_left(self, arguments, words, run, tmp_path, capsys):
        (tmp_path / "there.keras").write_text("precious")
        assert run(*arguments) == 2
        message = capsys.readouterr().err
        assert words in message
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert (tmp_path / "there.keras").read_text() == "precious"
        assert [p.name for p in tmp_path.iterdir()] == ["there.keras"]

    def test_disagreement_is_an_error(self, run, monkeypatch, capsys):
        monkeypatch.setattr("keras_nest.cli.convert.largest_difference", lambda *args, **kwargs: (0.1, 1.0))
        assert run("nest_tiny", TINY, "o.keras", *FIELDS, "--verify") == 1
        assert "disagree" in capsys.readouterr().out
