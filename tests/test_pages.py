"""README and docs/: commands are understood, numbers are those that were measured, and all code is run somewhere."""

import ast
import re
import shlex
import tomllib

import pytest

from benchmarks import model_table, tables
from keras_nest import registry
from keras_nest.choices import STRATEGIES
from keras_nest.cli import commands as cli
from keras_nest.training import command_line
from keras_nest.training.config import resolve
from tests import pages, test_pages_run
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
        elsewhere = [words for words in test_pages_run.ELSEWHERE if words in block]
        assert page in test_pages_run.PYTHON or elsewhere, block


# ml_collections loads configuration files with it.
@pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")
@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command_is_understood(page, line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line)
    if words[0] == "keras-nest":
        cli.parse(words[1:])
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
    parsed = command_line.parse(words)
    assert parsed.strategy in STRATEGIES
    name, architecture, _ = registry.resolve(resolve(parsed.config).model_name)
    registry.check_fields(architecture, dict(parsed.config.get("model") or {}))
    assert name in registry.list_models()


def test_all_configurations_are_listed():
    shared = {"__init__", "nest", "fine_tuning"}
    files = {path.name for path in (ROOT / "configs").glob("*.py") if path.stem not in shared}
    assert {file for file in files if f"`{file}" in read("docs/guides/training.md")} == files


def test_the_site_has_all_pages():
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [page for page in PAGES if page.startswith("docs/") and page[5:] not in navigation] == []
