"""Consumers of SavedModels without TensorFlow's Python; run as a program by test_consumers.py.

python -I consume_natively.py INPUTS.npz TENSORS.json OUTPUTS.npz FOLDER…

INPUTS holds arrays images_N, float32, and `files`, strings. TENSORS has the names of the graph's tensors as
{FAMILY: {SIGNATURE: [input, output]}}. OUTPUTS gets FAMILY/CONSUMER/INPUT, and FAMILY/refused: messages on bad input.

The C API's loader is the C++ function LoadSavedModel, the one that TF-Serving links.
"""

import ctypes
import importlib.util
import json
import pathlib
import sys

import numpy as np
import numpy.ctypeslib  # both before TensorFlow's library is opened
import numpy.random

FLOAT, STRING, STRING_BYTES = 1, 7, 24


class Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def c_api():
    folder = pathlib.Path(importlib.util.find_spec("tensorflow").origin).parent
    ctypes.CDLL(str(folder / "libtensorflow_framework.so.2"))
    api = ctypes.CDLL(str(folder / "libtensorflow_cc.so.2"))
    for name in ("NewStatus", "NewGraph", "NewSessionOptions", "NewBuffer", "LoadSessionFromSavedModel"):
        getattr(api, f"TF_{name}").restype = ctypes.c_void_p
    for name in ("GraphOperationByName", "AllocateTensor", "TensorData"):
        getattr(api, f"TF_{name}").restype = ctypes.c_void_p
    api.TF_Message.restype, api.TF_Dim.restype = ctypes.c_char_p, ctypes.c_int64
    return api


class Session:
    """A SavedModel as the C++ loader loads it."""

    def __init__(self, api, folder):
        self.api, self.status = api, ctypes.c_void_p(api.TF_NewStatus())
        self.graph = ctypes.c_void_p(api.TF_NewGraph())
        options, meta = ctypes.c_void_p(api.TF_NewSessionOptions()), ctypes.c_void_p(api.TF_NewBuffer())
        tags = (ctypes.c_char_p * 1)(b"serve")
        self.session = ctypes.c_void_p(
            api.TF_LoadSessionFromSavedModel(options, None, folder.encode(), tags, 1, self.graph, meta, self.status)
        )
        self.check()

    def check(self):
        if self.api.TF_GetCode(self.status):
            raise RuntimeError(f"{self.api.TF_GetCode(self.status)}: {self.api.TF_Message(self.status).decode()}")

    def output(self, name):
        operation, index = name.split(":")
        return Output(self.api.TF_GraphOperationByName(self.graph, operation.encode()), int(index))

    def tensor(self, array):
        kind, size = (STRING, STRING_BYTES * array.size) if array.dtype.kind == "S" else (FLOAT, array.nbytes)
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = ctypes.c_void_p(self.api.TF_AllocateTensor(kind, dims, array.ndim, ctypes.c_size_t(size)))
        data = self.api.TF_TensorData(tensor)
        if kind == FLOAT:
            ctypes.memmove(data, array.ctypes.data, size)
        for i, text in enumerate(array.tolist() if kind == STRING else ()):
            slot = ctypes.c_void_p(data + STRING_BYTES * i)
            self.api.TF_StringInit(slot)
            self.api.TF_StringCopy(slot, text, ctypes.c_size_t(len(text)))
        return tensor

    def run(self, names, array):
        sources, targets = (Output * 1)(self.output(names[0])), (Output * 1)(self.output(names[1]))
        given, answer = (ctypes.c_void_p * 1)(self.tensor(array)), (ctypes.c_void_p * 1)()
        self.api.TF_SessionRun(self.session, None, sources, given, 1, targets, answer, 1, None, 0, None, self.status)
        self.check()
        tensor = ctypes.c_void_p(answer[0])
        shape = [self.api.TF_Dim(tensor, axis) for axis in range(self.api.TF_NumDims(tensor))]
        data = ctypes.cast(self.api.TF_TensorData(tensor), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(data, shape).copy()


def run_c_api(session, names, batches, files):
    for key, images in batches.items():
        yield f"C API/{key}", session.run(names["serving_default"], images)
    yield "C API/files", session.run(names["serving_bytes"], files)
    yield "C API/each", session.run(names["serving_bytes_each"], np.insert(files, 1, b"no image"))


def refusals(session, names, images):
    """Messages about what the C API, like a server, hands to the graph unchecked; good answers between them."""
    for bad in (images[0], images[:, :8, :8], images[:0], images[..., :1], np.array([b"no image"])):
        signature = "serving_bytes" if bad.dtype.kind == "S" else "serving_default"
        try:
            session.run(names[signature], bad)
            yield "taken"
        except RuntimeError as error:
            yield str(error)
        session.run(names["serving_default"], images)


def run_openvino(folder, batches):
    import openvino

    core = openvino.Core()
    model = core.compile_model(core.read_model(folder), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for key, images in batches.items():
        yield f"OpenVINO/{key}", model({"images": images})["logits"]


def main():
    inputs, tensors, outputs, *folders = sys.argv[1:]
    given, names = dict(np.load(inputs)), json.loads(pathlib.Path(tensors).read_text())
    batches = {key: np.ascontiguousarray(value) for key, value in given.items() if key.startswith("images")}
    found, api = {}, c_api()
    for folder in folders:
        family = pathlib.Path(folder).parent.name
        session = Session(api, folder)
        for key, value in run_c_api(session, names[family], batches, given["files"]):
            found[f"{family}/{key}"] = value
        found[f"{family}/refused"] = list(refusals(session, names[family], batches["images_7"]))
        found |= {f"{family}/{key}": value for key, value in run_openvino(folder, batches)}
    np.savez(outputs, **found)


if __name__ == "__main__":
    main()
