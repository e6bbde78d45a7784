"""Builds the sdist and the wheel, installs the wheel into a fresh environment, and uses it from an empty directory.

A second build, from a copy of the tracked files that lies elsewhere and is of another time, must give the same bytes.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOT_INSTALLED = ("configs", "conversion", "export", "quiet_start", "tests", "train_keras")
# A training of seconds.
TOY = (
    "--config.num_epochs=1",
    "--config.warmup_epochs=0",
    "--config.per_device_batch_size=480",
    "--config.model.embedding_dim=8",
    "--config.model.num_layers_per_block=(1,1,1)",
    "--config.model.init_patch_embed_size=4",
)
WRITE_IMAGE = """
from PIL import Image
from sklearn.datasets import load_sample_image
Image.fromarray(load_sample_image("china.jpg")).save("china.png")
"""
LOOK_AROUND = f"""
import importlib.util, pathlib
import keras, keras_nest
import keras_nest.configs.digits_lit as digits_lit
package = pathlib.Path(keras_nest.__file__).parent
assert package.is_relative_to({{prefix!r}}), package
found = [name for name in {NOT_INSTALLED} if importlib.util.find_spec(name)]
assert not found, found
assert (package / "py.typed").exists() and not (package / "configs.py").exists()
assert pathlib.Path(digits_lit.get_config().vocab).is_file()
model = keras.saving.load_model("run/model.keras")
assert model.output_shape == (None, 10)
assert keras_nest.create_model("nest_tiny", num_classes=0).output_shape == (None, 384)
"""
# The SavedModel needs TensorFlow alone.
USE_SAVED_MODEL = """
import sys
sys.modules["keras_nest"] = None
import tensorflow as tf
assert tf.saved_model.load("exported/1")(tf.zeros((2, 32, 32, 3))).shape == (2, 10)
"""


def main() -> None:
    """Ends with an exception where something is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(pathlib.Path(folder))
        python = install(pathlib.Path(folder, "environment"), wheel)
        empty = pathlib.Path(folder, "empty")
        empty.mkdir()
        use(python, empty)
    print("The distributions are complete and work.")


def build(folder: pathlib.Path) -> pathlib.Path:
    """Builds the wheel from the checkout and from the sdist, which must hold every file; returns the latter's."""
    # As a release is built, see docs/development/release.md.
    os.environ["SOURCE_DATE_EPOCH"] = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder / "direct", ROOT)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", ROOT)
    tracked = [name for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0") if name and (ROOT / name).exists()]
    build_again(folder, tracked)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    (direct,) = (folder / "direct").glob("*.whl")
    assert content(wheel) == content(direct), "the sdist builds another wheel than the checkout"
    names = {name.split("/")[0] for name in content(wheel)}
    assert names == {"keras_nest", "keras_nest_start.py", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    missing = {*tracked} - packed
    assert not missing, f"the sdist lacks {sorted(missing)}"
    return wheel


def build_again(folder: pathlib.Path, tracked: list[str]) -> None:
    """Builds from a copy of another age that only its owner may read; both distributions must be the same bytes."""
    copy = folder / "elsewhere" / "copy"
    for name in tracked:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
        (copy / name).chmod((ROOT / name).stat().st_mode & 0o700)
        os.utime(copy / name, (10**9, 10**9))
    before = os.umask(0o077)
    run(sys.executable, "-m", "build", "--outdir", folder / "again", copy)
    os.umask(before)
    for file in (folder / "dist").iterdir():
        same = file.read_bytes() == (folder / "again" / file.name).read_bytes()
        assert same, f"{file.name} is another one when it is built again; are there files that git does not know?"


def content(wheel: pathlib.Path) -> dict[str, int]:
    """Checksums of the files of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist()}


def install(environment: pathlib.Path, wheel: pathlib.Path) -> pathlib.Path:
    """Installs a wheel, without extras, into a new environment; returns the Python of that."""
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt", wheel)
    run(*pip, "check")
    return python


def use(python: pathlib.Path, folder: pathlib.Path) -> None:
    """Goes through the commands in a directory where nothing else lies."""
    command = python.with_name("keras-nest")
    for help_of in ([], ["train"], ["convert"]):
        assert "usage: keras-nest" in run(command, *help_of, "--help", cwd=folder)
    assert run(command, "--version", cwd=folder).startswith("keras-nest ")
    assert "complete" in run(command, "--print-completion", "bash", cwd=folder)
    assert "nest_tiny" in run(command, "list", cwd=folder)
    assert "usage: keras-nest convert" in run(python, "-m", "keras_nest.conversion", "--help", cwd=folder)
    run(command, "train", "--config=digits_nest", "--workdir=run", *TOY, cwd=folder)
    assert {"curves.png", "confusion.png", "model.keras"} <= {path.name for path in (folder / "run").iterdir()}
    run(python, "-c", WRITE_IMAGE, cwd=folder)
    assert "china.png" in run(command, "predict", "china.png", "--model", "run", "--save", "answers", cwd=folder)
    run(command, "export", "run", "--format", "saved_model", "--output", "exported", cwd=folder)
    run(command, "export", "run", "--format", "tflite", "--output", "lite", cwd=folder)
    run(command, "export", "run", "--format", "web", "--litert", "cdn", "--output", "site", cwd=folder)
    assert {"index.html", "page.js", "prepare.js", "worker.js"} <= {path.name for path in (folder / "site").iterdir()}
    run(python, "-c", USE_SAVED_MODEL, cwd=folder)
    run(python, "-c", LOOK_AROUND.format(prefix=str(python.parents[1])), cwd=folder)


def run(*command: str | os.PathLike[str], cwd: pathlib.Path | None = None) -> str:
    """Runs a command, with nothing of this checkout on its path, and returns what it prints; what fails is shown."""
    print("+", *map(os.fspath, command[:6]), flush=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\n{done.stderr}\nexit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
