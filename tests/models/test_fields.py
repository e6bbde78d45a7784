"""What a configuration holds of a constructor's arguments."""

import pytest

from keras_nest.models.fields import constructor_arguments


class Model:
    def __init__(self, width, depth=2, name="model"):
        self.before = constructor_arguments(Model, locals())
        total = width * depth
        self.after = constructor_arguments(Model, locals())
        self.total = total


class Subclass(Model):
    def __init__(self, extra, **fields):
        super().__init__(**fields)
        self.extra = extra


@pytest.mark.parametrize("model", [Model(3, name="other"), Subclass(1, width=3)])
def test_the_arguments_and_nothing_that_is_computed_of_them(model):
    assert model.before == model.after == {"width": 3, "depth": 2}
    assert list(model.after) == ["width", "depth"]
