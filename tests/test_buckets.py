"""What everybody may read in buckets comes over https, at every door: here from a stand-in on the loopback address."""

import functools
import os
import pathlib
import random
import socket
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import buckets, conversion, copies
from keras_nest.cli import commands as cli
from keras_nest.conversion.download import download
from tests import fake_buckets
from tests.families import randomized

CHUNK = 1 << 16
BYTES = random.Random(1).randbytes(5 * CHUNK + 123)
DEAD = "127.0.0.1:9"


def forget():
    """What was found out a moment ago may be otherwise now."""
    for memory in (buckets._looked, buckets._unreachable, buckets._tell_of_credentials):
        memory.cache_clear()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Folder of the cache, which is empty at first."""
    monkeypatch.setenv("KERAS_NEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(copies, "_CHUNK", CHUNK)
    forget()
    return tmp_path / "cache" / "buckets"


def change_tensorflow(monkeypatch, change):
    """Lets TensorFlow read another path than it is asked for."""
    for name in ("isdir", "exists", "listdir", "stat", "GFile"):

        def read(read, path, *arguments):
            return read(change(tf.compat.as_str(os.fspath(path))), *arguments)

        monkeypatch.setattr(tf.io.gfile, name, functools.partial(read, getattr(tf.io.gfile, name)))


@pytest.fixture(autouse=True)
def tensorflow_is_not_asked(monkeypatch):
    def refuse(path):
        assert not path.startswith("gs://"), path
        return path

    # Not in a context of its own: that would end before what a test patches, whose undoing would bring this back.
    change_tensorflow(monkeypatch, refuse)


@pytest.fixture
def serve(monkeypatch):
    """Serves objects; gives the list of requests."""
    running = []

    def start(objects, **options):
        running.append(fake_buckets.serve(objects, **options))
        address, asked = running[-1].__enter__()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        return asked

    yield start
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def serve_nobody(monkeypatch):
    """The server is gone."""

    def stop():
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", DEAD)
        forget()

    return stop


@pytest.fixture(scope="module")
def model():
    return randomized(keras_nest.create_model("testing", num_classes=3, image_size=32))


@pytest.fixture(scope="module")
def published(model, tmp_path_factory):
    """The same weights in every kind of file."""
    folder = tmp_path_factory.mktemp("published")
    for name in ("a+b/testing.npz", "nest/ckpt-39.flax", "nest/ckpt-4.flax", "testing"):
        (folder / name).parent.mkdir(exist_ok=True)
        conversion.write_checkpoint(model, folder / name)
    (folder / "nest" / "checkpoint").write_text('model_checkpoint_path: "ckpt-39"\n')
    model.save(folder / "own.keras")
    model.save_weights(folder / "own.weights.h5")
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {f"bucket/{path.relative_to(folder)}": path.read_bytes() for path in files}


class TestDoors:
    @pytest.mark.parametrize(
        ("path", "files"),
        {
            "a+b/testing.npz": ["a%2Bb/testing.npz"],
            "nest": ["nest/checkpoint", "nest/ckpt-39.flax"],
            "nest/": ["nest/checkpoint", "nest/ckpt-39.flax"],
            "nest/ckpt.39": ["nest/ckpt-39.flax"],
            "nest/ckpt-4.flax": ["nest/ckpt-4.flax"],
            "own.keras": ["own.keras"],
            "own.weights.h5": ["own.weights.h5"],
        }.items(),
    )
    def test_create_model(self, path, files, serve, published, model):
        asked = serve(published)
        loaded = keras_nest.create_model("testing", weights=f"gs://bucket/{path}", image_size=32)
        assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
        assert sorted(
            {line for line in asked if line.startswith("GET /bucket/")} - {"GET /bucket/nest/checkpoint"}
        ) == [f"GET /bucket/{file}" for file in files if file != "nest/checkpoint"]

    def test_an_orbax_directory(self, serve, published, model):
        serve(published)
        loaded = keras_nest.create_model("testing", weights="gs://bucket/testing")
        assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))

    def test_commands(self, serve, published, model, tmp_path, monkeypatch, capsys):
        serve(published)
        monkeypatch.chdir(tmp_path)
        for words in (
            "info gs://bucket/a+b/testing.npz",
            "convert gs://bucket/a+b/testing.npz out.keras",
            "convert testing gs://bucket/nest back.keras",
            "download gs://bucket/a+b/testing.npz .",
            "download gs://bucket/nest .",
        ):
            assert cli.main(words.split()) == 0, words
        assert (tmp_path / "testing.npz").read_bytes() == published["bucket/a+b/testing.npz"]
        assert sorted(path.name for path in (tmp_path / "nest").iterdir()) == [
            "checkpoint",
            "ckpt-39.flax",
            "ckpt-4.flax",
        ]
        for name in ("out.keras", "back.keras"):
            loaded = keras_nest.open_model(name).model
            assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))

    def test_a_directory_that_tells_its_model(self, serve, model, tmp_path):
        pytest.importorskip("safetensors")
        vit = randomized(
            keras_nest.create_model("ViT-S_16", 3, 32, hidden_size=8, num_layers=1, num_heads=2, mlp_dim=8)
        )
        conversion.write_timm(vit, tmp_path / "vit")
        serve({f"bucket/vit/{path.name}": path.read_bytes() for path in (tmp_path / "vit").iterdir()})
        loaded = keras_nest.open_model("gs://bucket/vit").model
        assert all(map(np.array_equal, loaded.get_weights(), vit.get_weights()))

    def test_the_index_of_augreg(self, serve):
        serve({"bucket/index.csv": b"ds\ni21k\n"})
        with pytest.raises(ValueError, match=r"^The index gs://bucket/index\.csv lacks adapt_ds, "):
            conversion.augreg("gs://bucket/index.csv")

    def test_published_nests_tell_their_model(self, serve, published):
        serve({name.replace("/nest/", "/nest-t_imagenet/"): value for name, value in published.items()})
        with pytest.raises(ValueError, match=r"does not fit nest_tiny_s196_224: "):
            keras_nest.open_model("gs://bucket/nest-t_imagenet")


class TestSentences:
    @pytest.mark.parametrize("path", ["bucket/nowhere.npz", "bucket/a", "nobody/x.npz", "bucket/nest/ckpt.7"])
    def test_what_is_not_there(self, path, serve, published, tmp_path):
        serve(published)
        for door in (
            lambda uri: keras_nest.create_model("testing", weights=uri),
            lambda uri: keras_nest.open_model("testing", uri),
            lambda uri: download(uri, tmp_path / "out"),
        ):
            with pytest.raises(FileNotFoundError, match=rf"^There is no .*{path.rpartition('/')[2].partition('.')[0]}"):
                door(f"gs://{path}")
        assert not (tmp_path / "out").exists()

    def test_no_address(self, serve):
        serve({})
        for uri in ("gs://bucket//x", "gs://bucket/../x.npz"):
            with pytest.raises(ValueError, match=r"is no address of an object; write gs://BUCKET/OBJECT\.$"):
                keras_nest.create_model("testing", weights=uri)

    def test_no_network(self, serve_nobody, tmp_path, capsys):
        serve_nobody()
        sentence = (
            r"^gs://b/testing\.npz cannot be read \(127\.0\.0\.1:9 cannot be reached: Connection refused\); by hand "
        )
        sentence += r"it can be had from https://storage\.googleapis\.com/b/testing\.npz\.$"
        for door in (keras_nest.open_model, lambda uri: download(uri, tmp_path)):
            with pytest.raises(OSError, match=sentence):
                door("gs://b/testing.npz")
        assert cli.main(["info", "gs://b/testing.npz"]) == 2
        assert capsys.readouterr().err.startswith("error: gs://b/testing.npz cannot be read")

    def test_a_network_that_swallows_everything(self, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{silent.getsockname()[1]}/")
            monkeypatch.setattr(buckets, "_PATIENCE", 0.2)
            start = time.monotonic()
            with pytest.raises(OSError, match=r"cannot be reached: (no answer within|timed out)"):
                keras_nest.open_model("gs://b/testing.npz")
            assert time.monotonic() - start < 5

    def test_a_server_in_trouble(self, serve, published, monkeypatch):
        serve(published)
        monkeypatch.setattr(fake_buckets, "listing", lambda *_: (500, b""))
        with pytest.raises(OSError, match=r"^gs://bucket/nowhere cannot be read \(500 Internal Server Error\)\.$"):
            keras_nest.create_model("testing", weights="gs://bucket/nowhere")

    def test_a_cache_that_cannot_be_written(self, serve, published, tmp_path):
        serve(published)
        (tmp_path / "cache").write_text("precious")
        with pytest.raises(OSError, match=r"cache/buckets/bucket/a\+b/testing\.npz cannot be written: Not a directory"):
            keras_nest.open_model("gs://bucket/a+b/testing.npz")


class TestPrivateBuckets:
    @pytest.fixture
    def private(self, serve, published, tmp_path, monkeypatch):
        """TensorFlow has credentials for what the server gives to nobody."""
        serve(published, private=("bucket",))
        for name, content in published.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        change_tensorflow(monkeypatch, lambda path: path.replace("gs://", f"{tmp_path}/"))

    @pytest.mark.parametrize("path", ["a+b/testing.npz", "nest", "own.keras", "own.weights.h5"])
    def test_tensorflow_reads_them(self, path, private, model, cache, caplog):
        loaded = keras_nest.create_model("testing", weights=f"gs://bucket/{path}", image_size=32)
        assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
        told = [
            line for line in caplog.messages if line.startswith("Not everybody may read gs://bucket; TensorFlow reads")
        ]
        assert len(told) == 1
        assert not cache.exists()

    def test_no_credentials(self, private, monkeypatch, tmp_path):
        def fail(path):
            raise tf.errors.PermissionDeniedError(None, None, "Error executing: HTTP response code 403\n when …")

        monkeypatch.setattr(tf.io.gfile, "stat", fail)
        monkeypatch.setattr(tf.io.gfile, "exists", fail)
        monkeypatch.setattr(tf.io.gfile, "isdir", lambda path: False)
        for door in (keras_nest.open_model, lambda uri: download(uri, tmp_path / "out")):
            with pytest.raises(
                OSError, match=r"^gs://bucket/a\+b/testing\.npz cannot be read \(.*HTTP response code 403\)"
            ):
                door("gs://bucket/a+b/testing.npz")


def fetched(asked):
    return [line for line in asked if line.startswith("GET /bucket/")]


class TestTheCache:
    def test_a_file_is_fetched_once(self, serve, cache, capfd):
        asked = serve({"bucket/x y": BYTES})
        path = copies.cached("gs://bucket/x y")
        assert path == str(cache / "bucket" / "x y")
        assert pathlib.Path(path).read_bytes() == BYTES
        assert capfd.readouterr().err == "Fetching gs://bucket/x y: 0.3 MiB\n"
        assert fetched(asked) == ["GET /bucket/x%20y"]
        copies.cached("gs://bucket/x y")
        assert len(fetched(asked)) == 2  # of which this was its end, to compare
        assert capfd.readouterr().err == ""

    def test_on_a_terminal_the_line_tells_how_far_it_is(self, serve, capfd, monkeypatch):
        serve({"bucket/x": BYTES})
        monkeypatch.setattr("sys.stderr.isatty", lambda: True)
        copies.cached("gs://bucket/x")
        lines = capfd.readouterr().err
        assert lines.startswith("\rFetching gs://bucket/x: 0.0 of 0.3 MiB\rFetching gs://bucket/x: 0.1 of 0.3 MiB\r")
        assert lines.endswith("\rFetching gs://bucket/x: 0.3 of 0.3 MiB\n")

    @pytest.mark.parametrize("change", [b"shorter", BYTES[:-1] + b"!"])
    def test_what_changed_is_fetched_again(self, change, serve):
        objects = {"bucket/x": BYTES}
        serve(objects)
        copies.cached("gs://bucket/x")
        objects["bucket/x"] = change
        forget()
        assert pathlib.Path(copies.cached("gs://bucket/x")).read_bytes() == change

    def test_without_a_network_it_is_what_there_is(self, serve, serve_nobody, published, model, tmp_path, caplog):
        serve(published)
        for path in ("nest", "own.keras"):
            keras_nest.create_model("testing", weights=f"gs://bucket/{path}", image_size=32)
        serve_nobody()
        for path in ("nest", "nest/ckpt-39.flax", "own.keras"):
            loaded = keras_nest.create_model("testing", weights=f"gs://bucket/{path}", image_size=32)
            assert all(map(np.array_equal, loaded.get_weights(), model.get_weights()))
        assert "gs://bucket/own.keras cannot be reached; what was fetched earlier is taken: " in caplog.text
        download("gs://bucket/nest", tmp_path)
        assert (tmp_path / "nest" / "ckpt-39.flax").read_bytes() == published["bucket/nest/ckpt-39.flax"]
        with pytest.raises(OSError, match=r"gs://bucket/a\+b/testing\.npz cannot be read"):
            keras_nest.open_model("gs://bucket/a+b/testing.npz")

    def test_what_a_broken_connection_left_is_continued(self, serve, cache):
        lengths = {"bucket/x": 3 * CHUNK}
        asked = serve({"bucket/x": BYTES}, lengths=lengths)
        with pytest.raises(OSError, match=r"gs://bucket/x (gave .* instead of|cannot be read \(the connection broke)"):
            copies.cached("gs://bucket/x")
        assert sorted(path.name for path in (cache / "bucket").iterdir()) == ["x.lock", "x.partial"]
        lengths.clear()
        assert pathlib.Path(copies.cached("gs://bucket/x")).read_bytes() == BYTES
        assert fetched(asked)[-1] == f"GET /bucket/x from {3 * CHUNK}"

    def test_several_at_once(self, serve, cache):
        """Threads here, processes elsewhere: the replicas of a training open the same weights."""
        asked = serve({"bucket/x": BYTES})
        threads = [threading.Thread(target=copies.cached, args=("gs://bucket/x",)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (cache / "bucket" / "x").read_bytes() == BYTES
        assert len(fetched(asked)) == 4

    def test_every_other_path_is_as_it_is(self, tmp_path):
        for path in (str(tmp_path), "nowhere", "ram://x", "s3://b/x"):
            assert copies.cached(path) == path


class TestDirectories:
    def test_names(self, serve):
        """Of three pages; what was made by hand as a directory is an object, too."""
        serve({f"bucket/a/{name}": b"" for name in ("", "1", "2", "3", "4/5", "4/6")})
        assert buckets.list_dir("gs://bucket/a") == ["1", "2", "3", "4"]
        assert buckets.list_dir("gs://bucket") == ["a"]
        assert [buckets.is_dir(f"gs://bucket/a{name}") for name in ("", "/1", "/4", "/4/5", "/nowhere")] == [
            *(True, False, True, False, False)
        ]
        assert buckets.size("gs://bucket/a/1") == 0
        with pytest.raises(FileNotFoundError, match=r"^There is no gs://bucket/a\.$"):
            buckets.size("gs://bucket/a")
