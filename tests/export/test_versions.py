"""Versions beside each other, their cards and their archives."""

import contextlib
import functools
import http.server
import sys
import tarfile
import threading

import numpy as np
import pytest
import tensorflow as tf

from keras_nest import export
from keras_nest.export import versions
from tests.export import toys

CONTENT = ["README.md", "assets", "assets.extra", "fingerprint.pb", "saved_model.pb", "variables"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def quick(monkeypatch):
    """Stands in for the export where only directories matter: writes its number, or fails."""
    written = []

    def write(model, path, **options):
        path.mkdir()
        if model is None:
            (path / "saved_model.pb").write_text("half")
            raise OSError("disk full")
        written.append(options)
        (path / "number").write_text(str(len(written)))

    monkeypatch.setattr(versions, "to_saved_model", write)
    monkeypatch.setattr(versions, "read_signatures", lambda path: {})
    monkeypatch.setattr(versions, "model_card", lambda *args, **options: "card")


class TestVersions:
    def test_lie_beside_each_other(self, quick, tmp_path):
        (tmp_path / "models" / "tmp").mkdir(parents=True)
        for number in ("1", "2", "3"):
            assert export.publish("model", tmp_path / "models") == tmp_path / "models" / number
        assert names(tmp_path / "models") == ["1", "2", "3", "tmp"]
        assert (tmp_path / "models/2/number").read_text() == "2"

    def test_the_newest_is_replaced_when_asked(self, quick, tmp_path):
        for overwrite in (True, False, True):
            export.publish("model", tmp_path, overwrite=overwrite, archive=True)
        assert names(tmp_path) == ["1", "1.tar.gz", "2", "2.tar.gz"]
        with tarfile.open(tmp_path / "2.tar.gz") as packed:
            assert packed.extractfile("./number").read() == b"3"
        assert [(tmp_path / version / "number").read_text() for version in "12"] == ["1", "3"]

    def test_no_archive_of_something_else_is_left(self, quick, tmp_path):
        export.publish("model", tmp_path, archive=True)
        export.publish("model", tmp_path, overwrite=True)
        assert names(tmp_path) == ["1"]

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_failure_leaves_everything_as_it_was(self, quick, overwrite, tmp_path):
        export.publish("model", tmp_path)
        with pytest.raises(OSError, match="disk full"):
            export.publish(None, tmp_path, overwrite=overwrite)
        assert names(tmp_path) == ["1"]
        assert (tmp_path / "1/number").read_text() == "1"

    def test_another_process_that_was_faster_keeps_its_version(self, quick, tmp_path, monkeypatch):
        def meanwhile(path):
            (tmp_path / "1").mkdir()
            (tmp_path / "1/number").write_text("theirs")
            return {}

        monkeypatch.setattr(versions, "read_signatures", meanwhile)
        with pytest.raises(FileExistsError, match="was written by another process meanwhile; export again"):
            export.publish("model", tmp_path, archive=True)
        assert names(tmp_path) == ["1"]
        assert (tmp_path / "1/number").read_text() == "theirs"

    def test_an_archive_that_lies_there_is_kept(self, quick, tmp_path):
        (tmp_path / "1.tar.gz").write_text("keep")
        with pytest.raises(FileExistsError, match=r"1\.tar\.gz exists already"):
            export.publish("model", tmp_path, archive=True)
        assert names(tmp_path) == ["1.tar.gz"]

    def test_a_file_is_no_directory(self, tmp_path):
        (tmp_path / "file").write_text("keep")
        with pytest.raises(NotADirectoryError, match="file is a file; the output must be a directory"):
            export.publish(None, tmp_path / "file")


def test_what_a_version_holds(published):
    model, folder = published("nest")
    assert folder.name == "1"
    assert names(folder) == CONTENT
    stored = sum(file.stat().st_size for file in (folder / "variables").iterdir())
    # The index of so small a model weighs something beside the weights.
    assert 4 * model.count_params() <= stored < 4 * model.count_params() + 20_000


def test_the_card_tells_what_is_in_the_file(published):
    model, folder = published("nest")
    card = (folder / "README.md").read_text("utf-8")
    facts = [
        f"{model.count_params():,} parameters",
        "arxiv.org/abs/2105.12723",
        "module(images)  # float32 (B, 16, 16, 3)",
    ]
    facts += ["crop_ratio 0.875", "mean [0.485, 0.456, 0.406]", "89,478,485 pixels"]
    facts += ["7, in the order of `assets/labels.txt`: owl, Käuzchen, cat, tabby, dog, fox, hen, 猫"]
    for fact in facts:
        assert fact in card, fact
    rows = {tuple(cell.strip() for cell in line.split("|")[1:5]) for line in card.splitlines() if line[:1] == "|"}
    for signature, both in export.read_signatures(folder).items():
        for kind, tensors in zip(("input", "output"), both, strict=True):
            for name, description in tensors.items():
                assert (signature, kind, f"`{name}`", description) in rows


def test_the_card_of_a_feature_vector(feature_vector):
    model, folder = feature_vector
    assert names(folder) == [name for name in CONTENT if name != "assets.extra"]
    card = (folder / "README.md").read_text("utf-8")
    parameters = model.count_params() - model.get_layer("head").count_params()
    for fact in (f"feature vector of the architecture MlpMixer with {parameters:,} parameters", "embedding = module("):
        assert fact in card
    assert "| top1 | 0.9877 |" in card
    for absent in ("## Classes", "steps", "image_bytes"):
        assert absent not in card


@contextlib.contextmanager
def web_server(folder):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# tensorflow_hub raises these about itself.
@pytest.mark.filterwarnings("ignore:pkg_resources is deprecated", "ignore::DeprecationWarning")
def test_hub_takes_the_archive_from_the_web(published, tmp_path, monkeypatch):
    hub = pytest.importorskip("tensorflow_hub")
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path))
    model, folder = published("nest")
    with web_server(folder.parent) as address:
        module = hub.load(f"{address}/1.tar.gz")
    toys.assert_close(module(toys.pixels(2)), toys.logits(model, toys.pixels(2)))


def test_the_archive_names_nobody(published):
    _, folder = published("nest")
    with tarfile.open(folder.with_name("1.tar.gz")) as packed:
        assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in packed} == {(0, 0, "", "")}
        assert {f"./{name}" for name in CONTENT} <= set(packed.getnames())


class TestWithoutThePackageOfTheRequests:
    @pytest.fixture(autouse=True)
    def missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)

    def test_they_are_left_out_with_a_note(self, tmp_path, caplog):
        folder = export.publish(toys.build("mixer", preprocessing=None), tmp_path)
        assert not (folder / "assets.extra").exists()
        assert tf.saved_model.load(folder).signatures
        (note,) = caplog.messages
        assert note.startswith(
            "Requests that warm TF-Serving up are left out: pip install 'keras-nest[serving]', or in"
        )

    def test_asked_for_they_are_missed(self, tmp_path):
        with pytest.raises(ModuleNotFoundError, match=r"not installed: pip install 'keras-nest\[serving\]', or in"):
            export.publish(toys.build("mixer"), tmp_path, warm_up=True)
        assert not list(tmp_path.iterdir())


def test_a_file_of_labels_is_read_back_as_it_was(loaded):
    answer = loaded.signatures["serving_bytes"](tf.constant(toys.image_files()))
    names_of = np.array(toys.CLASS_NAMES)[answer["classes"].numpy()]
    assert [[label.decode() for label in row] for row in answer["labels"].numpy()] == names_of.tolist()
