"""The command line of the exporters: `python -m export`, and `keras-nest export`."""

import argparse
import json
import os
import pathlib
import shlex
import time
from typing import Any

import keras
import numpy as np
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from keras_nest.choices import INPUT_TYPES, NO_ACTIVATION, WEB_PRECISIONS
from keras_nest.class_names import read_class_names
from keras_nest.console import console, print_facts
from keras_nest.data.prompts import read_templates
from keras_nest.data.sources import ONLY_HOST, Examples, open_source
from keras_nest.data.sources.base import decode
from keras_nest.export.activations import ACTIVATIONS
from keras_nest.export.decoding import unit_preprocessing
from keras_nest.export.exporters import exporter_for
from keras_nest.export.module import output_name
from keras_nest.export.onnx import to_onnx
from keras_nest.export.saved_model import read_signatures
from keras_nest.export.stock_keras import to_keras
from keras_nest.export.tflite import to_tflite
from keras_nest.export.versions import publish, version_directory
from keras_nest.export.web import to_web
from keras_nest.export.web.site import FACTS
from keras_nest.generative.export import generator_to_saved_model, generator_to_tflite
from keras_nest.generative.generator import NesTGenerator
from keras_nest.generative.web import generator_to_web
from keras_nest.mirror import run_directory
from keras_nest.models import LiT, PublishedModel
from keras_nest.models.configured import ConfiguredModel
from keras_nest.opening import LoadedModel, open_model, read_json
from keras_nest.outputs import size
from keras_nest.places import Place, as_place, read_lines
from keras_nest.run_files import DECISIONS
from keras_nest.zero_shot.open import trained_texts

# Options that not all formats have; they are None unless they are given.
_OPTIONS = {
    "saved_model": ("head", "activation", "archive", "no_warm_up", "optimize", "precision"),
    "tflite": ("head", "activation", "precision", "batch_size", "representative"),
    "onnx": ("head", "activation", "input_type"),
    "keras": ("head",),
    "web": ("precision", "activation", "title", "examples", "litert", "templates"),
}
_CALIBRATION_IMAGES, _REPORT_IMAGES = 128, 64


def main(args: argparse.Namespace) -> int:
    """Exports a model and prints what was written.

    Raises:
        ValueError: bad arguments, or a model that cannot be exported so.
        OSError: missing input, or existing or unwritable output.
        ModuleNotFoundError: a package that the format needs is missing.
    """
    for option in dict.fromkeys(option for options in _OPTIONS.values() for option in options):
        if getattr(args, option) is not None and option not in _OPTIONS[args.format]:
            raise ValueError(f"--{option.replace('_', '-')} has no meaning for --format {args.format}; leave it out.")
    as_place(args.output)
    # Of a LiT's page they are texts, of which there may be any number.
    labels = None if args.format == "web" else args.labels
    loaded = open_model(args.model, args.weights, labels, args.trust)
    _check_kind(loaded.model, args)
    if isinstance(loaded.model, NesTGenerator):
        return _generator(loaded.model, args)
    if args.vocab is None:
        args.vocab = loaded.vocabulary
    write = {"saved_model": _saved_model, "tflite": _tflite, "onnx": _onnx, "keras": _keras, "web": _web}
    return write[args.format](loaded, args)


def _generator(model: NesTGenerator, args: argparse.Namespace) -> int:
    """Exports a generator, which takes noise in the place of images."""
    if args.format == "web":
        start, precision = time.perf_counter(), _page_precision(args)
        place = generator_to_web(
            model, args.output, args.overwrite, precision=precision, title=args.title, litert_from=args.litert
        )
        _print_page(place, precision, start)
        return 0
    if args.format == "saved_model":
        if args.precision:
            raise ValueError("--precision has no meaning for the SavedModel of a generator; leave it out.")
        path = version_directory(args.output, args.overwrite)
        written: list[Place] = [generator_to_saved_model(model, path, args.overwrite)]
    else:
        options: dict[str, Any] = {"precisions": _precisions(args)} if args.precision else {}
        options |= {} if args.batch_size is None else {"batch_size": _one_size(args.batch_size)}
        written = generator_to_tflite(model, args.output, overwrite=args.overwrite, **options)
    print_facts(f"Exported {model.name}", {str(path): _mebibytes(path) for path in written})
    return 0


def _one_size(sizes: tuple[int, ...]) -> int:
    if len(sizes) > 1:
        raise ValueError(f"--batch-size names {len(sizes)}; files of a generator have one, so name one.")
    return sizes[0]


def _precisions(args: argparse.Namespace) -> list[str]:
    return [precision.strip() for given in args.precision for precision in given.split(",")]


