"""README and docs/: commands are understood, numbers are those that were measured, and all code is run somewhere."""

import ast
import importlib
import inspect
import re
import shlex
import tomllib

import pytest

from benchmarks import model_table, tables
from keras_nest import registry
from keras_nest.cli import train_arguments
from keras_nest.cli.parser import build_parser
from keras_nest.cli.train import TASKS
from keras_nest.training.strategies import STRATEGIES
from keras_nest.training.tasks import task_name
from tests import pages
from tests.pages import PAGES, ROOT, read

COMMANDS = [(page, line) for page in PAGES for line in pages.commands(page)]
# What is no command of ours.
OTHERS = ("docker", "printf", ".ci/run")


def test_readme_fits_on_two_screens():
    assert len(read("README.md").splitlines()) <= 125


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_what_was_measured(page):
    assert tables.with_tables(read(page)) == read(page)


def test_all_models_are_in_the_table():
    assert all(f"\n| `{name}` " in read("docs/models.md") for name in model_table.published_names())


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    """Those among pages of docs/ are checked by mkdocs, too."""
    links = re.findall(r"\]\(([^)#:=]+)(?:#[\w-]+)?\)", read(page))
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


@pytest.mark.parametrize("page", [page for page in PAGES if pages.blocks(page, "python")])
def test_all_python_is_run_by_some_test(page):
    for block in pages.blocks(page, "python"):
        ast.parse(block)
        elsewhere = [words for words in pages.ELSEWHERE if words in block]
        assert page in pages.PYTHON or elsewhere, block


# ml_collections loads configuration files with it.
@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command_is_understood(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    if words[0] == "keras-nest":
        build_parser().parse_args(words[1:])
    elif words[:2] == ["python", "train_keras.py"]:
        _check_training(words[1:])
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file()
    elif words[0] == "make":
        assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text("utf-8")
    elif words[:2] == ["pip", "install"]:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
        assert set(re.findall(r"\.\[([\w,-]+)\]", line)) <= set(extras)
    else:
        assert words[0] in OTHERS


def _check_training(words):
    """The configuration is complete, and its model known."""
    parsed = train_arguments.parse(words)
    assert parsed.strategy in STRATEGIES
    config = TASKS[task_name(parsed.config)].resolve(parsed.config)
    name, architecture, _ = registry.resolve(config.model_name)
    registry.check_fields(architecture, dict(parsed.config.get("model") or {}))
    assert name in registry.list_models()


def test_all_configurations_are_listed():
    shared = {"__init__", "nest", "fine_tuning"}
    files = {path.name for path in (ROOT / "configs").glob("*.py") if path.stem not in shared}
    assert {file for file in files if f"`{file}" in read("docs/guides/training.md")} == files


PACKAGES = ["layers", "data", "training", "predict", "zero_shot", "explain", "conversion", "export", "generative"]


@pytest.mark.parametrize("package", ["keras_nest", *(f"keras_nest.{name}" for name in PACKAGES)])
def test_public_names_are_in_the_reference(package):
    """A name that two packages have may stand there under either."""
    documented = {name for page in PAGES for name in re.findall(r"^::: ([\w.]+)$", read(page), re.MULTILINE)}
    last = {name.rpartition(".")[2] for name in documented}
    public = importlib.import_module(package).__all__
    modules = [name for name in public if inspect.ismodule(getattr(importlib.import_module(package), name))]
    assert set(public) - last - set(modules) - {"__version__"} == set()


def test_the_site_has_all_pages():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [page for page in PAGES if page.startswith("docs/") and page[5:] not in navigation] == []
