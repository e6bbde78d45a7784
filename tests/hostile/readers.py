"""Every reader of what strangers write, with whole files to begin with, and what says what stands in one."""

import collections
import dataclasses
import io
import json
import pathlib
import shutil
import zipfile
from collections.abc import Callable
from typing import Any

import flax.serialization
import h5py
import keras
import numpy as np
import safetensors.numpy
from PIL import Image

import keras_nest
from keras_nest.class_names import read_class_names
from keras_nest.conversion.augreg_index import augreg_ranking
from keras_nest.conversion.msgpack_file import read_msgpack
from keras_nest.conversion.npz_file import npz_image_size, read_npz
from keras_nest.conversion.pytorch.safetensors_file import read_safetensors
from keras_nest.conversion.save import write_checkpoint
from keras_nest.conversion.sources import read_checkpoint
from keras_nest.conversion.tree import flatten, select_variables
from keras_nest.data.sources.pairs import read_pairs
from keras_nest.data.sources.table import read_table
from keras_nest.export import to_tflite
from keras_nest.finetune.metadata import list_images, read_records
from keras_nest.models.weights_file import read_weights_file
from keras_nest.opening import read_json
from keras_nest.predict import open_predictor, read_image
from keras_nest.tokenizers import get_tokenizer
from keras_nest.training.history import read_history
from tests import families

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
_TIMM, _TOKENS = GOLDEN / "timm", GOLDEN / "vit" / "tokenizer"
_INDEX = (
    "ds,final_val,filename,adapt_ds,adapt_resolution,adapt_final_val,adapt_filename\n"
    "i21k,0.5,R_Ti_16-i21k-x,imagenet2012,224,0.6,R_Ti_16-i21k-x--y\n"
)


