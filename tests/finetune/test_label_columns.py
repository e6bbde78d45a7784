"""Lists of several labels and of numbers, as people have them."""

import json

import numpy as np
import pytest

from keras_nest.finetune.found import count_classes, look
from keras_nest.finetune.request import Request
from keras_nest.finetune.split import ALL, TRAIN, VAL, divide
from tests.finetune import squares

SETS = [["a", "b"], ["b"], [], ["a", "c d"], ["a"], ["b", "c d"], ["a", "b", "c d"], []]
COUNTS = {"a": 4, "b": 4, "c d": 3}


@pytest.fixture
def folder(tmp_path):
    squares.write(tmp_path, len(SETS))
    return tmp_path


def listed(folder, columns, rows):
    return squares.write_list(
        folder / "list.csv", ("file", *columns), ((f"{n}.png", *row) for n, row in enumerate(rows))
    )


def as_json(folder, label):
    lines = [json.dumps({"file_name": f"{n}.png", **label(names)}) for n, names in enumerate(SETS)]
    (folder / "list.jsonl").write_text("\n".join(lines))
    return folder / "list.jsonl"


def switches(yes="1", no="0"):
    return [[yes if name in names else no for name in COUNTS] for names in SETS]


SEVERAL = {
    "bars": lambda folder: listed(folder, ["labels"], (["|".join(names)] for names in SETS)),
    "semicolons and spaces": lambda folder: listed(folder, ["tags"], (["; ".join(names)] for names in SETS)),
    "commas": lambda folder: listed(folder, ["classes"], ([",".join(names)] for names in SETS)),
    "twice the same": lambda folder: listed(folder, ["labels"], (["|".join(names * 2)] for names in SETS)),
    "0 and 1": lambda folder: listed(folder, COUNTS, switches()),
    "1.0 and 0.0": lambda folder: listed(folder, COUNTS, switches("1.0", "0.0")),
    "true and false": lambda folder: listed(folder, COUNTS, switches("True", "False")),
    "beside other columns": lambda folder: listed(
        folder, ["width", *COUNTS, "id"], (["32", *row, f"x{n}"] for n, row in enumerate(switches()))
    ),
    "lists of JSON": lambda folder: as_json(folder, lambda names: {"labels": names}),
    "texts of JSON": lambda folder: as_json(folder, lambda names: {"labels": "|".join(names)}),
    "nothing in JSON": lambda folder: as_json(folder, lambda names: {"labels": names or None}),
    "switches of JSON": lambda folder: as_json(folder, lambda names: {name: name in names for name in COUNTS}),
    "metadata.jsonl": lambda folder: (
        as_json(folder, lambda names: {"labels": names}).rename(folder / "metadata.jsonl").parent
    ),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_several_labels(case, folder):
    found = look(SEVERAL[case](folder), task="multi-label")
    assert found.class_names == tuple(COUNTS)
    assert count_classes(found.photos, found.target) == COUNTS
    by_file = {photo.place.path.rpartition("/")[2]: photo.place.label for photo in found.photos}
    assert by_file == {f"{n}.png": "|".join(names) for n, names in enumerate(SETS)}


WRONG_SETS = {
    lambda folder: listed(folder, ["labels"], ([" ".join(names)] for names in SETS)): (
        r"has no image with two labels or more; between labels must stand \| or ; or a comma\. Leave --task multi-label"
    ),
    lambda folder: as_json(folder, lambda names: {"labels": [f"{name}|x" for name in names]}): (
        r"has the class 'a\|x' in row 1; a name must have no \| in it"
    ),
    lambda folder: as_json(folder, lambda names: {"labels": [names]}): r"neither text nor number",
    lambda folder: listed(folder, ["a|b", "c"], switches()[0:8]): r"cells, and there are 3 columns",
    lambda folder: listed(folder, ["a|b", "c"], (row[:2] for row in switches())): r"has the column 'a\|b'; the name",
    lambda folder: listed(folder, ["width", "height"], ([32, 32] for _ in SETS)): (
        r"has no column of classes; it has file, width, height, and one must be label or class, or each class a column "
    ),
    lambda folder: folder.mkdir(exist_ok=True): r"^Folders give an image one class, and --task is multi-label; give a",
}


@pytest.mark.parametrize("case", WRONG_SETS)
def test_what_is_no_list_of_several_labels(case, folder):
    with pytest.raises(ValueError, match=WRONG_SETS[case]):
        look(case(folder) or folder, task="multi-label")


def test_without_the_task_the_message_names_it(folder):
    with pytest.raises(ValueError, match=r"has several labels in a cell \(a\|b\); --task multi-label learns several"):
        look(listed(folder, ["labels"], (["|".join(names) or "none"] for names in SETS)))
    with pytest.raises(ValueError, match=r"has numbers such as 0\.5 as labels; --task regression learns numbers, and"):
        look(listed(folder, ["label"], ([n + 0.5] for n in range(len(SETS)))))


@pytest.mark.parametrize("column", ["age", "label", "number", "value", "price in €"])
def test_numbers(column, folder):
    numbers = ["1", "2.5", "-3e2", "4", "5", "6.25", "7", "8"]
    found = look(listed(folder, [column], ([number] for number in numbers)), task="regression")
    assert found.class_names == (column,)
    assert [photo.place.label for photo in sorted(found.photos, key=lambda photo: photo.place.path)] == numbers


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([["1"], ["x"]] * 4, r"has 'x' in row 3, which is no number; --task regression learns numbers\.$"),
        ([["1"], ["nan"]] * 4, r"has 'nan' in row 3, which is no number"),
        ([["1"], [""]] * 4, r"has no label in row 3; remove the row, or give its image a label\.$"),
        ([["7"]] * 8, r"has one number for all images, 7; there is nothing to learn\.$"),
    ],
)
def test_what_are_no_numbers(rows, message, folder):
    with pytest.raises(ValueError, match=message):
        look(listed(folder, ["age"], rows), task="regression")


