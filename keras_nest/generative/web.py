"""Generators as pages that draw in the browser."""

import importlib.resources
import os

import numpy as np

from keras_nest import page
from keras_nest.backends import require_tensorflow
from keras_nest.choices import WEB_PRECISIONS
from keras_nest.export.exporter import check_option
from keras_nest.export.network import TO_A_FILE
from keras_nest.export.web.files import Network, Page
from keras_nest.export.web.scripts import RUNTIME, read_scripts
from keras_nest.export.web.site import checked_place, write_page
from keras_nest.generative.export import generator_function, input_specs
from keras_nest.generative.generator import NesTGenerator
from keras_nest.places import Place

_SCRIPTS = ("generator.js", "latents.js")


def generator_to_web(
    model: NesTGenerator,
    directory: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    precision: str = WEB_PRECISIONS[0],
    title: str | None = None,
    litert_from: str | os.PathLike[str] | None = None,
) -> Place:
    """Writes a page that draws in the browser: static files, as `keras_nest.export.to_web` writes them.

    It draws the images of seeds, of one class or of all in turns, and those on the way from one to another, and saves
    them. From the same noise they are `NesTGenerator.sample`'s, to within a level of 255; its seeds are its own.

    Args:
        model: draws images in gray or color.
        directory: the folder, or an address such as gs://bucket/site; it appears complete or not at all.
        overwrite: replace a page that lies there.
        precision: of the weights: "float16", "float32" or "dynamic_int8".
        title: what the page is called; None takes the name of the model.
        litert_from: where LiteRT.js comes from, as `to_web` takes it.

    Returns:
        The folder.

    Raises:
        ValueError: images of other channels, an unknown option, a folder that is no page is in the way, files of
            another LiteRT.js, or Keras does not run on TensorFlow. Nothing is written then.
        FileExistsError: something lies there and `overwrite` is false.
        FileNotFoundError: there is no such folder of LiteRT.js.
        OSError: the folder cannot be written.
    """
    require_tensorflow("generator_to_web", TO_A_FILE.format("web"))
    place = checked_place(directory, overwrite)
    check_option("precision", precision, WEB_PRECISIONS)
    channels = model.config["out_channels"]
    if channels not in (1, 3):
        raise ValueError(f"The model {model.name!r} draws {channels} channels; a page has gray or color images.")
    height, width = model.config["image_size"]
    count = model.num_classes
    facts = {
        "name": title or model.name,
        "facts": (f"draws {height} x {width} pixels", *((page.classes(count),) if count else ())),
        "latent_dim": model.config["latent_dim"],
        "classes": count,
        "size": (height, width),
        "channels": channels,
    }
    whole = Page(
        facts,
        _read("generator.html"),
        {name: page.read(name) for name in ("page.css", "dom.js")}
        | read_scripts(*RUNTIME)
        | {name: _read(name) for name in _SCRIPTS},
        "images from noise, drawn in this browser.",
        lambda: ({"draw": _network(model, precision)}, {}),
    )
    return write_page(whole, place, overwrite, litert_from)


def _network(model: NesTGenerator, precision: str) -> Network:
    noise = np.random.default_rng(0).standard_normal((1, model.config["latent_dim"]), np.float32)
    check = {"noise": noise, **({"class_index": np.zeros(1, np.int32)} if model.num_classes else {})}
    # Whole numbers as inputs are nothing for graphics processors.
    return Network(
        "generator.tflite",
        *generator_function(model),
        input_specs(model, 1),
        precision,
        check,
        "images",
        on_gpu=not model.num_classes,
    )


def _read(name: str) -> str:
    return importlib.resources.files("keras_nest.generative").joinpath(name).read_text("utf-8")
