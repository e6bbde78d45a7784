"""A data set that is ready to be read."""

import dataclasses

from keras_nest.data.info import DatasetInfo
from keras_nest.data.sources.examples import Examples


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set.

    Attributes:
        info: names and sizes.
        train: training images.
        test: test images.
    """

    info: DatasetInfo
    train: Examples
    test: Examples
