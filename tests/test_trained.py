"""Trained models with what lies beside them."""

import json

import pytest

import keras_nest
from keras_nest import trained

TOY = {"image_size": 8, "init_patch_embed_size": 2, "embedding_dim": 4, "num_heads": 1, "num_layers_per_block": (1,)}
NAMES = ("owl", "Käuzchen", "cat, tabby")


@pytest.fixture(scope="module")
def model():
    return keras_nest.NesT(num_classes=3, **TOY)


@pytest.fixture
def workdir(model, tmp_path):
    """What a run leaves."""
    model.save(tmp_path / "model.keras")
    (tmp_path / "classes.txt").write_text("".join(f"{name}\n" for name in NAMES), "utf-8")
    (tmp_path / "metrics.json").write_text('{"top1": 0.5}')
    (tmp_path / "config.json").write_text(json.dumps({"dataset": "digits"}))
    return tmp_path


def test_a_run(workdir, model):
    found = trained.read_trained(workdir)
    assert found.model.count_params() == model.count_params()
    assert found.class_names == NAMES
    assert (found.metrics, found.config) == ({"top1": 0.5}, {"dataset": "digits"})


def test_a_file_and_the_names_beside_it(workdir):
    found = trained.read_trained(workdir / "model.keras")
    assert (found.class_names, found.metrics, found.config) == (NAMES, {}, {})
    (workdir / "classes.txt").unlink()
    assert trained.read_trained(workdir / "model.keras").class_names is None


def test_names_from_elsewhere(workdir, tmp_path):
    # As an editor of Windows writes it.
    (tmp_path / "mine.txt").write_bytes("\ufeffa\r\nb\r\nc".encode())
    assert trained.read_trained(workdir, labels=tmp_path / "mine.txt").class_names == ("a", "b", "c")


def test_a_name_and_weights(tmp_path, workdir):
    keras_nest.create_model("testing", num_classes=3).save(tmp_path / "checkpoint.keras")
    weights = str(tmp_path / "checkpoint.keras")
    found = trained.read_trained("testing", weights=weights, labels=workdir / "classes.txt")
    assert (found.model.name, found.model.num_classes, found.class_names) == ("testing", 3, NAMES)


def test_a_model_without_classes_has_no_names(tmp_path):
    keras_nest.NesT(num_classes=0, **TOY).save(tmp_path / "model.keras")
    (tmp_path / "classes.txt").write_text("left over\n")
    assert trained.read_trained(tmp_path).class_names is None
    with pytest.raises(ValueError, match="1 class names for 0 classes"):
        trained.read_trained(tmp_path, labels=tmp_path / "classes.txt")


@pytest.mark.parametrize(("content", "count"), [(b"a\nb\n", 2), (b"", 0), (b"a\n\nb\nc\n", 4)])
def test_the_number_of_names_must_fit(workdir, content, count):
    (workdir / "classes.txt").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"classes.txt has {count} class names for 3 classes; there must be one for each"
    ):
        trained.read_trained(workdir)


@pytest.mark.parametrize(
    ("source", "labels", "error", "message"),
    [
        ("missing.keras", None, FileNotFoundError, "There is no model missing.keras"),
        (".", None, FileNotFoundError, "There is no model ./model.keras"),
        ("runs/none", None, FileNotFoundError, "There is no runs/none; give a .keras file or the directory of a"),
        ("nest_tiny", None, ValueError, "nest_tiny is the name of a model, not a trained one; add its weights"),
        ("nest_tny", None, ValueError, "There is no model 'nest_tny'; did you mean nest_tiny"),
    ],
)
def test_what_is_no_trained_model_is_refused(source, labels, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        trained.read_trained(source, labels=labels)


def test_what_is_no_file_of_names_is_refused(workdir):
    with pytest.raises(FileNotFoundError, match="There is no file of class names"):
        trained.read_trained(workdir, labels=workdir / "none.txt")
    (workdir / "classes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is no text in UTF-8; it must hold one class name a line"):
        trained.read_trained(workdir)
