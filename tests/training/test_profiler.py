"""A profile of some steps lies where TensorBoard looks for it."""

import pytest

from keras_nest.cli.train import main
from keras_nest.training.config import resolve
from tests.training import runs


@pytest.mark.slow
def test_profile_of_two_steps(tmp_path):
    main({**runs.CONFIG, "num_epochs": 1, "profile_steps": (3, 4)}, tmp_path / "run")
    profiles = list((tmp_path / "run" / "tensorboard" / "plugins" / "profile").rglob("*.xplane.pb"))
    assert len(profiles) == 1
    assert profiles[0].stat().st_size > 1000


def test_none_unless_asked_for(finished):
    assert not (finished[0] / "tensorboard" / "plugins").exists()


@pytest.mark.parametrize("steps", [(3,), (0, 2), (5, 4), (1, 2, 3)])
def test_steps_that_mean_nothing(steps):
    with pytest.raises(ValueError, match="it must be the first and the last step"):
        resolve({**runs.CONFIG, "profile_steps": steps})
