"""Command lines run Keras on TensorFlow, whatever other programs were given."""

import importlib
import os
import subprocess
import sys

import pytest

from keras_nest import startup


@pytest.fixture
def without_keras(monkeypatch):
    """As it is before Keras is imported."""
    monkeypatch.delitem(sys.modules, "keras")


def test_nothing_is_said_without_a_choice(without_keras, monkeypatch, capsys):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    startup.choose_backend()
    assert (os.environ["KERAS_BACKEND"], capsys.readouterr().err) == ("tensorflow", "")


def test_a_choice_is_answered(without_keras, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    startup.choose_backend()
    said = capsys.readouterr().err
    assert (os.environ["KERAS_BACKEND"], said) == (
        "tensorflow",
        "KERAS_BACKEND is jax; this command runs Keras on TensorFlow.\n",
    )


def test_keras_stays_as_it_was_imported(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    startup.choose_backend()
    assert (os.environ["KERAS_BACKEND"], capsys.readouterr().err) == ("jax", "")


@pytest.mark.slow
def test_a_command_where_keras_is_set_to_another_backend(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "jax"}')
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "TF_USE_LEGACY_KERAS": "1"}
    code = "import sys; sys.argv[1:] = ['list']; import keras_nest_start; keras_nest_start.main()"
    said = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    assert "nest_tiny_s196_224" in said.stdout
    assert said.stderr == ""


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [
        ("resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9,) * 2)", "error: this process may take 2,000 MB (ulimit"),
        ("threading.Thread.start = no_more", "error: the system starts no more threads for this process; end others"),
    ],
)
def test_limits_under_which_tensorflow_does_not_start(limit, sentence):
    code = f"""
import resource, sys, threading
import keras_nest_start
def no_more(_):
    raise RuntimeError("can't start new thread")
sys.argv = ["keras-nest", "list"]
{limit}
sys.exit(keras_nest_start.main())
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert sentence in said.stderr
    assert (said.returncode, said.stdout) == (2, "")


def test_the_limits_of_this_process_are_enough():
    startup.check_limits()


@pytest.mark.parametrize(
    ("words", "backend"),
    [
        ("--backend=jax --workdir=x", "jax"),
        ("-backend jax", "jax"),
        ("--backend=jax --backend tensorflow", "tensorflow"),
        ("--workdir=x --backend", ""),
        ("--config.backend=jax", None),
    ],
)
def test_the_backend_that_a_command_line_asks_for(words, backend):
    assert startup.asked_backend(words.split()) == backend


@pytest.mark.parametrize(("asked", "chosen"), [("jax", "jax"), ("torch", "tensorflow"), (None, "tensorflow")])
def test_jax_can_be_asked_for(without_keras, monkeypatch, capsys, asked, chosen):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    startup.choose_backend(asked)
    assert (os.environ["KERAS_BACKEND"], capsys.readouterr().err) == (chosen, "")


def test_a_command_starts_without_what_it_does_not_need_and_finds_it_later():
    code = """
import sys
import keras_nest_start
with keras_nest_start.quiet_start():
    import keras
print([name for name in ("IPython", "jax", "matplotlib", "pandas", "sklearn") if name in sys.modules])
import jax, matplotlib.pyplot, pandas, sklearn
print(keras.backend.backend())
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert (said.stdout, said.stderr) == ("[]\ntensorflow\n", "")


def test_what_was_imported_stays_and_the_backend_is_needed(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setitem(sys.modules, "pandas", pandas := object())
    for name in ("IPython", "jax", "sklearn"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with startup.without_optional_packages():
        assert sys.modules["pandas"] is pandas
        assert "jax" not in sys.modules
        with pytest.raises(ModuleNotFoundError, match="sklearn"):
            importlib.import_module("sklearn")
    assert sys.modules["pandas"] is pandas
    assert not {"IPython", "sklearn"} & sys.modules.keys()
