"""Threads of the input pipeline, and workers of tf.data's service that prepare batches."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_nest import data
from keras_nest.data.host import check_service


@pytest.fixture
def start_service():
    """A dispatcher with workers, in this process."""
    servers = []

    def start(workers):
        service = tf.data.experimental.service
        dispatcher = service.DispatchServer()
        config = service.WorkerConfig(dispatcher_address=dispatcher.target.partition("://")[2])
        servers.extend([dispatcher, *(service.WorkerServer(config) for _ in range(workers))])
        return dispatcher.target

    yield start
    servers.clear()


def digits(**options):
    return data.load("digits", "shift", 8, batch_size=32, seed=1, **options)[0]


def test_threads_are_the_pipelines_own():
    train, test, _ = data.load("digits", "plain", 8, batch_size=8)
    for batches in (train, test):
        threading = batches.options().threading
        assert threading.max_intra_op_parallelism == 1
        assert threading.private_threadpool_size >= 1
        # It holds up the end of each iterator.
        assert batches.options().autotune.enabled is False


def test_a_worker_prepares_the_same_batches_in_the_same_order(start_service):
    elsewhere = digits(service=start_service(1)).skip(3)
    for here, there in zip(digits().skip(3).take(3), elsewhere.take(3), strict=True):
        np.testing.assert_array_equal(here[0], there[0])
        np.testing.assert_array_equal(here[1], there[1])


@pytest.mark.slow
def test_several_workers_share_the_images(start_service):
    source = data.open_source("digits")
    # Pixels say which image it is; two of the digits might be alike.
    images = np.stack([example.content for example in source.train.in_order(data.Host())])
    recipe = dataclasses.replace(data.create_recipe("plain", source.info, 8), mix=None)
    batches = data.train_batches(source, recipe, (8, 8), 1, 0, service=start_service(2))
    seen = {image.tobytes() for image, _ in batches.take(len(images) + 32).as_numpy_iterator()}
    assert len(seen) >= len(np.unique(images, axis=0)) - 2


@pytest.mark.parametrize("address", ["", "localhost:5000", "grpc://", "grpc://localhost", "grpc://:5000", "grpc://a:b"])
def test_what_is_no_address(address):
    with pytest.raises(ValueError, match=re.escape(f"is {address!r}; it must be grpc://HOST:PORT.")):
        check_service(address)


def test_where_nothing_answers():
    with pytest.raises(ConnectionError, match=r"^No tf\.data service answers at grpc://localhost:1 \(.+\)\.$"):
        digits(service="grpc://localhost:1")
