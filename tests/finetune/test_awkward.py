"""Data as people have them: folders and lists of every awkward kind give the right counts, or one sentence.

Each case writes a data set into an empty directory and returns what is looked at, or None for the directory itself.
"""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from keras_nest.finetune.found import count_classes, look
from keras_nest.finetune.split import divide
from tests.data.photographs import encoded, noisy, small


def image(number=0, kind="JPEG", **options):
    """A file that shows something else for each number."""
    names = ("flower", "rocket", "chelsea", "china", "astronaut")
    picture = small(names[number % len(names)], (24 + number, 24)).convert("RGB")
    return encoded(noisy(picture, number), kind, **options)


def put(root, files):
    """Writes files; numbers are images."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image(content) if isinstance(content, int) else content)


def two(root, prefix="", count=3):
    """Two classes of a few images."""
    put(root, {f"{prefix}{label}/{n}.jpg": n + 10 * (label == "dog") for label in ("cat", "dog") for n in range(count)})


def text(root, name, *lines):
    (root / name).write_text("\n".join(lines) + "\n", "utf-8")
    return root / name


TWO = {"cat": 3, "dog": 3}
PARTS = {"train": TWO, "val": TWO, "test": TWO}


# Folders.
def plain(root):
    two(root)


def names_of_telephones(root):
    names = ("IMG_20240101_120000.jpg", "IMG-WA0001.jpeg", "Screenshot 2024-01-01 at 12.00.00.png", "DSC_0001.JPG")
    put(root, {f"{label}/{name}": n for label in ("cat", "dog") for n, name in enumerate(names)})


def spaces_umlauts_and_signs(root):
    labels = ("große Bäume & Büsche", "日本語", "a'b\"c", "-dash", "50% [x]", "🐱")
    put(root, {f"{label}/{n} ({n}).jpg": n for label in labels for n in range(2)})


def control_characters(root):
    put(root, {f"{label}/{n}\x1b[31m.jpg": n for label in ("c\x07at", "d\x1bog") for n in range(2)})


def a_name_of_two_lines(root):
    put(root, {"c\nat/0.jpg": 0, "dog/1.jpg": 1})


def a_name_that_is_no_utf8(root):
    two(root)
    os.mkdir(os.fsencode(root) + b"/caf\xe9")


def a_very_long_name(root):
    put(root, {f"{letter * 250}/{n}.jpg": n for letter in "ab" for n in range(2)})


def litter(root):
    two(root)
    put(root, {"__MACOSX/cat/._0.jpg": b"\0\5", ".DS_Store": b"x", "cat/.DS_Store": b"x", "dog/Thumbs.db": b"\xd0"})
    put(root, {"cat/._0.jpg": b"\0\5\26\7", "dog/desktop.ini": b"[x]", ".git/HEAD": b"x", "@eaDir/0.jpg": b"x"})


def other_files(root):
    two(root)
    put(root, {"Readme.md": b"#", "cat/notes.txt": b"x", "cat/clip.mp4": b"\0\0\0 ftypisom", "dog/0.xml": b"<x/>"})


def broken_files(root):
    two(root, count=30)
    put(root, {"cat/cut.jpg": image()[:300], "cat/empty.png": b"", "dog/text.jpg": b"hello"})


def too_many_broken_files(root):
    two(root)
    put(root, {f"cat/{n}.png": b"" for n in range(3)})


def a_link_to_nothing(root):
    two(root, count=10)
    (root / "cat/lost.jpg").symlink_to(root / "nowhere.jpg")
    (root / "dog/lost").symlink_to(root / "nowhere")


def linked_files_and_folders(root):
    two(root, ".real/")
    (root / "cat").symlink_to(root / ".real/cat")
    (root / "dog").mkdir()
    for path in (root / ".real/dog").iterdir():
        (root / "dog" / path.name).symlink_to(path)


def a_link_to_itself(root):
    two(root)
    (root / "cat/again").symlink_to(root / "cat")


def links_that_are_their_own_targets(root):
    two(root, count=10)
    for name in ("loop", "cat/loop", "dog/loop.jpg"):
        (root / name).symlink_to((root / name).name)


def wrong_endings(root):
    kinds = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIF")
    for label, suffix in (("cat", "jpg"), ("dog", "dat")):
        put(root, {f"{label}/{n}.{suffix}": image(n, kind) for n, kind in enumerate(kinds)})


def mixed_endings(root):
    kinds = {"JPEG": "JPG", "PNG": "Png", "WEBP": "webp", "TIFF": "tif", "BMP": "BMP", "GIF": "gif", "HEIF": "HEIC"}
    for label in ("cat", "dog"):
        put(root, {f"{label}/a.{suffix}": image(n, kind) for n, (kind, suffix) in enumerate(kinds.items())})


def kinds_of_pixels(root):
    picture = small("chelsea", (24, 20)).convert("RGB")
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    contents = {
        "gray.png": encoded(picture.convert("L")),
        "palette.png": encoded(picture.convert("P")),
        "alpha.png": encoded(picture.convert("RGBA")),
        "bits.png": encoded(picture.convert("1")),
        "deep.png": encoded(deep),
        "deep.tiff": encoded(deep, "TIFF"),
        "cmyk.jpg": encoded(picture.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(picture, "JPEG", orientation=6),
        "animated.gif": encoded(picture, "GIF", save_all=True, append_images=[small("rocket", (24, 20))]),
        "animated.webp": encoded(picture, "WEBP", save_all=True, append_images=[small("rocket", (24, 20))]),
        "pages.tiff": encoded(picture, "TIFF", save_all=True, append_images=[small("rocket", (24, 20))]),
    }
    put(root, {f"{label}/{name}": content for label in ("cat", "dog") for name, content in contents.items()})


def tiny_and_narrow(root):
    for label in ("cat", "dog"):
        put(root, {f"{label}/{n}.png": encoded(Image.new("RGB", size)) for n, size in enumerate(((1, 1), (900, 1)))})


def numbers_without_black_and_white(root):
    two(root, count=10)
    put(root, {"cat/float.tiff": encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF")})


def one_image_of_a_class(root):
    two(root)
    put(root, {"fox/0.jpg": 30})


def one_image_of_each(root):
    put(root, {"cat/0.jpg": 0, "dog/0.jpg": 1})


def an_empty_class(root):
    two(root)
    (root / "fox").mkdir()
    put(root, {"owl/notes.txt": b"none yet"})


def one_class(root):
    put(root, {"cat/0.jpg": 0, "cat/1.jpg": 1})


def a_folder_in_a_folder(root):
    two(root, "photos/")


def flat(root):
    put(root, {f"{n}.jpg": n for n in range(4)})


def empty(root):
    pass


def nested(root):
    put(root, {f"{label}/{year}/{n}.jpg": n for label in ("cat", "dog") for year in (2023, 2024) for n in range(2)})


def parts(root):
    for part in PARTS:
        two(root, f"{part}/")


def parts_by_other_names(root):
    for part in ("Training", "VALID", "Testing"):
        two(root, f"{part}/")


def a_val_and_no_test(root):
    two(root, "train/", 5)
    two(root, "val/")


def train_alone(root):
    two(root, "train/", 10)


def a_class_only_in_test(root):
    a_training_image_in_test(root)
    put(root, {"test/fox/0.jpg": 30})


def a_training_image_in_test(root):
    for part, shift in (("train", 0), ("val", 100), ("test", 200)):
        put(root, {f"{part}/{label}/{n}.png": encoded(noise(shift + n + 50 * (label == "dog")))
                   for label in ("cat", "dog") for n in range(3)})  # fmt: skip
    (root / "train/cat/copy.png").write_bytes((root / "test/cat/0.png").read_bytes())


def noise(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8))


def a_class_called_train(root):
    two(root)
    put(root, {"train/0.jpg": 20, "train/1.jpg": 21})


# Lists.
ROWS = [(f"{label}/{n}.jpg", label) for label in ("cat", "dog") for n in range(3)]


def listed(root, header="file,label", rows=ROWS, name="list.csv", sep=","):
    two(root)
    return text(root, name, header, *(sep.join(row) for row in rows))


def as_json(root, rows, name="list.jsonl"):
    two(root)
    return text(root, name, *(json.dumps(row) for row in rows))


def with_parts(rows=ROWS, names=("train", "validation", "TEST")):
    return [(*row, names[n % 3]) for n, row in enumerate(rows)]


def backslashes(root):
    return listed(root, rows=[(path.replace("/", "\\"), label) for path, label in ROWS])


def absolute_paths(root):
    return listed(root, "Image Path,Class", [(str(root / path), label) for path, label in ROWS])


def of_a_spreadsheet(root):
    path = listed(root, "\ufeffFile Name;Category;Notes", [(*row, "a,b") for row in ROWS], sep=";")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return path


def one_file_missing(root):
    return listed(root, rows=[*ROWS * 1, ("cat/lost.jpg", "cat")])


def metadata(root, header="file_name,label", **names):
    put(root, {f"{n}.jpg": n for n in range(6)})
    text(root, "metadata.csv", header, *(f"{n}.jpg,{('cat', 'dog')[n % 2]}" for n in range(6)))


def metadata_of_parts(root):
    for part in ("train", "validation", "test"):
        put(root, {f"{part}/{n}.jpg": n for n in range(6)})
        rows = ({"file_name": f"{n}.jpg", "label": ("cat", "dog")[n % 2]} for n in range(6))
        text(root, f"{part}/metadata.jsonl", *map(json.dumps, rows))


def metadata_above_parts(root):
    for part in ("train", "validation", "test"):
        put(root, {f"{part}/{n}.jpg": n for n in range(6)})
    rows = [f"{part}/{n}.jpg,{('cat', 'dog')[n % 2]}" for part in ("train", "validation", "test") for n in range(6)]
    text(root, "metadata.csv", "file_name,breed", *rows)


def metadata_without_classes(root):
    two(root)
    text(root, "metadata.csv", "file_name,width,height", "cat/0.jpg,24,24")


def metadata_of_captions(root):
    put(root, {"0.jpg": 0})
    text(root, "metadata.csv", "file_name,text,id", "0.jpg,a cat,1")


def images_that_no_row_names(root):
    metadata(root)
    put(root, {"more.jpg": 9})


def a_zip_file(root):
    put(root, {"photos.zip": b"PK\3\4"})
    return root / "photos.zip"


RIGHT = {
    plain: TWO,
    names_of_telephones: {"cat": 4, "dog": 4},
    spaces_umlauts_and_signs: dict.fromkeys(("große Bäume & Büsche", "日本語", "a'b\"c", "-dash", "50% [x]", "🐱"), 2),
    control_characters: {"c\x07at": 2, "d\x1bog": 2},
    a_very_long_name: {"a" * 250: 2, "b" * 250: 2},
    litter: TWO,
    other_files: (TWO, r"1 \.md beside the classes, 1 \.mp4, 1 \.txt in cat, 1 \.xml in dog"),
    broken_files: (
        {"cat": 30, "dog": 30},
        "cut.jpg is cut off or damaged, .*empty.png is empty, .*text.jpg is no image",
    ),
    a_link_to_nothing: ({"cat": 10, "dog": 10}, r"1 without suffix in dog; .*cat/lost\.jpg is not there"),
    linked_files_and_folders: TWO,
    a_link_to_itself: TWO,
    links_that_are_their_own_targets: (
        {"cat": 10, "dog": 10},
        r"1 without suffix beside the classes, 1 without suffix in cat; .*dog/loop\.jpg cannot be read: Too many",
    ),
    wrong_endings: {"cat": 8, "dog": 8},
    mixed_endings: {"cat": 7, "dog": 7},
    kinds_of_pixels: {"cat": 11, "dog": 11},
    tiny_and_narrow: {"cat": 2, "dog": 2},
    numbers_without_black_and_white: ({"cat": 10, "dog": 10}, r"float\.tiff is "),
    one_image_of_a_class: {"cat": 3, "dog": 3, "fox": 1},
    an_empty_class: (TWO, r"1 \.txt in owl; ; fox, owl$"),
    nested: {"cat": 4, "dog": 4},
    parts: PARTS,
    parts_by_other_names: PARTS,
    a_val_and_no_test: {"train": {"cat": 5, "dog": 5}, "val": TWO},
    train_alone: {"train": {"cat": 10, "dog": 10}},
    a_class_called_train: {"cat": 3, "dog": 3, "train": 2},
    listed: TWO,
    backslashes: TWO,
    absolute_paths: TWO,
    of_a_spreadsheet: TWO,
    metadata: TWO,
    metadata_of_parts: PARTS,
    metadata_above_parts: PARTS,
    metadata_without_classes: (TWO, r"1 \.csv beside the classes"),
    images_that_no_row_names: (TWO, r"1 \.jpg that .*metadata\.csv does not name"),
    (lambda root: listed(root, "path,split,class", [(a, c, b) for a, b, c in with_parts()])): {
        part: {"cat": 1, "dog": 1} for part in PARTS
    },
    (lambda root: listed(root, "file,class,part", [*with_parts()[:-1], (*ROWS[-1], "")])): (
        {"train": {"cat": 1, "dog": 1}, "val": {"cat": 1, "dog": 1}, "test": {"cat": 1}},
        "rows without a part: 1",
    ),
    (lambda root: listed(root, rows=[*ROWS, ROWS[0]])): (TWO, "rows that repeat others: 1"),
    (lambda root: listed(root, "filename,breed")): TWO,
    (lambda root: listed(root, "file\tlabel", sep="\t", name="list.tsv")): TWO,
    (lambda root: listed(root, rows=[(f, f'"{c}, tabby"') for f, c in ROWS])): {"cat, tabby": 3, "dog, tabby": 3},
    (lambda root: as_json(root, [{"image": f, "labels": [c]} for f, c in ROWS])): TWO,
    (lambda root: as_json(root, [{"path": f, "label": "cd".index(c[0]), "w": 3} for f, c in ROWS])): {"0": 3, "1": 3},
}
SENTENCES = {
    a_name_of_two_lines: r"has a class 'c\\nat', a name of more than one line; rename the folder\.",
    a_name_that_is_no_utf8: r"holds the name b'caf\\xe9', which is not UTF-8; rename it\.",
    too_many_broken_files: r"^3 of 9 images cannot be read, and --max-broken allows a share of 0\.1: .*0\.png is empty",
    one_class: r"has images of one class, 'cat'; a classifier needs two classes or more, and images must lie as",
    a_folder_in_a_folder: r"has images of one class, 'photos'; .* classes or more; did you mean .*/photos\?",
    flat: r"has no images in folders of classes; a classifier needs two classes or more, and .*FILE\.csv",
    empty: r"has no images in folders of classes; ",
    metadata_of_captions: r"metadata\.csv has no column of classes; it has file_name, text, id, and one must be label",
    a_zip_file: r"photos\.zip is a file; give a folder, or a list that ends in \.csv, \.tsv, \.jsonl, \.ndjson: images",
    one_file_missing: r"^1 of 7 images cannot be read, .*cat/lost\.jpg is not there\.$",
    (lambda root: root / "none.csv"): r"^There is no file .*none\.csv; images must",
    (
        lambda root: listed(root, "cat/0.jpg,cat", ROWS[1:])
    ): r"no column of files; its first row has cat/0\.jpg, cat, and",
    (lambda root: listed(root, "file,width,height")): r"has no column of classes; it has file, width, height, and one",
    (lambda root: listed(root, "file_name,text")): r"has no column of classes; it has file_name, text, and one must be",
    (lambda root: listed(root, "file,path")): r"has the columns file and path, which may mean the same; rename or rem",
    (lambda root: listed(root, rows=[*ROWS, ("cat/0.jpg", "")])): r"has no label in row 8; remove the row, or give",
    (lambda root: listed(root, rows=[*ROWS, ("", "cat")])): r"names no file in row 8\.",
    (
        lambda root: listed(root, rows=[*ROWS, ("cat/0.jpg", "dog")])
    ): r"cat/0\.jpg twice, with two labels, in rows 2 and 8",
    (
        lambda root: listed(root, rows=[("x/" + f, c) for f, c in ROWS])
    ): r"names images that are not there, such as .*x/c",
    (
        lambda root: listed(root, rows=[("https://x.org/" + f, c) for f, c in ROWS])
    ): r"in row 2, an address that TensorFlow has no file system for; copy the im",
    (
        lambda root: listed(root, rows=[(f, f"{c}|tabby") for f, c in ROWS])
    ): r"several labels in a cell \(cat\|tabby\); --task multi-label",
    (
        lambda root: listed(root, rows=[*ROWS, ("cat/0.jpg ", '"cat,dog"')])
    ): r"twice|has several labels in a cell \(cat,dog",
    (
        lambda root: listed(root, rows=[(f, f"{n}.5") for n, (f, _) in enumerate(ROWS)])
    ): r"has numbers such as 0\.5 as lab",
    (
        lambda root: listed(root, "file,class,part", with_parts(names=("a", "b", "c")))
    ): r"has the part 'a' in row 2; a part",
    (
        lambda root: as_json(root, [{"file": f, "label": [c, "x"]} for f, c in ROWS])
    ): r"several labels in row 1 \(cat, x\)",
    (lambda root: as_json(root, [ROWS[0]])): r"^Line 1 of .*list\.jsonl is no object in JSON, such as",
    (lambda root: as_json(root, [{"file": f, "label": {"a": c}} for f, c in ROWS])): r"neither text nor number",
}
UNDIVIDED = {
    one_image_of_each: r"has no images to choose the weights by: all of a class show the same, or there is one of each",
    a_class_only_in_test: r"has no images of 'fox' to train with; add some, or remove the class everywhere\.$",
}


def case_names(cases):
    return [case.__name__.strip("<>") for case in cases]


@pytest.mark.parametrize("case", RIGHT, ids=case_names(RIGHT))
def test_right_counts(case, tmp_path):
    expected, told = RIGHT[case] if isinstance(RIGHT[case], tuple) else (RIGHT[case], "")
    found = look(case(tmp_path) or tmp_path)
    if found.is_split:
        parts = {photo.place.part for photo in found.photos}
        counts = {part: dict(count_classes([p for p in found.photos if p.place.part == part])) for part in parts}
    else:
        counts = dict(count_classes(found.photos))
    assert counts == expected
    broken = [f"{place.path} {reason}" for place, reason in found.broken]
    said = "; ".join(", ".join(each) for each in (found.others, broken, found.empty))
    assert re.search(told, said) if told else said == "; ; "


@pytest.mark.parametrize("case", SENTENCES, ids=case_names(SENTENCES))
def test_one_sentence(case, tmp_path):
    with pytest.raises((ValueError, OSError), match=SENTENCES[case]) as refused:
        look(case(tmp_path) or tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("case", UNDIVIDED, ids=case_names(UNDIVIDED))
def test_one_sentence_when_divided(case, tmp_path):
    case(tmp_path)
    with pytest.raises(ValueError, match=UNDIVIDED[case]):
        divide(look(tmp_path), 0.15, 0.15, 0)


def test_a_training_image_in_the_test_part_is_left_out(tmp_path):
    a_training_image_in_test(tmp_path)
    split = divide(look(tmp_path), 0.15, 0.15, 0)
    (left,) = [row for row in split.rows if not row.part]
    assert (left.file, left.note) == (f"{tmp_path}/train/cat/copy.png", f"shows the same as {tmp_path}/test/cat/0.png")


def test_the_column_of_the_classes_can_be_named(tmp_path):
    path = listed(tmp_path, "file,label,species", [(f, "x", c) for f, c in ROWS])
    assert dict(count_classes(look(path, label_column="species").photos)) == TWO
    with pytest.raises(ValueError, match=r"has no column 'breed'; it has file, label, species\."):
        look(path, label_column="breed")
    (tmp_path / "list.csv").unlink()
    with pytest.raises(ValueError, match=r"^--label-column is 'breed', and .* has no list with columns; leave it out"):
        look(tmp_path, label_column="breed")
