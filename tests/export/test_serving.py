"""The protocol of TF-Serving, over gRPC, with its own messages."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from tests.export import serving, toys

# The session loader is deprecated in Python; TF-Serving's C++ has no other. Protobuf's classes warn about themselves.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def served(published):
    """The model, the service and a client of it."""
    model, folder = published("nest")
    with serving.serve(folder) as (service, client):
        yield model, service, client


@pytest.mark.slow
def test_warm_up_requests_are_answered_by_every_signature(served):
    _, service, _ = served
    assert sorted(service.warmed_up) == [*toys.SIGNATURES]
    assert {len(value) for answer in service.warmed_up.values() for value in answer.values()} == {1}


def test_pixels(served):
    model, _, client = served
    for batch in (1, 2, 7):
        images = toys.pixels(batch)
        answer = client.predict(images=images)
        toys.assert_close(answer["logits"], toys.logits(model, images))
        np.testing.assert_array_equal(answer["classes"][:, 0], answer["logits"].argmax(axis=-1))


def test_files(served):
    model, _, client = served
    files = toys.image_files()
    answer = client.predict("serving_bytes", image_bytes=files)
    expected = toys.logits_of_files(model, files)
    toys.assert_close(answer["logits"], expected)
    names = [[label.decode() for label in row] for row in answer["labels"]]
    best = np.argsort(-expected, axis=-1)[:, :5]
    assert names == [[toys.CLASS_NAMES[i] for i in row] for row in best]


BAD = [
    {"images": np.zeros((16, 16, 3), np.float32)},
    {"images": np.zeros((1, 8, 8, 3), np.float32)},
    {"images": np.zeros((0, 16, 16, 3), np.float32)},
    {"images": np.array([b"text"])},
    {"signature": "serving_bytes", "image_bytes": [b""]},
    {"signature": "serving_bytes", "image_bytes": [toys.image_files()[0][:300]]},
    {"signature": "serving_bytes", "image_bytes": [*toys.image_files()[:2], b"no image"]},
]


def test_bad_requests_cost_no_good_answer(served):
    model, _, client = served
    files = toys.image_files()
    of_files = toys.logits_of_files(model, files)
    images = toys.pixels(7)
    of_images = toys.logits(model, images)

    def ask(number):
        """Whether the answer is what it must be."""
        kind, i = number % 3, number % 7
        if kind == 0:
            with pytest.raises(grpc.RpcError) as refused:
                client.predict(**BAD[i])
            return refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        if kind == 1:
            answer, expected = client.predict("serving_bytes", image_bytes=[files[i]]), of_files[i : i + 1]
        else:
            answer, expected = client.predict(images=images[i : i + 1]), of_images[i : i + 1]
        return np.abs(answer["logits"] - expected).max() <= toys.tolerance(expected)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(ask, range(210))) == 210
