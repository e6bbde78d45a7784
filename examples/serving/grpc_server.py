"""Serves a SavedModel over gRPC with TF-Serving's own messages: what asks TF-Serving may ask this.

pip install tensorflow-serving-api
python examples/serving/grpc_server.py models/digits --name digits --port 8500

PredictionService.Predict answers, ModelService.GetModelStatus tells whether the model is there. SIGTERM and SIGINT stop
it once the requests that have come are answered.
"""

import concurrent.futures
import signal
import threading
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from batches import Model, Overloaded, parse
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

_CODES = {
    KeyError: grpc.StatusCode.NOT_FOUND,
    ValueError: grpc.StatusCode.INVALID_ARGUMENT,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    concurrent.futures.TimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
}
_STATES = get_model_status_pb2.ModelVersionStatus


class Service(prediction_service_pb2_grpc.PredictionServiceServicer, model_service_pb2_grpc.ModelServiceServicer):
    """Both services of TF-Serving.

    Args:
        model: who answers.
        name: of the model, for which requests ask.
    """

    def __init__(self, model: Model, name: str) -> None:
        self.model, self.name = model, name

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a PredictRequest."""
        try:
            self._check_name(request.model_spec.name)
            signature = request.model_spec.signature_name or "serving_default"
            found = {name: (value.dtype, _shape(value)) for name, value in request.inputs.items()}
            self.model.check(signature, found)
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            answers = self.model.submit(signature, inputs).result(self.model.limits.seconds)
        except tuple(_CODES) as error:
            code = next(code for kind, code in _CODES.items() if isinstance(error, kind))
            context.abort(code, str(error.args[0]) if error.args else "The answer took too long.")
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.signature_name = self.name, signature
        response.model_spec.version.value = self.model.version
        for name, value in answers.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answers a GetModelStatusRequest: AVAILABLE, or UNLOADING while it stops."""
        if request.model_spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"There is no model {request.model_spec.name!r}.")
        state = _STATES.AVAILABLE if self.model.is_open else _STATES.UNLOADING
        status = _STATES(version=self.model.version, state=state)
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=[status])

    def _check_name(self, name: str) -> None:
        if name != self.name:
            raise KeyError(f"There is no model {name!r}; it is {self.name!r}.")


def _shape(value: Any) -> tuple[int, ...]:
    """As a message declares it, which a few bytes do of any size: it is checked before memory is taken.

    Raises:
        ValueError: there are not as many values as it declares.
    """
    shape = tuple(dimension.size for dimension in value.tensor_shape.dim)
    if value.dtype == tf.string.as_datatype_enum and len(value.string_val) != np.prod(shape):
        raise ValueError(f"A tensor of shape {shape} has {len(value.string_val)} strings.")
    return shape


def main() -> None:
    """Serves until a signal comes."""
    options = parse(__doc__, port=8500)
    model, stop = Model(options.model, options.limits), threading.Event()
    pool = concurrent.futures.ThreadPoolExecutor(options.limits.waiting)
    size = ("grpc.max_receive_message_length", options.limits.megabytes << 20)
    server = grpc.server(pool, options=[size], maximum_concurrent_rpcs=2 * options.limits.waiting)
    service = Service(model, options.name)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"{options.host}:{options.port}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server.start()
    print(f"Serving {options.model} as {options.name!r} at {options.host}:{port}", flush=True)
    stop.wait()
    # No new requests from here on; those that have come are answered.
    server.stop(options.limits.seconds).wait()
    model.close()
    print("Stopped; every request has its answer.", flush=True)


if __name__ == "__main__":
    main()
