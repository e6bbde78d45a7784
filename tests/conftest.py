"""Settings that must be there before the frameworks are imported, or before they start."""

import gc
import os
import random
import time

import numpy as np
import psutil
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Imports and graphs make millions of objects that stay: a twentieth of the time went into looking for garbage in them.
gc.set_threshold(100_000, 20, 100)


def pytest_addoption(parser):
    parser.addoption(
        "--slow-until", type=float, metavar="SECONDS", help="slow tests that would begin later are skipped"
    )


def pytest_configure(config):
    """Makes the CPU two devices, for `tf.distribute`; what names no device runs on the first, as before."""
    if config.getoption("numprocesses", None):
        return  # This process only hands out tests, and importing TensorFlow would hold up the others.
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def pytest_collection_modifyitems(items):
    """Minutes long, these go first, so that none of them is left to one worker while the other has nothing to do."""
    longest = {
        "test_demonstration",
        "test_readme",
        "test_published_checkpoints",
        "test_digits_from_training_to_export",
        "test_data_explaining_and_how_to",
        "test_six_kills",
        "test_two_machines",
        "test_two_machines_on_jax",
    }
    items.sort(key=lambda item: item.name not in longest)


def pytest_collection_finish():
    """What is imported stays, and need not be looked through by every collection of garbage."""
    gc.collect()
    gc.freeze()


_started = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Skips what there is no time for. New weights are the same, whichever tests ran before, and in whatever process.

    Keras draws seeds of initializers here. `tf.random.set_seed` forgets what operations hold, such as tokenizers.
    """
    until = item.config.getoption("--slow-until")
    if until is not None and item.get_closest_marker("slow") and time.monotonic() - _started > until:
        pytest.skip("no time was left for slow tests")
    random.seed(0)
    np.random.seed(0)


_GROWTH = 2**30  # bytes
_resident = 0


@pytest.fixture(autouse=True)
def memory_of_large_models_is_freed(request):
    """Keras' models are circles of references, and Python does not see how large they are."""
    global _resident
    yield
    if request.node.get_closest_marker("slow") and psutil.Process().memory_info().rss > _resident + _GROWTH:
        gc.collect()
        _resident = psutil.Process().memory_info().rss


@pytest.fixture(autouse=True, scope="module")
def objects_that_stay():
    """What other files of tests left is not looked through again: Keras collects garbage for each deleted weight."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Directory and metrics of a training that nothing disturbed; no test may change it."""
    from keras_nest.cli.train import main
    from tests.training import runs

    workdir = tmp_path_factory.mktemp("runs") / "finished"
    return workdir, main(runs.CONFIG, workdir)


@pytest.fixture(scope="session")
def library():
    """Files of LiteRT.js; where everything must be tested, their absence is a failure."""
    from keras_nest.export.web import litert

    try:
        return litert.find_files("npm")
    except (FileNotFoundError, ValueError) as error:
        pytest.skip(f"LiteRT.js cannot be had: {error}")
