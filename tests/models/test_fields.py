"""What a configuration holds of a constructor's arguments."""

import inspect

import pytest

import keras_nest
from keras_nest.models.fields import constructor_arguments
from tests import families


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


COUNTED = {
    (type(model), field): model.config
    for model in (families.FAMILIES[name]() for name in ("NesT", "ViT", "Mixer", "ResNet", "ViTFlaxNesT"))
    for field, parameter in inspect.signature(type(model)).parameters.items()
    if parameter.annotation in (int, int | None)
}


@pytest.mark.parametrize("value", [-1, 0])
@pytest.mark.parametrize(("architecture", "field"), COUNTED, ids=lambda part: getattr(part, "__name__", part))
def test_what_counts_nothing_is_refused(architecture, field, value):
    """-1 heads were taken for one, and none ended in a division by zero."""
    if value == 0 and field in ("num_classes", "num_layers", "num_blocks"):
        pytest.skip("there may be none")
    with pytest.raises(ValueError, match=rf"^{field} is {value}; it must be "):
        architecture(**{**COUNTED[architecture, field], field: value})


@pytest.mark.parametrize("field", ["mlp_ratio", "num_layers_per_block"])
def test_other_fields_of_nest(field):
    with pytest.raises(ValueError, match=field):
        families.nest(**{field: -1 if field == "mlp_ratio" else (-1, 1)})


def test_levels_without_a_number_of_blocks():
    config = families.FAMILIES["ViTFlaxNesT"]().config
    with pytest.raises(ValueError, match="block_repeats"):
        keras_nest.ViTFlaxNesT(**{**config, "block_repeats": (-1, -1)})