def _check_kind(model: keras.Model, args: argparse.Namespace) -> None:
    """Refuses models that are no whole ones, and options that mean nothing to the model."""
    if isinstance(model, ConfiguredModel) and not isinstance(model, (PublishedModel, NesTGenerator)):
        raise ValueError(f"{args.model} is a {type(model).__name__}, which takes no images; export its LiT.")
    exporter = exporter_for(model)
    for option in exporter.FOREIGN_OPTIONS:
        if getattr(args, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} has no meaning for {exporter.KIND}; leave it out.")
    if args.head == "none" and args.activation is not None:
        raise ValueError("--activation is of scores, and --head none leaves an embedding; leave one of them out.")
    if args.format == "saved_model" and args.activation == NO_ACTIVATION:
        raise ValueError(
            "--activation none has no meaning for --format saved_model, which has logits beside the probabilities; "
            "leave it out."
        )
    if args.format == "onnx":
        exporter.check_onnx(args.activation)
    if args.format == "keras":
        exporter.check_keras()
    if args.format == "web" and not isinstance(model, NesTGenerator):
        exporter.check_web(args.activation)


def dataset_of(loaded: LoadedModel, model: str) -> str:
    """What a model was trained with; of a fine-tuning the folder, and not the list of its images."""
    path = run_directory(model)
    run = path if path.is_dir() else path.parent
    folder = read_json(run / DECISIONS).get("request", {}).get("folder")
    return os.path.abspath(folder) if folder else loaded.config.get("dataset", "not told")


def _saved_model(loaded: LoadedModel, args: argparse.Namespace) -> int:
    start, loss = time.perf_counter(), loaded.config.get("loss")
    precisions = _precisions(args) if args.precision else [None]
    if len(precisions) > 1:
        raise ValueError(f"--precision names {len(precisions)}; a SavedModel computes in one, so name one.")
    own = getattr(loaded.model, "classifier_activation", None)
    path = publish(
        loaded.model,
        args.output,
        args.overwrite,
        class_names=loaded.class_names,
        metrics={"dataset": dataset_of(loaded, args.model), **loaded.metrics} if loaded.metrics else None,
        head=args.head or "classifier",
        activation=args.activation or own or (loss if loss in ACTIVATIONS else None),
        vocab=args.vocab,
        warm_up=False if args.no_warm_up else None,
        archive=bool(args.archive),
        optimize=args.optimize,
        precision=precisions[0],
    )
    archive = path.with_name(f"{path.name}.tar.gz")
    facts = {
        "written": path,
        "size": _mebibytes(path),
        **({"archive": f"{archive} ({_mebibytes(archive)})"} if args.archive else {}),
        **({"vocabulary": args.vocab} if args.vocab else {}),
        "class names": "none" if loaded.class_names is None else len(loaded.class_names),
        "time": f"{time.perf_counter() - start:.1f} s",
    }
    for name, (inputs, outputs) in read_signatures(path).items():
        facts[name] = f"{', '.join(inputs)} -> {', '.join(outputs)}"
    print_facts(f"Exported {loaded.model.name}", facts)
    return 0


def _tflite(loaded: LoadedModel, args: argparse.Namespace) -> int:
    gives_logits = getattr(loaded.model, "num_classes", 0) and output_name(loaded.model) == "logits"
    has_scores = gives_logits and args.head != "none"
    trained_with = "sigmoid" if loaded.config.get("loss") == "sigmoid" and has_scores else None
    head = {"head": args.head} if args.head else {}
    options: dict[str, Any] = {"vocab": args.vocab, "activation": args.activation or trained_with, **head}
    options |= {} if args.batch_size is None else {"batch_size": args.batch_size}
    if args.precision:
        options["precisions"] = _precisions(args)
    if args.representative:
        source = open_source(args.representative)
        options["representative"] = [_images(loaded, source.train, _CALIBRATION_IMAGES)]
        options["images"] = _images(loaded, source.test, _REPORT_IMAGES)
    rows = to_tflite(loaded.model, args.output, class_names=loaded.class_names, overwrite=args.overwrite, **options)
    console.print(Text(f"Exported {loaded.model.name} to {args.output}"), style="bold")
    table = Table("precision", "MiB", "largest difference", "top-1 agreement", "ms, 1 thread", "2 threads", "XNNPACK")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    for name, meaning in {name: text for row in rows for name, text in row["outputs"].items()}.items():
        console.print(f"{name}: {meaning}")
    return 0


def _onnx(loaded: LoadedModel, args: argparse.Namespace) -> int:
    path = to_onnx(
        loaded.model,
        _file(args.output, "model.onnx"),
        args.overwrite,
        head=args.head or "classifier",
        activation=args.activation,
        input_type=args.input_type or INPUT_TYPES[0],
        class_names=loaded.class_names,
        metrics={"dataset": dataset_of(loaded, args.model), **loaded.metrics} if loaded.metrics else None,
    )
    facts = {"written": path, "size": _mebibytes(path), "card": path.with_suffix(".md")}
    print_facts(f"Exported {loaded.model.name}", facts)
    return 0


