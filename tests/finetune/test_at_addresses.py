"""Photographs and lists at addresses: found, measured and learned as those of this machine are."""

import json

import pytest
import tensorflow as tf

from keras_nest.cli import commands as cli
from keras_nest.data.sources.base import ONLY_HOST
from keras_nest.data.sources.table import open_table, read_table
from keras_nest.evaluation.images import open_images
from keras_nest.finetune.found import list_sizes, look
from keras_nest.finetune.split import divide
from keras_nest.mirror import mirrored
from keras_nest.training import lease
from tests import fake_buckets
from tests.finetune import squares
from tests.training import runs


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Folder with two classes, one broken file and one that is no image."""
    root = tmp_path_factory.mktemp("photos") / "all"
    squares.write(root / "squares", 6)
    squares.write(root / "others", 6, seed=1)
    (root / "others" / "broken.png").write_bytes(b"hello")
    (root / "others" / "without suffix").write_bytes((root / "others" / "0.png").read_bytes())
    rows = [(f"{name}/{number}.png", name) for name in ("squares", "others") for number in range(6)]
    squares.write_list(root / "list.csv", ("file", "label"), rows)
    squares.write_list(root / "far.csv", ("file", "label"), ((f"ram://photos/all/{file}", name) for file, name in rows))
    (root / "lines.jsonl").write_text("".join(json.dumps({"image": file, "class": name}) + "\n" for file, name in rows))
    return root


@pytest.fixture(scope="module")
def address(photos):
    """The same at an address; a process may come here twice, and TensorFlow's ram:// appends to what is there."""
    if tf.io.gfile.exists("ram://photos"):
        tf.io.gfile.rmtree("ram://photos")
    for path in filter(lambda path: path.is_file(), photos.rglob("*")):
        target = f"ram://photos/all/{path.relative_to(photos)}"
        tf.io.gfile.makedirs(target.rpartition("/")[0])
        tf.io.gfile.copy(str(path), target, overwrite=True)
    return "ram://photos/all"


def told(found, root):
    """All that is found, without where it lies."""
    photos = [
        (photo.place._replace(path=photo.place.path.removeprefix(f"{root}/")), photo.size, photo.thumbnail.tobytes())
        for photo in found.photos
    ]
    broken = [(place.path.removeprefix(f"{root}/"), reason) for place, reason in found.broken]
    return photos, broken, found.others, found.class_names


@pytest.mark.parametrize("name", ["", "/list.csv", "/lines.jsonl"])
def test_the_same_is_found(name, photos, address):
    there, here = look(f"{address}{name}"), look(f"{photos}{name}")
    assert told(there, address) == told(here, photos)
    assert len(there.photos) == (12 if name else 13)
    rows = [[row._replace(file=row.file.removeprefix(str(root))) for row in divide(found, 0.2, 0.2, 0).rows]
            for found, root in ((there, address), (here, photos))]  # fmt: skip
    assert rows[0] == rows[1]
    sizes = list_sizes(f"{address}{name}")
    assert {place.removeprefix(address): size for place, size in sizes.items()} == {
        place.removeprefix(str(photos)): size for place, size in list_sizes(f"{photos}{name}").items()
    }


# Both name what lies at the address.
@pytest.mark.usefixtures("address")
@pytest.mark.parametrize("root", ["address", "photos"])
def test_a_list_may_name_addresses(root, request):
    found = look(f"{request.getfixturevalue(root)}/far.csv")
    assert found.photos[0].place.path == "ram://photos/all/squares/0.png"
    assert len(found.photos) == 12


def test_what_is_not_there(address):
    for name, kind in (("none", "folder"), ("none.csv", "file")):
        with pytest.raises(FileNotFoundError, match=f"^There is no {kind} {address}/{name}; images must lie as"):
            look(f"{address}/{name}")
        with pytest.raises(FileNotFoundError, match=f"^There is no .* {address}/{name}[.;]"):
            open_images(f"{address}/{name}")


