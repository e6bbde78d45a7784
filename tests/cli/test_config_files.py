"""Which file a configuration's name stands for."""

import pathlib
import re

import pytest

from keras_nest.cli import train_arguments
from keras_nest.cli.config_files import find_config, list_configs
from keras_nest.cli.config_loading import load_config
from keras_nest.cli.train_arguments import parse
from keras_nest.training.config import resolve
from keras_nest.training.plan import build_plan, source_options
from tests.data import photographs

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "configs"


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
    arguments = train_arguments.parse(["train", *words, "--workdir=run", "--config.seed=5"])
    assert (arguments.config.seed, arguments.workdir) == (5, "run")


class TestNoTraceback:
    """Of a configuration file, whatever is wrong with it."""

    @pytest.mark.parametrize(
        ("lines", "sentence"),
        [
            (
                "def get_config():\n    return nothing",
                r"Line 2 of the configuration {} fails with NameError: name 'nothing'",
            ),
            ("def get_config():\n    return {}['x']", r"Line 2 of the configuration {} fails with KeyError: 'x'\."),
            ("1 / 0", r"Line 1 of the configuration {} fails with ZeroDivisionError: division by zero\."),
            ("def get_config(:", r"The configuration {} cannot be loaded: SyntaxError: .*line 1"),
        ],
    )
    def test_of_files(self, lines, sentence, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(lines)
        with pytest.raises(ValueError, match=f"^{sentence.format(re.escape(str(file)))}"):
            parse(["train_keras.py", f"--config={file}", "--workdir=run"])

    @pytest.mark.parametrize(
        ("lines", "given", "sentence"),
        [
            (
                "x = 1",
                "",
                r".*mine\.py is no configuration; it has no function get_config, which returns a ConfigDict\.",
            ),
            (
                "def get_config():\n    return 3",
                "",
                r"get_config of .*mine\.py returns 3; it must return a ConfigDict\.",
            ),
            ("def get_config():\n    return {}", ":x", r"The configuration mine takes no argument; leave ':x' out"),
            (
                '"""Mine: `--config=mine:a`."""\ndef get_config(name):\n    return {}',
                "",
                r"The configuration mine needs an argument .*, --config=mine:NAME\. Mine: `--config=mine:a`\.",
            ),
            ("def get_config():\n    raise ValueError('No\\n good.')", "", r"No good\.$"),
        ],
    )
    def test_of_what_get_config_is(self, lines, given, sentence, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(lines)
        with pytest.raises(ValueError, match=f"^{sentence}"):
            load_config(f"{file}{given}")

    @pytest.mark.parametrize("name", ["imagenet_nest", "digits_nest", "resnet50_imagenet", "photos_nest", "cifar_cnn"])
    def test_groups_that_the_file_leaves_out(self, name):
        words = ("model.image_size=64", "mix.mixup_alpha=0.5", "pp.crop=32", "randerasing.erase_prob=0.1")
        given = [f"--config.{word}" for word in words]
        config = parse(["train_keras.py", f"--config={name}", "--workdir=run", *given]).config
        resolved = resolve(config)
        assert (resolved.model.image_size, resolved.mix.mixup_alpha, resolved.pp.crop) == (64, 0.5, 32)
        assert resolved.randerasing.erase_prob == 0.1

    @pytest.mark.parametrize(
        ("word", "sentence"),
        [
            ("nowhere.x=1", r"The configuration has no group of fields 'nowhere'; known are model, "),
            ("modle.x=1", r"The configuration has no group of fields 'modle'; did you mean model\?"),
            ("seed.x=1", r"There is no field seed\.x; seed is no group of fields\."),
            ("=1", r"--config\. names no field; fields go as --config\.FIELD=VALUE\."),
            (
                "model=x",
                r"--config\.model is 'x'; it must be a group of fields, which go as --config\.model\.NAME=VALUE",
            ),
            ("num_epochs=a", r"--config\.num_epochs is 'a'; it must be a positive whole number\."),
            ("model.qkv_bias=x", r"--config\.model\.qkv_bias is 'x'; it must be True or False\."),
        ],
    )
    def test_of_fields(self, word, sentence, tmp_path):
        file = tmp_path / "mine.py"
        fields = {"num_epochs": 1, "seed": 2, "model": {"qkv_bias": True}}
        file.write_text(f"def get_config():\n    return {fields}")
        with pytest.raises(ValueError, match=f"^{sentence}"):
            parse(["train_keras.py", f"--config={file}", "--workdir=run", f"--config.{word}"])

    def test_values_of_another_kind_than_the_files(self, tmp_path):
        """A whole number where fractions may stand, and a list, which ml_collections cannot change."""
        file = tmp_path / "mine.py"
        file.write_text("def get_config():\n    return {'grad_clip_max_norm': 0, 'optim_wd_ignore': ['a']}")
        words = ["--config.grad_clip_max_norm=0.5", "--config.optim_wd_ignore=('b','c')"]
        config = parse(["train_keras.py", f"--config={file}", "--workdir=run", *words]).config
        assert config.to_dict() == {"grad_clip_max_norm": 0.5, "optim_wd_ignore": ("b", "c")}


class TestAtAddresses:
    @pytest.fixture
    def place(self, tmp_path):
        """Of the file mine.py in the folder."""
        return f"file://{tmp_path}/mine.py"

    @pytest.mark.parametrize("argument", ["", ":7"])
    def test_what_it_says(self, folder, place, argument):
        parameter = "size" if argument else ""
        (folder / "mine.py").write_text(f"def get_config({parameter}):\n    return {{'seed': int({parameter or 1})}}")
        config = parse(["train_keras.py", f"--config={place}{argument}", "--workdir=run"]).config
        assert config.seed == (7 if argument else 1)

    def test_what_is_wrong_names_the_address(self, folder, place):
        with pytest.raises(FileNotFoundError, match=f"^There is no configuration {place}.$"):
            load_config(place)
        (folder / "mine.py").write_text("def get_config():\n    return 1 / 0")
        with pytest.raises(ValueError, match=f"^Line 2 of the configuration {place} fails with ZeroDivisionError"):
            load_config(place)
        with pytest.raises(ValueError, match=r"^nope://b/mine.py: TensorFlow has no file system for nope://"):
            load_config("nope://b/mine.py")

    def test_a_file_here_goes_first(self, folder):
        """Even if it looks like an address with its argument."""
        (folder / "mine.py").write_text("def get_config(folder):\n    return {'dataset': folder}")
        assert load_config(find_config("mine.py:/data")).dataset == "/data"


class TestClassFolders:
    def test_batch_and_steps_follow_their_size(self, tmp_path):
        photographs.write_folder(tmp_path / "photos", num_train=40, num_test=2)
        argument = f"--config=vit:b16,{tmp_path / 'photos'}/"
        config = resolve(parse(["train_keras.py", argument, "--workdir=run"]).config)
        assert (config.dataset, config.pp.crop) == (f"{tmp_path / 'photos'}/", 384)
        assert (config.batch, config.accum_steps, config.total_steps, config.warmup_steps) == (16, 1, 200, 20)
        assert (config.eval_every, config.checkpoint_every) == (10, 10)
        assert config.base_lr == pytest.approx(0.03 * 16 / 512)
        plan = build_plan(config, images=160, replicas=1)
        assert plan.total_steps / plan.steps_per_epoch == 20
        assert source_options(config)["test_split"] is None

    @pytest.mark.parametrize(
        ("folder", "sentence"),
        [
            (
                "{}",
                r".* has no directory train; images must lie as \{train,test\}/CLASS/.* `keras-nest finetune` takes",
            ),
            ("{}/none", r"There is no directory '.*none', and no settings for a data set of that name; there are for "),
        ],
    )
    def test_one_sentence(self, folder, sentence, tmp_path):
        with pytest.raises(ValueError, match=f"^{sentence}"):
            parse(["train_keras.py", f"--config=vit:b16,{folder.format(tmp_path)}", "--workdir=run"])
