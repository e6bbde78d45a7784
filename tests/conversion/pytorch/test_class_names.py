"""Names of classes in config.json go with the head."""

import json
import shutil

import pytest

import keras_nest
from keras_nest import conversion
from tests.golden import timm_loading


def directory(case, tmp_path, **changes):
    """A case's files, with another config.json."""
    folder = shutil.copytree(timm_loading.FOLDER / "cases" / case, tmp_path / case)
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def classes(case):
    return keras_nest.create_model(weights=str(timm_loading.FOLDER / "cases" / case)).num_classes


@pytest.mark.parametrize(("case", "field"), [("transformers_classifier", "id2label"), ("vit_token", "label_names")])
def test_they_go_with_the_head(case, field, tmp_path):
    names = [f"kind {number}" for number in range(classes(case))]
    labels = (
        dict(reversed([(str(number), name) for number, name in enumerate(names)])) if field == "id2label" else names
    )
    folder = directory(case, tmp_path, **{field: labels})
    loaded = keras_nest.open_model(folder)
    assert loaded.class_names == tuple(names)
    assert loaded.model.head_dataset is None
    loaded.model.save(tmp_path / "model.keras")
    saved = str(tmp_path / "model.keras")
    assert keras_nest.open_model(saved).class_names == tuple(names)
    assert keras_nest.create_model(weights=saved, dropout_rate=0.5).head_classes == tuple(names)
    for source in (folder, saved):
        assert keras_nest.create_model(weights=source, num_classes=2, reinit_head=True).head_classes is None


def test_made_up_ones_are_none(tmp_path):
    labels = {str(number): f"LABEL_{number}" for number in range(classes("transformers_classifier"))}
    folder = directory("transformers_classifier", tmp_path, id2label=labels)
    assert keras_nest.open_model(folder).class_names is None


@pytest.mark.parametrize("labels", [{"0": "one too few"}, {"1": "a", "5": "b"}, ["a", "b"], "no mapping"])
def test_what_does_not_fit_is_left_alone(labels, tmp_path):
    folder = directory("transformers_classifier", tmp_path, id2label=labels)
    assert keras_nest.open_model(folder).class_names is None


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_what_a_head_tells_goes_with_it(task, tmp_path, caplog):
    """In .keras files and those of transformers; other formats have no place for it, which is said."""
    model = keras_nest.open_model(directory("transformers_classifier", tmp_path)).model
    assert model.task == "single-label"
    model.task = task
    model.save(tmp_path / "model.keras")
    conversion.write_transformers(model, tmp_path / "theirs")
    assert caplog.text == ""
    kind = json.loads((tmp_path / "theirs/config.json").read_text())["problem_type"]
    assert kind == {"multi-label": "multi_label_classification", "regression": "regression"}[task]
    for source in (str(tmp_path / "model.keras"), str(tmp_path / "theirs")):
        assert keras_nest.open_model(source).model.task == task
        assert keras_nest.create_model(weights=source, dropout_rate=0.5).task == task
        assert keras_nest.create_model(weights=source, num_classes=2, reinit_head=True).task == "single-label"
    conversion.write_checkpoint(model, tmp_path / "model.npz")
    assert f"does not keep that the model tells {task}; set model.task = '{task}' after reading it" in caplog.text
