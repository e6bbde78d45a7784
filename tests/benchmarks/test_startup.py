"""Files and command lines of the start-up benchmark; how long they take is not tested."""

import pathlib

import pytest

import keras_nest
from benchmarks import startup, timing
from keras_nest.cli.parser import build_parser


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_commands_find_their_files(tmp_path):
    name = "nest_tiny_s16_32"
    startup.write_files(name, timing.TOY_NEST, tmp_path)
    for words in startup.COMMANDS.values():
        given = [word.format(folder=tmp_path, name=name) for word in words]
        if given == ["--help"]:
            continue
        build_parser().parse_args(given)
        files = [word.removeprefix("--model=") for word in given if str(tmp_path) in word]
        assert [file for file in files if not pathlib.Path(file).exists()] in ([], [str(tmp_path / "out.keras")])
    keras_nest.create_model(name, weights=tmp_path / "published", **timing.TOY_NEST)


def test_statements_are_python():
    for code in startup.STATEMENTS.values():
        compile(code.format(name="nest_tiny", fields={}), "statement", "exec")
