"""Which file a configuration's name stands for."""

import pathlib

import pytest

from keras_nest.cli import train_arguments
from keras_nest.cli.config_files import find_config, list_configs

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"

# ml_collections loads configuration files with it.
pytestmark = pytest.mark.filterwarnings("ignore:.*load_module:DeprecationWarning")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Another directory than the project's to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_configurations_and_not_what_they_share():
    names = list_configs()
    assert {"digits_nest", "vit", "augreg", "imagenet_nest"} <= set(names)
    assert not {"__init__", "fine_tuning", "nest"} & set(names)


@pytest.mark.parametrize("given", ["vit", "vit.py", "configs/vit", "configs/vit.py", "./vit.py"])
@pytest.mark.parametrize("argument", ["", ":b16,cifar10"])
def test_ours_from_any_directory(folder, given, argument):
    assert find_config(given + argument) == f"{CONFIGS / 'vit.py'}{argument}"


def test_the_users_file_goes_first(folder):
    (folder / "configs").mkdir()
    for file in ("mine.py", "digits_nest.py", "configs/vit.py"):
        (folder / file).touch()
        assert find_config(f"{file}:x") == f"{file}:x"
    assert find_config("digits_nest") == str(CONFIGS / "digits_nest.py")
    assert find_config(str(folder / "mine.py")) == str(folder / "mine.py")


@pytest.mark.parametrize("given", ["nest", "fine_tuning.py", "other/vit.py", "", "configs"])
def test_none(folder, given):
    with pytest.raises(FileNotFoundError, match=r"There is no configuration .*; (did you mean \w+|known are)"):
        find_config(given)


@pytest.mark.parametrize("name", list_configs())
@pytest.mark.parametrize("flag", ["--config={}", "-config={}", "--config {}"])
def test_every_one_is_read_beside_another_projects_configs(folder, monkeypatch, name, flag):
    (folder / "configs").mkdir()
    (folder / "configs" / "__init__.py").write_text("raise RuntimeError('another project')")
    monkeypatch.syspath_prepend(folder)
    argument = {"vit": ":b16,cifar10", "augreg": ":R_Ti_16"}.get(name, "")
    words = flag.format(f"configs/{name}.py{argument}").split()
    arguments = train_arguments.parse(["train", *words, "--workdir=run", "--config.seed=5"], {})
    assert (arguments.config.seed, arguments.workdir) == (5, "run")
