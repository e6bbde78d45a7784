"""Which exporter a model has."""

import keras
import pytest

import keras_nest
from keras_nest import export
from keras_nest.export.exporter import Exporter
from keras_nest.export.exporters import exporter_for
from keras_nest.export.lit import LiTExporter
from keras_nest.generative.export import GeneratorExporter
from tests import families


class OwnLiT(keras_nest.LiT):
    """A user's."""


def test_the_nearest_base_counts():
    lit = families.lit()
    own = OwnLiT(lit.image_model, lit.text_model)
    plain = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()])
    models = {lit: LiTExporter, own: LiTExporter, families.nest(): Exporter, plain: Exporter}
    models[families.FAMILIES["generator"]()] = GeneratorExporter
    assert [type(exporter_for(model)) for model in models] == list(models.values())


def test_preprocessing_is_for_models_that_have_none():
    for model in (families.nest(), families.lit()):
        with pytest.raises(ValueError, match="carries its preprocessing; leave preprocessing out"):
            exporter_for(model, preprocessing="nest_tiny")


def test_what_a_generator_has_not_in_python(tmp_path):
    generator = families.FAMILIES["generator"]()
    with pytest.raises(ValueError, match="cannot be written as onnx; take saved_model or tflite"):
        export.to_onnx(generator, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match=r"generative\.export\.generator_to_tflite"):
        export.to_tflite(generator, tmp_path)
    with pytest.raises(ValueError, match="mean nothing to a generator"):
        export.to_saved_model(generator, tmp_path / "saved", head="none")
    assert not list(tmp_path.iterdir())
