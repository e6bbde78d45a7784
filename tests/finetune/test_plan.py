"""Plans as they are written and read."""

import dataclasses
import json

from keras_nest.finetune.decisions import Decision
from keras_nest.finetune.plan import Plan, read_plan, write_plan
from keras_nest.finetune.request import Request
from keras_nest.run_files import DECISIONS

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
