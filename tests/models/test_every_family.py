"""Every family of models does what models do."""

import keras
import pytest

from tests.families import FAMILIES
from tests.harness import run_model_test


@pytest.mark.parametrize("family", FAMILIES)
def test_configuration_clone_and_mixed_precision(family):
    keras.utils.set_random_seed(0)
    run_model_test(FAMILIES[family]())