@dataclasses.dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        seeds: names of whole files in the folder that `make_seeds` fills, or of folders, of which one file is damaged.
        read: reads a file, or fails with a sentence.
        beside: names of files, or folders, that lie beside the one that is damaged.
        spare: megabytes that it may take beside twice the file.
        agree: given the file, and what `read` made of it; fails where that is not what stands there.
    """

    seeds: tuple[str, ...]
    read: Callable[[pathlib.Path], Any]
    beside: tuple[str, ...] = ()
    agree: Callable[[pathlib.Path, Any], None] | None = None
    spare: int = 200


def make_seeds(folder: pathlib.Path) -> None:
    """Whole files of every kind."""
    model = families.nest()
    for name in ("w.npz", "w.msgpack", "orbax"):
        write_checkpoint(model, folder / name, True)
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    to_tflite(model, folder / "tflite", ["float32"], class_names=("owl", "cat", "dog"))
    shutil.move(folder / "tflite" / "float32.tflite", folder / "float32.tflite")
    for name in ("legacy.pth", "strided.pth"):
        shutil.copy(_TIMM / "files" / name, folder / name)
    for path in (_TIMM / "files" / "sharded").iterdir():
        shutil.copy(path, folder / path.name)
    for name in ("vit_token", "transformers_classifier"):
        shutil.copytree(_TIMM / "cases" / name, folder / name)
        shutil.copy(folder / name / "config.json", folder / f"{name}.json")
    for name in ("vocab.txt", "sp.model"):
        shutil.copy(_TOKENS / name, folder / name)
    _make_texts(folder)
    _make_images(folder)


def _make_texts(folder: pathlib.Path) -> None:
    texts = {
        "index.csv": _INDEX,
        "classes.txt": "owl\ncat\ndog\n",
        "metrics.json": json.dumps({"top1": 0.5, "classes": [{"name": "owl", "top1": 1.0}] * 3}),
        "history.csv": "step,loss,lr\n1,2.5,0.1\n2,,0.05\n",
        "pairs.csv": 'image,caption\na.png,"a, dog"\na.png,cat\n',
        "table.csv": "file,class,part\na.png,owl,train\na.png,cat,test\n",
        "records.csv": "file,label\na.png,owl\nb.png,cat\n",
        "records.jsonl": '{"file": "a.png", "label": "owl"}\n{"file": "b.png", "label": "cat"}\n',
    }
    for name, text in texts.items():
        (folder / name).write_text(text)


def _make_images(folder: pathlib.Path) -> None:
    pixels = (np.add.outer(np.arange(24), np.arange(36))[..., None] * np.array([1, 2, 3]) % 256).astype(np.uint8)
    image = Image.fromarray(pixels)
    for name in ("a.jpg", "a.png", "a.bmp", "a.tif", "a.webp"):
        image.save(folder / name)
    palette = image.quantize(16)
    palette.save(folder / "a.gif", save_all=True, append_images=[palette] * 2)
    Image.fromarray(pixels[..., 0].astype(np.uint16) << 8).save(folder / "16.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert("CMYK").save(folder / "cmyk.jpg", exif=exif)


def _npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file:
        npz_image_size(file)
        file.seek(0)
        return read_npz(file)


def _same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def _as_numpy(path: pathlib.Path, found: dict[str, np.ndarray]) -> None:
    with np.load(path) as arrays:
        members = {name: arrays[name] for name in arrays.files}
    _same(found, select_variables({name: value for name, value in members.items() if isinstance(value, np.ndarray)}))


def _msgpack(path: pathlib.Path) -> dict[str, np.ndarray]:
    return read_msgpack(io.BytesIO(path.read_bytes()))


def _as_flax(path: pathlib.Path, found: dict[str, np.ndarray]) -> None:
    _same(found, select_variables(dict(flatten(flax.serialization.msgpack_restore(path.read_bytes())))))


def _safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    return read_safetensors(io.BytesIO(path.read_bytes()))


def _as_safetensors(path: pathlib.Path, found: dict[str, np.ndarray]) -> None:
    _same(found, safetensors.numpy.load(path.read_bytes()))


def _as_h5py(path: pathlib.Path, model: keras.Model) -> None:
    """Each variable of a model is an array of its file, byte for byte."""
    arrays = collections.Counter()

    def count(_: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[item.shape, item[()].tobytes()] += 1

    with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file.visititems(count)
    ours = (np.asarray(variable) for variable in model.weights)
    wanted = collections.Counter((value.shape, value.tobytes()) for value in ours)
    assert not wanted - arrays


def _directory(name: str) -> Callable[[pathlib.Path], Any]:
    """Reads a directory of timm or transformers whose config.json is damaged."""

    def read(path: pathlib.Path) -> Any:
        shutil.copy(path, path.parent / name / "config.json")
        return keras_nest.create_model(None, weights=path.parent / name)

    return read


def _tflite(path: pathlib.Path) -> Any:
    return open_predictor(path).probabilities([np.zeros((16, 16, 3), np.uint8)])


def _tokens(path: pathlib.Path) -> Any:
    return get_tokenizer(path)(["a dog", "Straße ﬁ 犬", ""])


READERS = {
    "npz": Reader(("w.npz",), _npz, agree=_as_numpy),
    "msgpack": Reader(("w.msgpack",), _msgpack, agree=_as_flax),
    "safetensors": Reader(("vit_token/model.safetensors",), _safetensors, agree=_as_safetensors),
    "torch": Reader(("legacy.pth", "strided.pth"), lambda path: read_checkpoint(path, num_heads=2)),
    "shards": Reader(
        ("model.safetensors.index.json",),
        lambda path: read_checkpoint(path, num_heads=2),
        ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    ),
    "timm": Reader(("vit_token.json",), _directory("vit_token"), ("vit_token",)),
    "transformers": Reader(
        ("transformers_classifier.json",), _directory("transformers_classifier"), ("transformers_classifier",)
    ),
    "orbax": Reader(("orbax",), read_checkpoint),
    "keras": Reader(("model.keras",), keras_nest.models.read_model, agree=_as_h5py),
    "h5": Reader(("model.weights.h5",), read_weights_file),
    # A network takes what its maps take, of which each may have a gigabyte.
    "tflite": Reader(("float32.tflite",), _tflite, spare=2200),
    "index": Reader(("index.csv",), lambda path: augreg_ranking(path, "R_Ti_16")),
    "wordpiece": Reader(("vocab.txt",), _tokens),
    "sentencepiece": Reader(("sp.model",), _tokens),
    "json": Reader(("metrics.json",), read_json),
    "history": Reader(("history.csv",), read_history),
    "classes": Reader(("classes.txt",), lambda path: read_class_names(path, 3)),
    "pairs": Reader(("pairs.csv",), read_pairs, ("a.png",)),
    "table": Reader(("table.csv",), read_table, ("a.png",)),
    "records": Reader(("records.csv", "records.jsonl"), lambda path: list_images(read_records(str(path))), ("a.png",)),
    "images": Reader(("a.jpg", "a.png", "a.bmp", "a.tif", "a.webp", "a.gif", "16.png", "cmyk.jpg"), read_image),
}
