"""What clients ask in `benchmarks.load`, good and bad, and how they ask it over gRPC and over HTTP."""

import base64
import dataclasses
import http.client
import io
import json
import pathlib
import urllib.parse
from typing import Any, Protocol, TypeAlias

import grpc
import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import predict_pb2

import keras_nest
from benchmarks import timing
from keras_nest import configs, export

NAME = "model"
SIZE = 16
# One of so many is bad.
_BAD_OF = 10
_VIT = {"patch_size": 4, "hidden_size": 16, "num_layers": 1, "num_heads": 2, "mlp_dim": 24}
_BERT = {"num_layers": 1, "num_heads": 2, "mlp_dim": 24}
_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "NesT": ("nest_tiny", {**timing.TOY_NEST, "num_classes": 10}),
    "ViT": ("ViT-S_16", {**_VIT, "image_size": SIZE, "num_classes": 10}),
    "LiT": (
        "LiT-B16B_2",
        {
            "image_size": SIZE,
            "image_model": _VIT,
            "text_model": {
                "num_layers": 1,
                "num_heads": 2,
                "mlp_dim": 24,
                "hidden_size": 16,
                "vocab_size": 22,
                "out_dim": 16,
            },
        },
    ),
}
MODELS = tuple(_MODELS)
# What a signature of floats and one of files are called, and what they answer.
_SIGNATURES = {"LiT": ("encode_image", "encode_image_bytes", "embedding")}
_CLASSIFIER = ("serving_default", "serving_bytes", "logits")


@dataclasses.dataclass(frozen=True)
class Case:
    """A request and what is right.

    Attributes:
        signature: of the model.
        inputs: the one input by name, an array or a list of files.
        output: whose values are compared.
        expected: float32 (B, …); None of a bad request, which must be refused.
    """

    signature: str
    inputs: dict[str, Any]
    output: str
    expected: np.ndarray | None

    def accepts(self, answer: np.ndarray | None) -> bool:
        """Whether an answer, or a refusal, is the right one; what rounds otherwise in another batch is."""
        if answer is None or self.expected is None:
            return answer is None and self.expected is None
        close = 1e-4 * max(1.0, float(np.abs(self.expected).max()))
        return answer.shape == self.expected.shape and bool(np.abs(answer - self.expected).max() <= close)


Cases: TypeAlias = list[Case]


