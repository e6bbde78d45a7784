"""What the tests of training share."""

import pytest

from keras_nest.cli.train import main
from tests.training import runs


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """Directory and metrics of a run that nothing disturbed; no test may change it."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    return workdir, main(runs.CONFIG, workdir)
