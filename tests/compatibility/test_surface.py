"""What users of an earlier version typed still means something: names, parameters, options, fields, configurations."""

import json
import os
import pathlib
import runpy
import subprocess
import sys

import pytest

from tests.compatibility import surface

RECORDED = json.loads(pathlib.Path(__file__).with_name("surface.json").read_text())

CHANGED: dict[str, str] = {
    "keras_nest.create_model(name)": "The first argument of `create_model` is called `model`;",
    "keras_nest.models.ImageModel(pyramid)": "`ImageModel(pyramid=…)` is `feature_maps=…`",
    "keras_nest.models.NesTGenerator": "`keras_nest.models.NesTGenerator` says where it is.",
    "export.publish(warm_up)": "A SavedModel is written without warm-up requests where "
    "`tensorflow-serving-api` is not installed; `publish(warm_up=True)` still insists on them.",
}
"""Deliberate changes: what a failing test names -> the sentence about it in CHANGELOG.md."""


def changes_of_call(recorded, now):
    """(parameter, what happened to it) where a call that was right is wrong now, or means something else."""
    if now is None:
        yield "", "cannot be called any more"
        return
    names = [*now["positional"], *now["keyword"]]
    gone = [name for name in (*recorded["positional"], *recorded["keyword"]) if name not in names and not now["any"]]
    yield from ((f"({name})", "is gone") for name in gone)
    for index, name in enumerate(recorded["positional"]):
        if name not in gone and now["positional"][index : index + 1] != [name]:
            yield f"({name})", f"is not the argument number {index + 1} any more"
    for name, default in recorded["defaults"].items():
        if name in now["defaults"] and now["defaults"][name] != default:
            yield f"({name})", f"is {now['defaults'][name]!r} by default and was {default!r}"
    for name in now["required"]:
        if name not in recorded["required"]:
            yield f"({name})", "is required and was not"


def changes_of_names(recorded, now):
    for name, entry in recorded.items():
        if name not in now:
            yield name, "is gone"
        elif isinstance(entry, dict):
            yield from ((f"{name}{which}", what) for which, what in changes_of_call(entry, now[name]))
        elif isinstance(entry, list):
            yield from ((f"{name}[{key!r}]", "is gone") for key in entry if key not in now[name])


def changes_of_options(recorded, now):
    for command, options in recorded.items():
        found = now.get(command, {})
        for option in options.keys() - {"required"}:
            if option not in found:
                yield f"{command} {option}", "is gone"
            elif found[option]:
                left_out = set(options[option]) - set(found[option])
                yield from ((f"{command} {option} {choice}", "is gone") for choice in left_out)
        new = set(found.get("required", ())) - set(options["required"])
        yield from ((f"{command} {option}", "is required and was not") for option in new)


def changes_of_lists(recorded, now):
    yield from ((name, "is gone") for name in recorded if name not in now)


def changes_of_configs(recorded, now):
    for config, fields in recorded.items():
        found = now.get(config, {})
        for field, value in fields.items():
            if field not in found:
                yield f"{config} {field}", "is gone"
            elif found[field] != value:
                yield f"{config} {field}", f"is {found[field]!r} and was {value!r}"


COMPARE = {
    "names": changes_of_names,
    "models": changes_of_lists,
    "options": changes_of_options,
    "fields": changes_of_lists,
    "configs": changes_of_configs,
}


@pytest.fixture(scope="module")
def changes():
    """Section -> what changed -> how."""
    now = surface.surface()
    return {section: dict(compare(RECORDED[section], now[section])) for section, compare in COMPARE.items()}


@pytest.mark.parametrize("section", COMPARE)
def test_nothing_has_vanished(changes, section):
    assert [f"{name} {how}" for name, how in changes[section].items() if name not in CHANGED] == []


def test_changes_are_told(changes):
    """Each in the CHANGELOG, and none that is none."""
    assert CHANGED.keys() <= set().union(*changes.values())
    if CHANGED:
        told = " ".join((surface.ROOT / "CHANGELOG.md").read_text().split())
        assert [sentence for sentence in CHANGED.values() if sentence not in told] == []


