"""What is told of an image, as a text and as a loss takes it."""

import numpy as np
import pytest

from keras_nest.targets import ONE_CLASS, Target, read_number, target_of_column

SEVERAL, AGE = Target("multi-label"), Target("regression", "age")


@pytest.mark.parametrize(
    ("target", "column"),
    [(ONE_CLASS, "class"), (SEVERAL, "classes"), (AGE, "number:age"), (Target("regression"), "number")],
)
def test_a_column_says_the_target(target, column):
    assert target.column == column
    assert target_of_column(["file", column, "part"]) == target


def test_other_columns_say_none():
    assert target_of_column(["file", "label", "class:x", "part"]) is None
    assert target_of_column(["number:a:b"]) == Target("regression", "a:b")


def test_class_names():
    assert ONE_CLASS.class_names(["b", "a|c", "b"]) == ("a|c", "b")
    assert SEVERAL.class_names(["b|a", "", "c"]) == ("a", "b", "c")
    assert AGE.class_names(["1", "2"]) == ("age",)
    assert Target("regression").class_names(["1"]) == ("number",)


def test_labels_as_a_loss_takes_them():
    assert ONE_CLASS.encode(["b", "a"], ("a", "b")).tolist() == [1, 0]
    encoded = SEVERAL.encode(["b|a", "", "c"], ("a", "b", "c"))
    assert (encoded.dtype, encoded.tolist()) == (np.float32, [[1, 1, 0], [0, 0, 0], [0, 0, 1]])
    numbers = AGE.encode(["1.5", "-2e3"], ("age",))
    assert (numbers.dtype, numbers.tolist()) == (np.float64, [[1.5], [-2000.0]])


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "-Infinity", "1e999", "1_000", "1,5", "0x10"])
def test_what_is_no_number(text):
    assert read_number(text) is None


@pytest.mark.parametrize(("text", "number"), [("1", 1.0), (" 2.5 ", 2.5), ("-3e2", -300.0), ("+.5", 0.5)])
def test_numbers(text, number):
    assert read_number(text) == number
