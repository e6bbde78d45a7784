"""Models of users around those of this package, as the exporters read them."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_nest.export.module import image_shape
from keras_nest.models.user_model import UserModel, unpacked
from keras_nest.models.wrapping import find_preprocessing, holds_ours
from keras_nest.registry import preprocessing_spec
from keras_nest.specs import PreprocessingSpec

# What images must become is what the model inside says.
AUTO = "auto"
Preprocessing = str | Mapping[str, Any] | None
"""AUTO; a published name, or a specification as `EvalPreprocessing` takes it, for images that are normalized before the
model; None for a model that takes images in [0, 1]."""


def as_exported(model: keras.Model, preprocessing: Preprocessing = AUTO) -> keras.Model:
    """A model with what the exporters ask one of this package for.

    Args:
        model: of any kind.
        preprocessing: what images in [0, 1] must become before the model takes them.

    Returns:
        The model itself if it is of this package, or has nothing to do with it and takes images in [0, 1] (but with
        its output out of a list of one); else one of the same layers, a `UserModel`.

    Raises:
        ValueError: models of this package are inside, and what images they get cannot be told; or `preprocessing` is
            no specification for the model.
    """
    if hasattr(model, "config"):
        if preprocessing != AUTO:
            raise ValueError(f"The model {model.name!r} carries its preprocessing; leave preprocessing out.")
        return model
    *_, channels = image_shape(model)
    spec = find_preprocessing(model) if preprocessing == AUTO else _given(preprocessing, channels)
    if not (spec or holds_ours(model)):
        # A Sequential does not tell its output.
        outputs = model.outputs if isinstance(model, keras.Sequential) else model.output
        if isinstance(outputs, (list, tuple)):
            loss, model = getattr(model, "loss", None), keras.Model(model.inputs[0], unpacked(outputs), name=model.name)
            model.loss = loss
        return model
    return UserModel(model, spec)


def _given(preprocessing: Preprocessing, channels: int) -> dict[str, Any] | None:
    if preprocessing is None:
        return None
    found = preprocessing_spec(preprocessing)[0] if isinstance(preprocessing, str) else preprocessing
    return PreprocessingSpec.from_dict(found).broadcast(channels).to_dict()