def test_images_to_measure_with(photos, address):
    for name in ("", "/list.csv", "/far.csv"):
        sentences: list[str] = []
        images = open_images(f"{address}{name}")
        read = list(images.read(sentences.append))
        here = list(open_images(f"{photos}{name}").read(lambda sentence: None))
        assert [image.label for image in read] == [image.label for image in here]
        assert all((one.pixels == other.pixels).all() for one, other in zip(read, here, strict=True))
        broken = f"{address}/others/broken.png cannot be read as an image"
        assert [sentence.startswith(broken) for sentence in sentences] == ([] if name else [True])


def test_a_table_of_a_fine_tuning(address):
    """Relative to itself, and as a data set of `keras-nest train`."""
    with tf.io.gfile.GFile(f"{address}/images.csv", "w") as file:
        file.write("file,class,part\nsquares/0.png,a,train\n../all/others/0.png,b,train\nothers/1.png,b,test\n")
    assert len(read_table(f"{address}/images.csv").rows) == 3
    source = open_table(f"{address}/images.csv")
    assert source.info.class_names == ("a", "b")
    assert source.train.at(tf.constant(1)).content.numpy().startswith(b"\x89PNG")


def test_a_bucket_that_everybody_may_read(photos, monkeypatch, tmp_path):
    """Over https, without credentials."""
    objects = {f"public/all/{path.relative_to(photos)}": path.read_bytes() for path in photos.rglob("*.*")}
    with fake_buckets.serve(objects) as (server, _):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
        monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path))
        for name in ("", "/list.csv"):
            assert len(look(f"gs://public/all{name}").photos) == 12
        objects["public/all/images.csv"] = b"file,class,part\nsquares/0.png,a,train\nothers/1.png,a,test\n"
        source = open_table("gs://public/all/images.csv")
        expected = objects["public/all/others/1.png"]
        assert source.test.at(tf.constant(0)).content.numpy() == expected
        assert [each.content.numpy() for each in source.test.in_order(ONLY_HOST)] == [expected]


@pytest.mark.slow
def test_a_whole_fine_tuning(photos, address, tmp_path, monkeypatch):
    """Of photographs at an address, in a directory at an address: bit for bit what a local one is; it goes on, too."""
    for name, seconds in (("BEAT", 0.05), ("SILENCE", 0.4), ("SETTLE", 0.05)):
        monkeypatch.setattr(lease, name, seconds)
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path / "cache"))
    here, there = tmp_path / "run", "ram://photos/run"

    def finetune(folder, workdir):
        words = ("finetune", folder, "--model", "testing", "--image-size", 32, "--epochs", 2, "--workdir", workdir)
        return cli.main(list(map(str, words)))

    assert finetune(photos, here) == finetune(address, there) == 0
    with mirrored(there) as directory:
        runs.assert_same_results(directory, here)
        rows = [read_table(path / "images.csv").rows for path in (directory, here)]
        assert [row.file for row in rows[0]] == [row.file.replace(str(photos), address) for row in rows[1]]
    for run in (here, there):
        assert cli.main(["evaluate", str(run), "--save", str(tmp_path / f"{len(str(run))}.json")]) == 0
    figures = [json.loads((tmp_path / f"{len(str(run))}.json").read_text()) for run in (here, there)]
    assert figures[0]["loss"] == figures[1]["loss"]
    # It goes on in another copy; what is gone at the address is told before any work.
    steps = [name for name in tf.io.gfile.listdir(f"{there}/checkpoints") if name.startswith("ckpt-")]
    last = max(int(name.removeprefix("ckpt-").partition(".")[0]) for name in steps)
    lost = (
        "metrics.json",
        "model.keras",
        *(f"checkpoints/{name}" for name in steps if name.startswith(f"ckpt-{last}.")),
    )
    for name in lost:
        tf.io.gfile.remove(f"{there}/{name}")
    assert finetune(address, there) == 0
    with mirrored(there) as directory:
        runs.assert_same_results(directory, here)
    tf.io.gfile.remove(f"{there}/metrics.json")
    tf.io.gfile.remove(f"{address}/squares/3.png")
    assert finetune(address, there) == 2