def call(*positional, keyword=(), defaults=None, required=(), any=False):
    lists = {"positional": list(positional), "keyword": list(keyword), "required": list(required)}
    return {**lists, "defaults": defaults or {}, "any": any}


BEFORE = call("a", "b", keyword=["c"], defaults={"b": 1}, required=["a"])


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (BEFORE, []),
        (call("a", "b", "d", keyword=["c", "e"], defaults={"b": 1, "d": 0}, required=["a"]), []),
        (call("a", any=True), ["f(b) is not the argument number 2"]),
        (call("a", "b"), ["f(c) is gone"]),
        (call("b", "a", keyword=["c"]), ["f(a) is not the argument number 1", "f(b) is not the argument number 2"]),
        (call("a", keyword=["b", "c"]), ["f(b) is not the argument number 2"]),
        (call("a", "b", keyword=["c"], defaults={"b": 2}), ["f(b) is 2 by default and was 1"]),
        (call("a", "b", keyword=["c"], required=["a", "b"]), ["f(b) is required"]),
        (None, ["f cannot be called"]),
    ],
)
def test_calls_are_compared(now, expected):
    found = [f"{name} {how}" for name, how in changes_of_names({"f": BEFORE}, {"f": now})]
    assert len(found) == len(expected)
    assert all(text.startswith(start) for text, start in zip(found, expected, strict=True))


def test_everything_else_is_compared():
    assert list(changes_of_names({"a": None, "b": ["x", "y"]}, {"b": ["x"]})) == [
        ("a", "is gone"),
        ("b['y']", "is gone"),
    ]
    options = {"run": {"--a": ["x", "y"], "--b": [], "required": []}}
    assert list(changes_of_options(options, options)) == []
    now = {"run": {"--a": ["x"], "--c": [], "required": ["--c"]}}
    assert sorted(changes_of_options(options, now)) == [
        ("run --a y", "is gone"),
        ("run --b", "is gone"),
        ("run --c", "is required and was not"),
    ]
    found = changes_of_configs({"c": {"a": 1, "b": 2, "d": 3}}, {"c": {"a": 1, "b": 3, "e": 0}})
    assert list(found) == [("c b", "is 3 and was 2"), ("c d", "is gone")]


def test_help_is_read():
    usage = "usage: x [-h] --model M [--format {a,b}] [--labels T [T ...]] IMAGE\n\ntext\n  --format {a,b}  of --it"
    expected = {"--format": ["a", "b"], "--it": [], "--labels": [], "--model": [], "required": ["--model"]}
    assert surface.options(usage) == expected


def assert_options_are_there(command, recorded, usage):
    assert list(changes_of_options({command: recorded}, {command: surface.options(usage)})) == []


@pytest.mark.parametrize(
    ("command", "same_as"), [("conversion", "convert"), ("export", "export"), ("train_keras.py", "train")]
)
def test_commands_of_a_checkout(command, same_as, monkeypatch, capsys):
    """In this process."""
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    monkeypatch.setenv("COLUMNS", "10000")
    run, what = (runpy.run_path, str(surface.ROOT / command)) if ".py" in command else (runpy.run_module, command)
    with pytest.raises(SystemExit) as ended:
        run(what, run_name="__main__")
    assert not ended.value.code
    assert_options_are_there(command, RECORDED["options"][same_as], capsys.readouterr().out)


@pytest.mark.slow
def test_a_command_of_a_checkout_as_a_process(tmp_path):
    """From another directory, with the checkout on the path, and without a note of TensorFlow's."""
    environment = {**os.environ, "COLUMNS": "10000", "PYTHONPATH": str(surface.ROOT), "TF_CPP_MIN_LOG_LEVEL": "0"}
    command = [sys.executable, "-m", "conversion", "augreg", "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    augreg = {"--model": [], "--index": [], "--rows": [], "required": ["--model"]}
    assert_options_are_there("-m conversion augreg", augreg, done.stdout)
