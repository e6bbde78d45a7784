"""The command line of the exporters: `python -m export`, and `keras-nest export`."""

import argparse
import pathlib
import time
from typing import Any

import numpy as np
from rich.table import Table

from keras_nest.console import add_trust_argument, console, print_facts
from keras_nest.data.sources import ONLY_HOST, Examples, open_source
from keras_nest.data.sources.base import decode
from keras_nest.export.activations import ACTIVATIONS
from keras_nest.export.decoding import unit_preprocessing
from keras_nest.export.module import output_name
from keras_nest.export.saved_model import HEADS, read_signatures
from keras_nest.export.versions import publish, version_directory
from keras_nest.files import check_local
from keras_nest.generative.export import generator_file, generator_to_saved_model, generator_to_tflite, read_generator
from keras_nest.generative.generator import NesTGenerator
from keras_nest.models import LiT
from keras_nest.trained import Trained, read_trained
from keras_nest.zero_shot.open import find_vocabulary

DESCRIPTION = "Exports a trained model as a SavedModel, for TF-Serving and TF-Hub, or as TFLite or ONNX files."

# Options that not all formats have; they are None unless they are given.
_OPTIONS = {
    "saved_model": ("head", "activation", "archive", "no_warm_up"),
    "tflite": ("precision", "batch_size", "representative", "activation"),
    "onnx": (),
}
# Of these a generator has none.
_NOT_OF_GENERATORS = ("weights", "labels", "head", "activation", "archive", "no_warm_up", "representative", "vocab")
# Options that only one kind of model has; likewise.
_CLASSIFIER_OPTIONS, _LIT_OPTIONS = ("head", "activation", "representative"), ("vocab",)
_CALIBRATION_IMAGES, _REPORT_IMAGES = 128, 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of the exporters on a parser."""
    parser.add_argument(
        "model", metavar="MODEL", help=".keras file, directory of a training run, or with --weights the name of a model"
    )
    parser.add_argument("--format", required=True, choices=tuple(_OPTIONS), help="what to write")
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="SavedModels lie in DIR/1, DIR/2, …; other files in DIR"
    )
    parser.add_argument("--weights", metavar="CHECKPOINT", help="of the model named; whatever `convert` reads")
    parser.add_argument("--labels", metavar="FILE", help="class names, one a line (default: classes.txt beside MODEL)")
    parser.add_argument(
        "--vocab", metavar="FILE", help="vocabulary of LiT's text tower (default: vocab.txt or vocab.model beside it)"
    )
    parser.add_argument(
        "--activation",
        choices=tuple(ACTIVATIONS),
        help="of the probabilities (default: that of the training; TFLite files give logits without it)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the newest SavedModel, or the files")
    add_trust_argument(parser)
    saved = parser.add_argument_group("SavedModel")
    saved.add_argument("--head", choices=HEADS, help="none for TF-Hub's feature vector (default: classifier)")
    saved.add_argument("--archive", action="store_true", default=None, help="write DIR/N.tar.gz too, for TF-Hub")
    saved.add_argument("--no-warm-up", action="store_true", default=None, help="no requests that warm TF-Serving up")
    lite = parser.add_argument_group("TFLite")
    lite.add_argument(
        "--precision",
        action="append",
        metavar="P[,P…]",
        help="float32, float16, dynamic_int8, int8 (default: all but the last)",
    )
    lite.add_argument("--batch-size", type=int, metavar="N", help="images at a time, fixed in the file (default: 1)")
    lite.add_argument(
        "--representative", metavar="DATA", help="for int8: digits, DIR with DIR/{train,test}/CLASS/, or a name of TFDS"
    )


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
    check_local(args.output)
    if (file := generator_file(args.model)) is not None:
        return _generator(read_generator(file, args.trust), args)
    trained = read_trained(args.model, args.weights, args.labels, args.trust)
    _check_kind(trained, args)
    if isinstance(trained.model, LiT) and args.vocab is None:
        args.vocab = find_vocabulary(args.weights or args.model)
    return {"saved_model": _saved_model, "tflite": _tflite, "onnx": _onnx}[args.format](trained, args)


def _generator(model: NesTGenerator, args: argparse.Namespace) -> int:
    """Exports a generator, which takes noise in the place of images."""
    for option in _NOT_OF_GENERATORS:
        if getattr(args, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} has no meaning for a generator; leave it out.")
    if args.format == "onnx":
        raise ValueError("A generator cannot be written as onnx; take saved_model or tflite.")
    if args.format == "saved_model":
        path = version_directory(pathlib.Path(args.output), args.overwrite)
        written = [generator_to_saved_model(model, path, args.overwrite)]
    else:
        options: dict[str, Any] = {"precisions": _precisions(args)} if args.precision else {}
        options |= {} if args.batch_size is None else {"batch_size": args.batch_size}
        written = generator_to_tflite(model, args.output, overwrite=args.overwrite, **options)
    print_facts(f"Exported {model.name}", {str(path): _mebibytes(path) for path in written})
    return 0


def _precisions(args: argparse.Namespace) -> list[str]:
    return [precision.strip() for given in args.precision for precision in given.split(",")]


def _check_kind(trained: Trained, args: argparse.Namespace) -> None:
    """Refuses options that mean nothing to the model."""
    is_lit = isinstance(trained.model, LiT)
    for option in _CLASSIFIER_OPTIONS if is_lit else _LIT_OPTIONS:
        if getattr(args, option) is not None:
            kind = "a LiT model" if is_lit else "a model without texts"
            raise ValueError(f"--{option} has no meaning for {kind}; leave it out.")


def _saved_model(trained: Trained, args: argparse.Namespace) -> int:
    start, loss = time.perf_counter(), trained.config.get("loss")
    path = publish(
        trained.model,
        args.output,
        args.overwrite,
        class_names=trained.class_names,
        metrics={"dataset": trained.config.get("dataset", "not told"), **trained.metrics} if trained.metrics else None,
        head=args.head or "classifier",
        activation=args.activation or trained.model.classifier_activation or (loss if loss in ACTIVATIONS else None),
        vocab=args.vocab,
        warm_up=not args.no_warm_up,
        archive=bool(args.archive),
    )
    archive = path.with_name(f"{path.name}.tar.gz")
    facts = {
        "written": path,
        "size": _mebibytes(path),
        **({"archive": f"{archive} ({_mebibytes(archive)})"} if args.archive else {}),
        **({"vocabulary": args.vocab} if args.vocab else {}),
        "class names": "none" if trained.class_names is None else len(trained.class_names),
        "time": f"{time.perf_counter() - start:.1f} s",
    }
    for name, (inputs, outputs) in read_signatures(path).items():
        facts[name] = f"{', '.join(inputs)} -> {', '.join(outputs)}"
    print_facts(f"Exported {trained.model.name}", facts)
    return 0


def _tflite(trained: Trained, args: argparse.Namespace) -> int:
    # TFLite's converter and interpreter are a load of their own.
    from keras_nest.export.tflite import to_tflite

    # A client takes logits for those of a softmax.
    is_sigmoid = trained.config.get("loss") == "sigmoid" and output_name(trained.model) == "logits"
    trained_with = "sigmoid" if is_sigmoid and not isinstance(trained.model, LiT) else None
    options: dict[str, Any] = {"vocab": args.vocab, "activation": args.activation or trained_with}
    options |= {} if args.batch_size is None else {"batch_size": args.batch_size}
    if args.precision:
        options["precisions"] = _precisions(args)
    if args.representative:
        source = open_source(args.representative)
        options["representative"] = [_images(trained, source.train, _CALIBRATION_IMAGES)]
        options["images"] = _images(trained, source.test, _REPORT_IMAGES)
    rows = to_tflite(trained.model, args.output, class_names=trained.class_names, overwrite=args.overwrite, **options)
    console.print(f"Exported {trained.model.name} to {args.output}", style="bold")
    table = Table("precision", "MiB", "largest difference", "top-1 agreement", "ms, 1 thread", "2 threads", "XNNPACK")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    return 0


def _onnx(trained: Trained, args: argparse.Namespace) -> int:
    # The converter is a package of its own.
    from keras_nest.export.onnx import to_onnx

    path = to_onnx(trained.model, pathlib.Path(args.output, "model.onnx"), args.overwrite)
    print_facts(f"Exported {trained.model.name}", {"written": path, "size": _mebibytes(path)})
    return 0


def _cells(row: dict[str, Any]) -> list[str]:
    agreement = "" if row["top1_agreement"] is None else f"{row['top1_agreement']:.1%}"
    return [
        f"{row['tower']}/{row['precision']}" if "tower" in row else row["precision"],
        f"{row['bytes'] / 2**20:.1f}",
        f"{row['max_abs_diff']:.1e}",
        agreement,
        f"{row['ms_1_thread']:.2f}",
        f"{row['ms_2_threads']:.2f}",
        f"{row['xnnpack_ops']} of {row['ops']} ops",
    ]


def _images(trained: Trained, examples: Examples, count: int) -> np.ndarray:
    """Some images of a data set as the model takes them: float32 (N, H, W, 3) in [0, 1]."""
    preprocess = unit_preprocessing(trained.model)
    images = examples.shuffled(seed=0, host=ONLY_HOST, first=0).take(min(count, len(examples)))
    # Bicubic interpolation goes beyond black and white.
    return np.stack([np.clip(preprocess(decode(example)), 0, 1) for example in images])


def _mebibytes(path: pathlib.Path) -> str:
    files = path.rglob("*") if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files if file.is_file()) / 2**20:.1f} MiB"
