"""Plans as they are written and read."""

import dataclasses
import json

from keras_nest.finetune.decisions import Decision
from keras_nest.finetune.plan import Plan, read_plan, write_plan
from keras_nest.finetune.request import Request
from keras_nest.finetune.run import settle
from keras_nest.run_files import DECISIONS
from keras_nest.training.workdir import write_json

REQUEST = Request("photos", "ViT-S_16", layer_decay=0.75)
PLAN = Plan(dataclasses.asdict(REQUEST), {"seed": 0}, True, False, (Decision("batch", "8 images", "why"),), ("so",))


def test_a_plan_is_read_as_it_was_written(tmp_path):
    assert read_plan(tmp_path) is None
    write_plan(PLAN, tmp_path)
    assert read_plan(tmp_path) == PLAN


def test_what_an_older_version_did_not_ask_for_has_its_default(tmp_path):
    """So that a run that it began goes on."""
    write_plan(PLAN, tmp_path)
    content = json.loads((tmp_path / DECISIONS).read_text())
    for name in ("task", "layer_decay"):
        del content["request"][name]
    del content["quantity"]
    (tmp_path / DECISIONS).write_text(json.dumps(content))
    assert read_plan(tmp_path).request == dataclasses.asdict(dataclasses.replace(REQUEST, layer_decay=None))


def test_a_directory_that_was_moved(tmp_path):
    """What names it is written anew, and nothing else."""
    old, new = tmp_path / "old", tmp_path / "new"
    config = {"dataset": str(old / "images.csv"), "seed": 3}
    plan = dataclasses.replace(PLAN, config=config)
    old.mkdir()
    write_json(old / "config.json", {**config, "global_batch_size": 8})
    write_plan(plan, old)
    assert settle(plan, old) is plan
    assert {path.name for path in old.iterdir()} == {"config.json", "finetune.json"}
    old.rename(new)
    moved = settle(plan, new)
    dataset = str(new / "images.csv")
    assert moved == dataclasses.replace(plan, config={"dataset": dataset, "seed": 3})
    assert json.loads((new / "config.json").read_text()) == {"dataset": dataset, "seed": 3, "global_batch_size": 8}
    assert read_plan(new).config == moved.config
    assert dataset in (new / "config.py").read_text()
    assert str(old) not in "".join(path.read_text() for path in new.iterdir())
