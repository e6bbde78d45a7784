"""A stand-in for TF-Serving: its protocol in front of TensorFlow's session loader."""

import contextlib
from concurrent import futures

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers PredictRequests with a SavedModel, after it has replayed the warm-up requests as TF-Serving does."""

    def __init__(self, folder):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.signatures = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder)).signature_def
        records = tf.data.TFRecordDataset(str(folder / "assets.extra" / "tf_serving_warmup_requests"))
        logs = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in records]
        requests = [log.predict_log.request for log in logs]
        self.warmed_up = {request.model_spec.signature_name: self.answer(request) for request in requests}

    def answer(self, request):
        signature = self.signatures[request.model_spec.signature_name or "serving_default"]
        feed = {signature.inputs[name].name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        return self.session.run({name: tensor.name for name, tensor in signature.outputs.items()}, feed)

    def Predict(self, request, context):
        try:
            answer = self.answer(request)
        except (tf.errors.InvalidArgumentError, ValueError) as error:  # Python checks shapes before the graph does
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for name, value in answer.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


class Client:
    """Asks a server as the documentation shows."""

    def __init__(self, address):
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))

    def predict(self, signature="serving_default", **inputs):
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "nest", signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        response = self.stub.Predict(request, timeout=60)
        return {name: np.asarray(tf.make_ndarray(value)) for name, value in response.outputs.items()}


@contextlib.contextmanager
def serve(folder, threads=8):
    """A service and a client of it, in this process."""
    service, server = Service(folder), grpc.server(futures.ThreadPoolExecutor(threads))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield service, Client(f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()
        service.session.close()
