"""Generators to SavedModels and TFLite files: noise, and perhaps a class, to images."""

import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from keras_nest.backends import require_tensorflow
from keras_nest.export.exporter import Exporter, Served
from keras_nest.export.exporters import EXPORTERS
from keras_nest.export.inference import in_float32
from keras_nest.export.network import TO_A_FILE, Carrier
from keras_nest.export.saved_model import to_saved_model
from keras_nest.export.tflite_files import CALIBRATED, PRECISIONS, check_targets, convert
from keras_nest.generative.generator import NesTGenerator
from keras_nest.hints import did_you_mean
from keras_nest.outputs import output_at
from keras_nest.places import Place, as_place

_SIGNATURE = "serving_default"
# Full int8 is calibrated on images, which a generator does not take.
_PRECISIONS = tuple(precision for precision in PRECISIONS if precision not in CALIBRATED)


class GeneratorExporter(Exporter):
    """How generators are exported: noise, and perhaps a class, in the place of images; see `Exporter`."""

    KIND: ClassVar[str] = "a generator"
    FOREIGN_OPTIONS: ClassVar[tuple[str, ...]] = (
        "labels",
        "head",
        "activation",
        "archive",
        "no_warm_up",
        "optimize",
        "representative",
        "vocab",
        "examples",
        "templates",
    )

    def serve(
        self,
        head: str = "classifier",
        activation: str | None = None,
        class_names: Sequence[str] | None = None,
        vocab: str | os.PathLike[str] | None = None,
        carrier: Carrier | None = None,
    ) -> Served:
        """See `generator_to_saved_model`."""
        if carrier is not None:
            raise ValueError("optimize is for models of images; a generator takes noise, so leave it out.")
        if head != "classifier" or activation is not None or vocab is not None:
            raise ValueError("head, activation and vocab mean nothing to a generator, so leave them out.")
        module, call = generator_function(self.model)
        specs = input_specs(self.model, None)
        module.__call__ = tf.function(lambda *inputs: call(*inputs)["images"], input_signature=specs, autograph=False)
        return module, {_SIGNATURE: _signature(call, specs)}

    def labels(self, class_names: Sequence[str] | None, head: str = "classifier") -> tuple[str, ...] | None:
        """None: the model gives no scores of classes."""
        return None

    def check_tflite(self, precisions: Sequence[str], activation: str | None) -> None:
        """Refuses: the reports of such files are about images that go in."""
        raise ValueError("A generator becomes TFLite files by keras_nest.generative.export.generator_to_tflite.")

    def check_onnx(self, activation: str | None = None) -> None:
        """Refuses: there are no such files of generators."""
        raise ValueError("A generator cannot be written as onnx; take saved_model or tflite.")

    def check_web(self, activation: str | None) -> None:
        """Refuses: `to_web` writes pages that ask about images."""
        raise ValueError("A generator becomes a page by keras_nest.generative.web.generator_to_web.")

    def check_keras(self) -> None:
        """Refuses: there are no such files of generators."""
        raise ValueError("A generator cannot be written as keras; take saved_model or tflite.")


EXPORTERS[NesTGenerator] = GeneratorExporter


def generator_to_saved_model(model: NesTGenerator, path: str | os.PathLike[str], overwrite: bool = False) -> Place:
    """Writes a SavedModel that draws images; loading it needs TensorFlow only.

    Its signature `serving_default` takes `noise`, float32 (B, latent_dim), standard normal, and of a model with classes
    `class_index`, int32 (B,); it gives `images`, float32 (B, H, W, C) in (-1, 1). The object is callable too, with the
    same arguments.

    Args:
        model: of mixed precision it computes in float32 there.
        path: directory to write, local or at an address (gs://…); it appears complete or not at all.
        overwrite: replace what lies there.

    Raises:
        ValueError: `path` is an address that TensorFlow does not know.
        FileExistsError: something lies at `path` and `overwrite` is false.
        OSError: the directory cannot be written to.
    """
    return to_saved_model(model, path, overwrite)


def generator_to_tflite(
    model: NesTGenerator,
    directory: str | os.PathLike[str],
    precisions: Sequence[str] = _PRECISIONS,
    batch_size: int = 1,
    overwrite: bool = False,
) -> list[Place]:
    """Writes TFLite files, `<precision>.tflite`, of built-in operations only.

    Inputs and output are those of `generator_to_saved_model`, with a batch that is fixed in the files.

    Args:
        model: of mixed precision it computes in float32 there.
        directory: where the files shall lie, here or at an address (gs://…); each appears complete or not at all.
        precisions: "float32", "float16" (weights of half the size), "dynamic_int8" (of a quarter).
        batch_size: images at a time.
        overwrite: replace what lies there.

    Returns:
        The files.

    Raises:
        ValueError: an unknown precision, or a batch below 1.
        FileExistsError: a file lies there and `overwrite` is false.
        NotADirectoryError: `directory` is a file.
        OSError: the directory cannot be written to.
    """
    require_tensorflow("generator_to_tflite", TO_A_FILE.format("tflite"))
    for precision in precisions:
        if precision not in _PRECISIONS:
            raise ValueError(f"precision {precision!r} is none of a generator; {did_you_mean(precision, _PRECISIONS)}")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1.")
    folder = as_place(directory)
    check_targets(folder, precisions, overwrite)
    module, call = generator_function(model)
    files = [folder / f"{precision}.tflite" for precision in precisions]
    with tempfile.TemporaryDirectory() as saved:
        signatures = {_SIGNATURE: _signature(call, input_specs(model, batch_size))}
        tf.saved_model.save(module, saved, signatures=signatures)
        for precision, file in zip(precisions, files, strict=True):
            content = convert(saved, precision, ())
            with output_at(file, overwrite) as partial:
                partial.write_bytes(content)
    return files


def generator_function(model: NesTGenerator) -> tuple[tf.train.Checkpoint, Callable[..., dict[str, tf.Tensor]]]:
    """An object with the variables, and a function of the inputs: -> `images`, in float32."""
    plain = in_float32(model)
    module = tf.train.Checkpoint()
    carrier = Carrier()
    module.variables, compute = carrier.variables(plain.variables), carrier.function(plain)

    def call(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": compute(list(inputs) if len(inputs) > 1 else inputs[0], training=False)}

    return module, call


def input_specs(model: NesTGenerator, batch: int | None) -> list[tf.TensorSpec]:
    """`noise`, and of a model with classes `class_index`; the batch is open or fixed."""
    noise = tf.TensorSpec((batch, model.config["latent_dim"]), name="noise")
    return [noise, *([tf.TensorSpec((batch,), tf.int32, name="class_index")] if model.num_classes else [])]


def _signature(call: Callable[..., Any], specs: list[tf.TensorSpec]) -> Any:
    return tf.function(call, input_signature=specs, autograph=False)