def _keras(loaded: LoadedModel, args: argparse.Namespace) -> int:
    # Not model.keras, so that no training is replaced by what is read without this package.
    path = to_keras(loaded.model, _file(args.output, "stock.keras"), args.overwrite, head=args.head or "classifier")
    print_facts(f"Exported {loaded.model.name}", {"written": path, "size": _mebibytes(path)})
    return 0


def _web(loaded: LoadedModel, args: argparse.Namespace) -> int:
    start, precision = time.perf_counter(), _page_precision(args)
    if isinstance(loaded.model, LiT):
        options = _texts(args)
    else:
        loss, own = loaded.config.get("loss"), getattr(loaded.model, "classifier_activation", None)
        activation = args.activation or own or (loss if loss in ACTIVATIONS else None)
        count = loaded.model.output.shape[-1]
        names = read_class_names(args.labels, count) if args.labels else loaded.class_names
        options = {"class_names": names, "activation": activation, "metrics": loaded.metrics}
    path = to_web(
        loaded.model,
        args.output,
        args.overwrite,
        precision=precision,
        title=args.title,
        examples=args.examples,
        litert_from=args.litert,
        **options,
    )
    _print_page(path, precision, start)
    return 0


def _page_precision(args: argparse.Namespace) -> str:
    precisions = _precisions(args) if args.precision else [WEB_PRECISIONS[0]]
    if len(precisions) > 1:
        raise ValueError(f"--precision names {len(precisions)}; a page has one network, so name one.")
    return precisions[0]


def _texts(args: argparse.Namespace) -> dict[str, Any]:
    """Options of a LiT's page: the texts that it begins with are those given, else those of the training."""
    trained = trained_texts(args.weights or args.model)
    labels = read_lines(args.labels, "label") if args.labels else trained and trained[0]
    templates = read_templates(args.templates) if args.templates else trained and not args.labels and trained[1]
    return {"class_names": labels, "templates": templates or None, "vocab": args.vocab, "activation": args.activation}


def _print_page(path: Place, precision: str, start: float) -> None:
    """What was written, and how to look at it."""
    facts, told = json.loads((path / FACTS).read_text("utf-8")), {}
    if texts := facts.get("texts"):
        told = {"begins with": f"{len(texts['labels'])} labels, in {escape('; '.join(texts['templates']))}"}
    elif "why_not" in facts:
        told = {"heat maps": facts["why_not"] or "of every class"}
    networks = sum(network["bytes"] for network in facts["networks"].values())
    address = "cdn.jsdelivr.net, fetched by the page" if facts["litert"]["fetched"] else "in the folder"
    look = f"python -m http.server --bind 127.0.0.1 --directory {shlex.quote(str(path))}"
    print_facts(
        f"Exported {facts['name']}",
        {
            "written": path,
            "size": _mebibytes(path),
            "networks": f"{networks / 2**20:.1f} MiB, {precision}",
            **told,
            f"LiteRT.js {facts['litert']['version']}": address,
            "time": f"{time.perf_counter() - start:.1f} s",
            **({"look at it": look} if isinstance(path, pathlib.Path) else {}),
        },
    )


def _file(output: str, name: str) -> Place:
    """The file that is written: in the directory that was given, or where a file of its kind was."""
    path = as_place(output)
    return path if path.suffix == os.path.splitext(name)[1] else path / name


def _cells(row: dict[str, Any]) -> list[str]:
    agreement = "" if row["top1_agreement"] is None else f"{row['top1_agreement']:.1%}"
    return [
        f"{row['tower']}/{row['precision']}" if "tower" in row else row["precision"],
        f"{row['bytes'] / 2**20:.1f}",
        f"{row['max_abs_diff']:.1e}",
        agreement,
        f"{row['ms_1_thread']:.2f}",
        f"{row['ms_2_threads']:.2f}",
        "unknown" if row["ops"] is None else f"{row['xnnpack_ops']} of {row['ops']} ops",
    ]


def _images(loaded: LoadedModel, examples: Examples, count: int) -> np.ndarray:
    """Some images of a data set as the model takes them: float32 (N, H, W, 3) in [0, 1]."""
    preprocess = unit_preprocessing(loaded.model)
    images = examples.shuffled(seed=0, host=ONLY_HOST, first=0).take(min(count, len(examples)))
    # Bicubic interpolation goes beyond black and white.
    return np.stack([np.clip(preprocess(decode(example)), 0, 1) for example in images])


def _mebibytes(path: Place) -> str:
    return f"{size(path) / 2**20:.1f} MiB"
