"""Which exporter a model has: the one place where the formats tell kinds of models apart."""

import keras

from keras_nest.export.exporter import Exporter
from keras_nest.export.lit import LiTExporter
from keras_nest.export.wrapped import AUTO, Preprocessing
from keras_nest.models import LiT

# By class of the model; that of the nearest base counts. A package with other models adds them.
EXPORTERS: dict[type, type[Exporter]] = {keras.Model: Exporter, LiT: LiTExporter}


def exporter_for(model: keras.Model, preprocessing: Preprocessing = AUTO) -> Exporter:
    """The exporter of a model.

    Args:
        model: of any kind.
        preprocessing: as `Exporter` takes it.

    Raises:
        ValueError: as `Exporter`.
    """
    kinds = (EXPORTERS[base] for base in type(model).__mro__ if base in EXPORTERS)
    return next(kinds, Exporter)(model, preprocessing)
