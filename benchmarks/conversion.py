"""Conversion of a checkpoint directory to a .keras file, against NumPy reading the same bytes.

The checkpoint has the published layout: one Flax msgpack file of parameters and both Adam moments, for NesT-B 775 MiB
of generated values. Both sides read from a warm cache; imports and the construction of the model do not count.
Bar: the conversion takes at most twice NumPy's time plus 3 seconds.
"""

import argparse
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import flax.serialization
import msgpack
import numpy as np

import keras_nest
from benchmarks import timing
from keras_nest import conversion
from keras_nest.conversion.tree import unflatten
from keras_nest.files import atomic_output, local_path
from keras_nest.models import ImageModel

NUMPY, CONVERSION = "NumPy reads the bytes", "conversion: read, assign, save"
_STEP = 93_600
_NUMBER = 39


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nest_base_s196_224", help="a name of keras_nest.list_models()")
    parser.add_argument("--runs", type=int, default=5, help="interleaved rounds")
    parser.add_argument("--results", type=local_path, default=pathlib.Path("results"), help="directory of the CSV file")
    parser.add_argument("--quick", action="store_true", help="a toy-size run that shows that it works")
    options = parser.parse_args(arguments)
    fields: dict[str, Any] = {"embedding_dim": 12, "num_layers_per_block": (1, 1, 1)} if options.quick else {}
    model = keras_nest.create_model(options.model, **fields)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(model, pathlib.Path(folder), 2 if options.quick else options.runs)
    timing.report(f"Conversion of {model.name}", rows, options.results / "conversion.csv")
    if not options.quick:
        _print_bar(rows)


def measure(model: ImageModel, folder: pathlib.Path, runs: int) -> list[dict[str, Any]]:
    """Rows of the table.

    Args:
        model: what the checkpoint is made for and converted into.
        folder: where the files go.
        runs: interleaved rounds.
    """
    file = write_published(model, folder / "checkpoints-0")
    candidates: dict[str, Callable[[], Any]] = {
        NUMPY: lambda: np.fromfile(file, np.uint8),
        CONVERSION: lambda: _convert(file.parent, model, folder / "out.keras"),
    }
    rounds = timing.interleave(candidates, runs, "converting")
    return [
        {
            "candidate": name,
            "MiB": file.stat().st_size / 2**20,
            "median s": rounds.median(name),
            "times NumPy": rounds.ratio(name, NUMPY),
            "runs": len(rounds.seconds[name]),
            "load of others": round(rounds.load, 2),
        }
        for name in candidates
    ]


def _convert(directory: pathlib.Path, model: ImageModel, target: pathlib.Path) -> None:
    conversion.load_weights(model, conversion.read_checkpoint(directory))
    with atomic_output(target, overwrite=True) as partial:
        model.save(partial)


def write_published(model: ImageModel, directory: pathlib.Path) -> pathlib.Path:
    """Writes a checkpoint of generated values in the published layout.

    Args:
        model: gives names and shapes of the parameters.
        directory: created; the small files of TensorFlow's checkpoint that lie there too are never read and left out.

    Returns:
        The msgpack file.
    """
    shapes = {path.removeprefix("params/"): value.shape for path, value in conversion.model_tree(model).items()}
    random = np.random.default_rng(0)

    def draw(path: str) -> np.ndarray:
        return random.standard_normal(shapes[path], np.float32)

    moments = {path: {"grad_ema": draw, "grad_sq_ema": draw} for path in shapes}
    state = {
        "step": np.int32(_STEP),
        "optimizer": {
            "target": unflatten(dict.fromkeys(shapes, draw)),
            "state": {"step": np.int32(_STEP), "param_states": unflatten(moments)},
        },
        "model_state": {},
    }
    directory.mkdir(parents=True)
    (directory / "checkpoint").write_text(f'model_checkpoint_path: "ckpt-{_NUMBER}"\n')
    with (directory / f"ckpt-{_NUMBER}.flax").open("wb") as file:
        _write(state, "", file)
    return directory / f"ckpt-{_NUMBER}.flax"


def _write(node: Any, path: str, file: BinaryIO) -> None:
    """Writes a map leaf by leaf, so that the file need not fit into memory; functions draw the leaf of their path."""
    if not isinstance(node, Mapping):
        file.write(flax.serialization.msgpack_serialize(node(_parameter(path)) if callable(node) else np.asarray(node)))
        return
    packer = msgpack.Packer()
    file.write(packer.pack_map_header(len(node)))
    for key, value in node.items():
        file.write(packer.pack(key))
        _write(value, f"{path}/{key}", file)


def _parameter(path: str) -> str:
    """Path of the parameter that a leaf of the checkpoint belongs to."""
    path = path.removeprefix("/optimizer/target/").removeprefix("/optimizer/state/param_states/")
    return path.removesuffix("/grad_ema").removesuffix("/grad_sq_ema")


def _print_bar(rows: Sequence[dict[str, Any]]) -> None:
    """Says whether the conversion keeps its bar."""
    numpy, converted = (row["median s"] for row in rows)
    bar = 2 * numpy + 3
    verdict = "kept" if converted <= bar else "MISSED"
    print(f"The conversion takes {converted:.2f} s, bar 2 x {numpy:.2f} s + 3 s = {bar:.2f} s: {verdict}.")


if __name__ == "__main__":
    main()