def test_one_of_several_columns_of_numbers_is_named(folder):
    path = listed(folder, ["age", "weight"], ([n, 10 * n] for n in range(len(SETS))))
    with pytest.raises(ValueError, match=r"has no column of numbers; it has file, age, weight, and one must be label"):
        look(path, task="regression")
    found = look(path, label_column="weight", task="regression")
    assert found.target.quantity == "weight"
    assert {photo.place.label for photo in found.photos} == {str(10 * n) for n in range(len(SETS))}


def test_images_are_divided_with_the_rarest_of_their_classes(tmp_path):
    generator = np.random.default_rng(0)
    squares.write(tmp_path, 60)
    names = [["often"] * (generator.random() < 0.8) + ["rare"] * (n % 10 == 0) for n in range(60)]
    listed(tmp_path, ["labels"], (["|".join(each)] for each in names))
    split = divide(look(tmp_path / "list.csv", task="multi-label"), 0.15, 0.15, 0)
    assert all(split.counts(part)["rare"] for part in ALL)
    assert split.size(TRAIN) + 2 * split.size(VAL) == 60
    assert [remark for remark in split.remarks if remark.startswith("Images of none")]


def test_numbers_are_divided_in_ranges(tmp_path):
    squares.write(tmp_path, 60)
    split = divide(look(tmp_path / "brightness.csv", task="regression"), 0.15, 0.15, 0)
    for part in ALL:
        numbers = [float(row.label) for row in split.rows if row.part == part]
        assert min(numbers) < 60
        assert max(numbers) > 160


@pytest.mark.parametrize(
    "options",
    [
        {"task": "multi-label", "loss": "focal"},
        {"task": "multi-label", "class_weights": "balanced"},
        {"task": "multi-label", "label_smoothing": 0.1},
        {"task": "regression", "sampling": "balanced"},
        {"task": "regression", "calibrate": True},
    ],
)
def test_what_is_of_one_class_each_is_refused(options):
    with pytest.raises(ValueError, match=rf"is not for --task {options['task']}; leave one of them out\.$"):
        Request("list.csv", "ViT-Ti_16", **options)