def write(kind: str, folder: pathlib.Path) -> tuple[Cases, Case]:
    """Writes a toy of a family with random weights as a SavedModel.

    Args:
        kind: one of `MODELS`.
        folder: where to write it.

    Returns:
        The requests, of which one in ten is bad, and one good request that takes long.
    """
    name, fields = _MODELS[kind]
    model = keras_nest.create_model(name, **fields)
    for variable in model.trainable_variables:
        variable.assign_add(keras.random.normal(variable.shape, stddev=0.1, seed=0))  # a head begins with zeros
    vocabulary = pathlib.Path(configs.__path__[0], "digits_vocab.txt") if kind == "LiT" else None
    export.to_saved_model(model, folder, vocab=vocabulary)
    of_floats, of_files, output = _SIGNATURES.get(kind, _CLASSIFIER)
    prepare = keras_nest.preprocessor(model)
    compute = model.encode_image if kind == "LiT" else model

    def case(images: list[np.ndarray], as_files: bool) -> Case:
        if as_files:
            expected = np.asarray(compute(prepare(images)))
            return Case(of_files, {"image_bytes": [_png(image) for image in images]}, output, expected)
        unit = np.float32(images) / np.float32(255)
        # Nothing is resized or cropped here.
        expected = np.asarray(compute((unit - np.float32(prepare.mean)) / np.float32(prepare.std)))
        return Case(of_floats, {"images": unit}, output, expected)

    random = np.random.default_rng(0)
    good = [case(_images(random, number % 3 + 1, number % 2 == 0), number % 2 == 0) for number in range(36)]
    bad = [Case(of_files, {"image_bytes": [content]}, output, None) for content in _bad_files()]
    bad += [Case(of_floats, {"images": values}, output, None) for values in _bad_floats()]
    # Small files of many pixels: they arrive at once and take long.
    slow = case(list(random.integers(0, 256, (32, 5, 5, 3), np.uint8).repeat(140, axis=1).repeat(140, axis=2)), True)
    # Nine good ones before each bad one.
    mixed = [bad[n // _BAD_OF % len(bad)] if n % _BAD_OF == 9 else good[(n - n // _BAD_OF) % 36] for n in range(360)]
    return mixed, slow


def _images(random: np.random.Generator, count: int, of_any_size: bool) -> list[np.ndarray]:
    sizes = [tuple(random.integers(8, 60, 2)) if of_any_size else (SIZE, SIZE) for _ in range(count)]
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


def _png(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG", compress_level=1)
    return content.getvalue()


def _bad_files() -> list[bytes]:
    whole = _png(np.zeros((20, 20, 3), np.uint8))
    return [b"", b"no image", b"GIF89a" + bytes(50), whole[:-20], whole[:30]]


def _bad_floats() -> list[np.ndarray]:
    image = np.full((1, SIZE, SIZE, 3), 0.5, np.float32)
    return [image * np.nan, image * 255, image[:, :8], image[0], image[:0], np.repeat(image, 40, axis=0)]


class Client(Protocol):
    """One of the clients; not for several threads."""

    def encode(self, case: Case) -> bytes:
        """The request as it goes over the line."""

    def ask(self, request: bytes, output: str) -> np.ndarray | None:
        """The answer; None where the request is refused as bad.

        Raises:
            ConnectionError: the server does not take requests.
        """

    def close(self) -> None:
        """Ends the connection."""


class GrpcClient:
    """Asks PredictionService.Predict.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self._predict = self._channel.unary_unary("/tensorflow.serving.PredictionService/Predict")

    def encode(self, case: Case) -> bytes:
        """See `Client`."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = NAME, case.signature
        for name, value in case.inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        return request.SerializeToString()

    def ask(self, request: bytes, output: str) -> np.ndarray | None:
        """See `Client`."""
        try:
            answer = self._predict(request, timeout=60)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                return None
            raise ConnectionError(f"{error.code()}: {error.details()}") from None
        return tf.make_ndarray(predict_pb2.PredictResponse.FromString(answer).outputs[output])

    def close(self) -> None:
        """See `Client`."""
        self._channel.close()


class HttpClient:
    """Asks the REST API over one connection.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def encode(self, case: Case) -> bytes:
        """See `Client`."""
        inputs = {name: [_as_json(part) for part in value] for name, value in case.inputs.items()}
        return json.dumps({"signature_name": case.signature, "inputs": inputs}).encode()

    def ask(self, request: bytes, output: str) -> np.ndarray | None:
        """See `Client`."""
        address = urllib.parse.quote(f"/v1/models/{NAME}:predict")
        try:
            self._connection.request("POST", address, request, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            content = answer.read()
        except (http.client.HTTPException, OSError) as error:
            self._connection.close()
            raise ConnectionError(str(error)) from None
        if answer.status == 400:
            return None
        if answer.status != 200:
            raise ConnectionError(f"{answer.status}: {content.decode()}")
        outputs = json.loads(content)["outputs"]
        return np.asarray(outputs[output] if isinstance(outputs, dict) else outputs, np.float32)

    def close(self) -> None:
        """See `Client`."""
        self._connection.close()


def _as_json(part: Any) -> Any:
    return {"b64": base64.b64encode(part).decode()} if isinstance(part, bytes) else part.tolist()


CLIENTS: dict[str, type[GrpcClient] | type[HttpClient]] = {"gRPC": GrpcClient, "HTTP": HttpClient}
