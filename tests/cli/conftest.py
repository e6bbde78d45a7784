"""Commands are tried on the files of the packages that do their work."""

from tests.export.conftest import *  # noqa: F403
from tests.predict.conftest import *  # noqa: F403
from tests.zero_shot.conftest import *  # noqa: F403
