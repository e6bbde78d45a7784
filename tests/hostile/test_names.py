"""Names from outside that command terminals, spreadsheets and browsers: shown, and nothing more."""

import csv
import io
import json
import logging
import pathlib

import pytest
import tensorflow as tf
from rich.panel import Panel
from rich.table import Table

from keras_nest import console
from keras_nest.cli.answers import picture_files
from keras_nest.cli.parser import build_parser
from keras_nest.export.card import hub_card
from tests import families

# Escape sequences, one of them of a single byte, a bell, a text that runs backwards, a null, the end of a line.
NAME = "a\x1b[31m\x9b2J\x07\u202eb\0\r\n.png"
SHOWN = r"a\x1b[31m\x9b2J\x07\u202eb\x00\r\n.png"


def is_harmless(text):
    return all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_the_console_prints(is_terminal):
    file = io.StringIO()
    shown = console.SafeConsole(file=file, width=200, force_terminal=is_terminal, color_system=None)
    table = Table("name", title=NAME)
    table.add_row(NAME)
    for each in (NAME, table, Panel(NAME)):
        shown.print(each, markup=False)
    assert is_harmless(file.getvalue())
    assert file.getvalue().count(r"a\x1b[31m\x9b2J") == 3  # a column has room for what a terminal would show


def test_facts(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(console, "console", console.SafeConsole(file=file, width=200))
    console.print_facts(NAME + "[/red]", {NAME + "[/red]": "[red]" + NAME})
    assert is_harmless(file.getvalue())
    assert file.getvalue().count(SHOWN) == 3
    assert file.getvalue().count("[/red]") == 2


def test_colors_stay():
    file = io.StringIO()
    console.SafeConsole(file=file, force_terminal=True, color_system="standard").print("[red]text[/red]")
    assert "\x1b[31mtext\x1b[0m" in file.getvalue()


def test_errors_and_warnings(capsys):
    def fail():
        logging.getLogger("keras_nest.somewhere").warning("Left out: %s", NAME)
        raise ValueError(f"There is no {NAME}.")

    assert console.run(fail) == 2
    error = capsys.readouterr().err
    assert is_harmless(error)
    assert "error: There is no " + SHOWN.replace(r"\n", "\n") in error


def test_json(capsys):
    console.print_json({NAME: NAME, "number": 1.5})
    out = capsys.readouterr().out
    assert is_harmless(out)
    assert json.loads(out) == {NAME: NAME, "number": 1.5}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "'a", "\t=1", "\r=1", NAME])
def test_cells_are_no_formulas(name):
    file = io.StringIO()
    csv.writer(file).writerow([console.cell(name)])
    ((cell,),) = csv.reader(io.StringIO(file.getvalue()))
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert cell.removeprefix("'") == console.printable(name)


@pytest.mark.parametrize("name", ["cat", "a=b", "1", "", "猫"])
def test_other_cells_stay(name):
    assert console.cell(name) == name


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError(), "there is not enough memory for this."),
        (RuntimeError("can't start new thread"), "the system starts no more threads"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nHint"), "OOM when allocating."),
        (
            tf.errors.AbortedError(None, None, "{{function_node a/b:0}} no primitive [Op:Softmax] name: "),
            "no primitive.",
        ),
    ],
)
def test_what_the_machine_denies_is_a_sentence(capsys, error, sentence):
    def fail():
        raise error

    assert console.run(fail) == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")


def test_our_own_mistakes_keep_their_traceback():
    with pytest.raises(RuntimeError, match="ours"):
        console.run(lambda: (_ for _ in ()).throw(RuntimeError("ours")))


def test_pictures_of_thousands_of_images_of_one_name(tmp_path, monkeypatch):
    """Each name is tried about once: the numbers of all before it are not."""
    tried = []
    monkeypatch.setattr("keras_nest.cli.answers._same_name", lambda name: tried.append(name) or name.casefold())
    images = [pathlib.Path(f"folder{k}", "a.png" if k % 2 else "A.png") for k in range(3000)]
    command = ["predict", "x", "--model", "y", "--save", str(tmp_path)]
    pictures = picture_files(build_parser().parse_args(command), images)
    assert len({str(picture).lower() for picture in pictures.values()}) == 3000
    assert pictures[images[0]].name == "A.png"
    assert pictures[images[-1]].name == "a-3000.png"
    assert len(tried) < 8 * 3000


def test_a_model_card_holds_names_as_text():
    card = hub_card(
        families.nest(), "hf://a/b", class_names=("<script>", "a_b [x](y)", NAME), metrics={"dataset": "a|b"}
    )
    for shown in ("&lt;script&gt;", r"a_b \[x\](y)", "a|b".replace("|", r"\|"), r"a\\x1b\[31m"):
        assert shown in card
    assert is_harmless(card)
