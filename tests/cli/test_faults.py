"""Every kind of output where a disk is full or a bucket fails: one sentence, and nothing that is half there."""

import re
import tempfile

import pytest

from keras_nest import console, outputs
from keras_nest.cli import commands as cli
from tests.buckets_in_memory import failing, there
from tests.full_disks import files_of_at_most

SAVED_BY_EVALUATE = {f"evaluate --save {suffix}": f"evaluate RUN --data DATA --save OUT/x.{suffix}" for suffix in
                     ("json", "csv", "html", "png")}  # fmt: skip
QUICK = {
    ".keras": "convert RUN OUT/x.keras",
    ".weights.h5": "convert RUN OUT/x.weights.h5",
    ".npz": "convert --to-flax RUN OUT/x.npz",
    ".msgpack": "convert --to-flax RUN OUT/x.msgpack",
    "stock Keras": "export RUN --format keras --output OUT/x.keras",
    "predict --save": "predict DATA/owl/rocket.png --model RUN --save OUT",
    "explain --save": "explain DATA/owl/rocket.png --model RUN --method cam --save OUT",
    **SAVED_BY_EVALUATE,
}
LONG = {
    "SavedModel": "export RUN --format saved_model --output OUT",
    "TFLite": "export RUN --format tflite --precision float32 --output OUT",
    "ONNX": "export RUN --format onnx --output OUT/x.onnx",
    "page": "export RUN --format web --output OUT/page",
    "Orbax": "convert --to-flax RUN OUT/x",
}
ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in LONG)]


@pytest.fixture(scope="module")
def data(photos, tmp_path_factory):
    """A folder with a class."""
    root = tmp_path_factory.mktemp("data")
    (root / "owl").mkdir()
    for path in photos.iterdir():
        (root / "owl" / path.name).write_bytes(path.read_bytes())
    return root


@pytest.fixture
def run(files, data, capsys, monkeypatch):
    """Runs a command that writes to a place: exit code, and what it says is wrong."""
    monkeypatch.setattr(console.console, "width", 400)

    def run_here(name, out):
        words = {**QUICK, **LONG}[name].replace("RUN", str(files["run"])).replace("DATA", str(data)).split()
        code = cli.main([word.replace("OUT", str(out)) for word in words])
        # What TensorFlow logs does not fit into the file of pytest, of which logging tells, too.
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        return code, "\n".join(told)

    return run_here


@pytest.mark.parametrize("name", ALL)
def test_a_full_disk(name, run, tmp_path):
    with files_of_at_most(100):
        code, errors = run(name, tmp_path / "out")
    assert code in (1, 2)
    where = f"A file, in {tempfile.gettempdir()}" if name == "TFLite" else f"{tmp_path}/out"
    assert re.fullmatch(rf"error: (\S*: )?{where}.* cannot be written: File too large\.", errors)
    assert ".partial-" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", [".npz", "evaluate --save html"])
def test_a_bucket_that_fails_once(name, run):
    """Whichever of its changes it is: what is there is whole, and where nothing was said against it, it is there."""
    bucket, number, whole = f"ram://faults/{name.replace(' ', '')}", 0, None
    while whole is None:
        outputs._check_writable.cache_clear()
        number += 1
        out = f"{bucket}/{number}"
        with failing(number, number):
            code, errors = run(name, out)
        found = {path: content for path, content in there(out).items() if not path.startswith(".partial")}
        if code:
            assert errors.startswith(f"error: {out}")
            assert errors.endswith(" cannot be written to: 503.")
            assert found == {}
        else:
            whole = found
    assert number > 3
    assert whole
