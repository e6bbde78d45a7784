"""Which task a configuration asks for."""

import pytest
from ml_collections import ConfigDict

from keras_nest.cli.train import TASKS, prepare
from keras_nest.training.tasks import task_name

VIT, LIT = {"model_name": "ViT-B_16"}, {"model_name": "LiT-B16B"}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (VIT, "classify"),
        ({**VIT, "trainer": "train"}, "classify"),
        ({**VIT, "trainer": "classify"}, "classify"),
        (LIT, "lit"),
        ({**LIT, "trainer": "train"}, "lit"),
        ({**LIT, "trainer": "lit"}, "lit"),
        ({"model_or_filename": "R_Ti_16", "model_name": None}, "classify"),
        ({}, "classify"),
        ({**VIT, "trainer": "inference_time"}, "inference_time"),
        ({**VIT, "train": "inference_time"}, "inference_time"),
        ({"trainer": "gan"}, "gan"),
        ({"trainer": "gan", "model_name": "nest_generator_64"}, "gan"),
    ],
)
def test_task(config, name):
    assert task_name(config) == task_name(ConfigDict(config)) == name
    assert name in TASKS


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**VIT, "trainer": "lit"}, "trainer is 'lit', but ViT-B_16 is a classifier; leave trainer out"),
        ({**LIT, "trainer": "classify"}, "trainer is 'classify', but LiT-B16B is a LiT; leave trainer out"),
        (
            {**VIT, "trainer": "test"},
            "trainer is 'test'; it must be 'train' or 'classify' or 'lit' or 'inference_time'",
        ),
        ({**VIT, "trainer": None}, "trainer is None; it must be 'train' or 'classify'"),
        ({"model_name": "ViT-B_61"}, "no model 'ViT-B_61'; did you mean"),
    ],
)
def test_refused(config, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        prepare(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
