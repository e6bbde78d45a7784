"""The table of architectures."""

import pytest

import keras_nest
from keras_nest.models import ImageModel, families, register_family


@pytest.fixture(autouse=True)
def restored_tables():
    tables = (families.ARCHITECTURES, families.MODELS, families.ALIASES)
    before = [dict(table) for table in tables]
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


def define(name, variants=None, aliases=None):
    return register_family(variants, aliases)(type(name, (ImageModel,), {}))


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match=r"'resnet50' of .*Other is taken by keras_nest\.models\.resnet\.ResNet"):
        define("Other", {"resnet50": {}})
    with pytest.raises(ValueError, match=r"'B_16' of .*Other is taken by .*VisionTransformer; choose another name"):
        define("Other", {"other": {}}, {"B_16": "other"})
    with pytest.raises(ValueError, match=r"'NesT' of .*NesT is taken by keras_nest\.models\.nest\.NesT"):
        define("NesT")
    assert "other" not in keras_nest.list_models()


def test_a_class_may_be_defined_anew():
    """As notebooks do."""
    define("Toy", {"toy_1": {}}, {"toy": "toy_1"})
    last = define("Toy", {"toy_1": {"image_size": 8}}, {"toy": "toy_1"})
    assert keras_nest.registry.resolve("toy") == ("toy_1", last, {"image_size": 8})
