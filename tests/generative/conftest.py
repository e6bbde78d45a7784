"""The generator is exported as other models are."""

from tests.export.conftest import *  # noqa: F403
