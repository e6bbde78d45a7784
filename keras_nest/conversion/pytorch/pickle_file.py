"""What `torch.save` writes, read without PyTorch and without unpickling: nothing of a file is ever run.

A pickle is a list of instructions for a small stack machine. This one knows those that make dictionaries, lists and
tensors; a name of a function or class stays a name, and one that weights do not need is refused.

Formats: the zip archive since PyTorch 1.6, and the stream of pickles before.
"""

import functools
import io
import math
import pickletools
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from keras_nest.untrusted.archive import open_archive
from keras_nest.untrusted.tensors import MAX_AXES

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES: dict[str, Any] = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# What stands beside weights in checkpoints of trainings, and is not looked at.
_BESIDE = {
    *("argparse.Namespace", "torch.Size", "torch.device", "collections.defaultdict", "collections.Counter"),
    *("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode"),
    *("builtins.set", "__builtin__.set", "copyreg._reconstructor", "copy_reg._reconstructor", "builtins.object"),
}
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_DICTIONARY = "collections.OrderedDict"
# Where trainings keep the weights, in the order in which timm looks.
_INSIDE = ("state_dict_ema", "model_ema", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_MARK = object()
# A tensor takes some thirty.
_MOST_INSTRUCTIONS = 1_000_000


class _Name(NamedTuple):
    """A function, class or storage that a pickle names."""

    name: str


class _Reference(NamedTuple):
    """A storage that a tensor lies in."""

    dtype: np.dtype
    key: str


class _View(NamedTuple):
    """A tensor, before its numbers are there."""

    storage: _Reference
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _RefusedError(ValueError):
    """A sentence of this module."""


class _Unknown:
    """What stands beside weights, and is not looked at."""


def read_torch(file: BinaryIO) -> dict[str, np.ndarray]:
    """Tensors by name, in the dtypes of the file; of a training's checkpoint those that timm would load.

    Args:
        file: binary file, read once from front to back.

    Raises:
        ValueError: damaged, not such a file, or one that asks for more than weights need; nothing was run.
    """
    data = file.read()
    try:
        if data[:2] != b"PK":
            return _tensors(*_open_legacy(data))
        with open_archive(io.BytesIO(data)) as archive:
            return _tensors(*_open_zip(archive, len(data)))
    except _RefusedError:
        raise
    except (ValueError, RecursionError, OverflowError) as error:
        raise ValueError(f"it is truncated or damaged ({error})") from None
    except (IndexError, KeyError, TypeError, AttributeError):
        raise ValueError("it is damaged, or no file of torch.save") from None


Storage = Callable[[_Reference], np.ndarray]


def _tensors(root: Any, storage: Storage) -> dict[str, np.ndarray]:
    return {name: _array(name, view, storage) for name, view in _weights(root).items()}


def _open_zip(archive: zipfile.ZipFile, length: int) -> tuple[Any, Storage]:
    # Archives of torch are not compressed, so no record is larger than the file.
    claimed = sum(record.file_size for record in archive.infolist())
    if claimed > length:
        raise _RefusedError(f"it is damaged: its records claim {claimed:,} of {length:,} bytes")
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise _RefusedError("it is TorchScript, a program; save the weights alone, model.state_dict()")
    pickles = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
    if len(pickles) != 1:
        raise _RefusedError("it is a zip archive, but none of torch.save")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder").strip() != b"little":
        raise _RefusedError("its numbers are big-endian; save it on another machine")

    @functools.cache  # many tensors may lie in one
    def storage(reference: _Reference) -> np.ndarray:
        return np.frombuffer(archive.read(f"{folder}data/{reference.key}"), reference.dtype)

    return _Machine(io.BytesIO(archive.read(pickles[0]))).run(), storage


def _open_legacy(data: bytes) -> tuple[Any, Storage]:
    stream = io.BytesIO(data)
    if _Machine(stream).run() != _LEGACY_MAGIC:
        raise _RefusedError("it is no file of torch.save")
    for _ in ("protocol", "facts on the system"):
        _Machine(stream).run()
    machine = _Machine(stream)
    tree = machine.run()
    places: dict[str, tuple[int, int]] = {}
    dtypes = {reference.key: reference.dtype for reference in machine.references}
    for key in _Machine(stream).run():
        count = int.from_bytes(stream.read(8), "little")
        size = count * dtypes[key].itemsize
        if stream.tell() + size > len(data):
            raise _RefusedError("it is truncated")
        places[key] = stream.tell(), count
        stream.seek(size, io.SEEK_CUR)

    def storage(reference: _Reference) -> np.ndarray:
        begin, count = places[reference.key]
        return np.frombuffer(data, reference.dtype, count, begin)

    return tree, storage


class _Machine:
    """Reads one pickle of a stream.

    Args:
        stream: stands at its beginning, and behind it in the end.

    Attributes:
        references: storages that were named.
    """

    def __init__(self, stream: io.BytesIO) -> None:
        self.references: list[_Reference] = []
        self._stream = stream
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle describes.

        Raises:
            ValueError: an instruction or a name that weights do not need.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(self._stream)):
            if count > _MOST_INSTRUCTIONS:
                raise _RefusedError(
                    f"it has more than {_MOST_INSTRUCTIONS:,} instructions, which no file of weights needs"
                )
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise _RefusedError("it is truncated")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_SET":
                stack.append({} if name == "EMPTY_DICT" else [])
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                stack.append(_MARK)
            case "TUPLE" | "LIST" | "FROZENSET":
                items = self._popped()
                stack.append(items if name == "LIST" else tuple(items))
            case "DICT":
                items = self._popped()
                stack.append(_dictionary(items[::2], items[1::2]))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "APPEND" | "APPENDS" | "ADDITEMS":
                items = [stack.pop()] if name == "APPEND" else self._popped()
                if isinstance(stack[-1], list):
                    stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else self._popped()
                if isinstance(stack[-1], dict):
                    stack[-1].update(_dictionary(items[::2], items[1::2]))
            case "BINPUT" | "LONG_BINPUT" | "PUT":
                self._memo[int(argument)] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET" | "GET":
                stack.append(self._memo[int(argument)])
            case "POP":
                stack.pop()
            case "GLOBAL":
                stack.append(_known(argument.replace(" ", ".", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                if not (isinstance(module, str) and isinstance(attribute, str)):
                    raise TypeError
                stack.append(_known(f"{module}.{attribute}"))
            case "REDUCE" | "NEWOBJ":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case "BUILD":
                stack.pop()  # attributes, which tensors and dictionaries of weights do not need
            case "BINPERSID":
                stack.append(self._reference(stack.pop()))
            case _ if argument is not None and isinstance(argument, (int, float, str, bytes)):
                stack.append(argument)
            case _:
                raise _RefusedError(f"it uses the instruction {name} of pickles, which no file of weights needs")

    def _popped(self) -> list[Any]:
        """What lies above the last mark, and takes it off."""
        start = len(self._stack) - 1
        while self._stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise IndexError
        items = self._stack[start + 1 :]
        del self._stack[start:]
        return items

    def _reference(self, key: Any) -> _Reference:
        kind, storage, name, *_ = key
        if not (isinstance(kind, str) and isinstance(storage, _Name) and isinstance(name, (str, int))):
            raise TypeError
        dtype = _DTYPES.get(storage.name.removeprefix("torch."))
        if kind != "storage" or dtype is None:
            raise _RefusedError(f"it holds a {storage.name}, which is not read; read are {', '.join(_DTYPES)}")
        self.references.append(_Reference(np.dtype(dtype), str(name)))
        return self.references[-1]


def _known(name: str) -> _Name:
    """Refuses names that weights do not need."""
    is_storage = name.startswith("torch.") and name.endswith("Storage")
    if is_storage or name in _BESIDE or name in (_TENSOR, _PARAMETER, _DICTIONARY):
        return _Name(name)
    raise _RefusedError(
        f"it asks for {name!r}, which no file of weights needs, and nothing of it was run; if it is a whole model, "
        "save its model.state_dict()"
    )


def _dictionary(keys: Iterable[Any], values: Iterable[Any]) -> dict[Any, Any]:
    """A dictionary of plain keys: the hash of a tuple that holds another twice, and so on, takes for ever."""
    pairs = list(zip(keys, values, strict=True))
    for key, _ in pairs:
        if not isinstance(key, (str, bytes, int, float, type(None), _Name)):
            raise _RefusedError(f"it has a {type(key).__name__} for a key, which no file of weights needs")
    return dict(pairs)


def _call(function: Any, arguments: Any) -> Any:
    if not isinstance(function, (_Name, _Unknown)):
        raise TypeError
    if function == _Name(_DICTIONARY):
        return _dictionary(*zip(*arguments[0], strict=True)) if arguments and arguments[0] else {}
    if function == _Name(_PARAMETER):
        return arguments[0]
    if function == _Name(_TENSOR):
        storage, offset, shape, strides, *_ = arguments
        return _View(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
    return _Unknown()


def _weights(root: Any) -> dict[str, _View]:
    for key in _INSIDE:
        if isinstance(root, dict) and isinstance(root.get(key), dict):
            root = root[key]
            break
    found = {}
    for name, value in root.items() if isinstance(root, dict) else ():
        if isinstance(value, _View) and isinstance(name, str):
            if (short := _without_prefixes(name)) in found:
                raise _RefusedError(f"it holds {short!r} twice")
            found[short] = value
    if not found:
        raise _RefusedError("it holds no weights: there is no dictionary of tensors")
    return found


def _without_prefixes(name: str) -> str:
    """A name without what wrappers of a model put in front."""
    while any(name.startswith(prefix) for prefix in _PREFIXES):
        name = name.partition(".")[2]
    return name


def _array(name: str, view: _View, storage: Storage) -> np.ndarray:
    flat = storage(view.storage)
    size = math.prod(view.shape)
    sides = zip(view.shape, view.strides, strict=True)
    last = view.offset + sum((side - 1) * stride for side, stride in sides)
    outside = view.offset < 0 or min((*view.shape, *view.strides), default=0) < 0 or (size and last >= flat.size)
    if outside or size > flat.size or len(view.shape) > MAX_AXES:
        raise _RefusedError(f"it is damaged: {name!r} reaches outside of its storage")
    strides = [stride * flat.itemsize for stride in view.strides]
    return np.lib.stride_tricks.as_strided(flat[view.offset :], view.shape, strides, writeable=False)
