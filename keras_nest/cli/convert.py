"""The command line of the converter: `python -m conversion`, and `keras-nest convert`."""

import argparse
import importlib.util
import time
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from keras_nest.cli.parser import parse_literal
from keras_nest.console import console, print_facts
from keras_nest.conversion.load import LoadReport, load_model, name_of
from keras_nest.conversion.names import model_tree
from keras_nest.conversion.originals import Original, find_original
from keras_nest.conversion.pytorch.write import WRITERS
from keras_nest.conversion.save import write_checkpoint
from keras_nest.conversion.sources import read_checkpoint
from keras_nest.conversion.verify import difference_from_original, largest_difference
from keras_nest.keras_private import save_weights
from keras_nest.models import ImageModel
from keras_nest.opening import ModelSource, find_model
from keras_nest.outputs import output_at, size
from keras_nest.places import as_place
from keras_nest.registry import resolve

# Keras, Flax and PyTorch agree to about 2e-6 of the largest logit, in hybrids to 7e-5; more is a wrong model, not
# rounding.
_VERIFY_TOLERANCE = 1e-4


def main(args: argparse.Namespace) -> int:
    """Runs the converter.

    Raises:
        ValueError: bad arguments, or a checkpoint that does not fit.
        OSError: missing input, or existing or unwritable output.
    """
    if len(args.paths) not in ((2,) if args.weights else (2, 3)):
        expected = "NAME" if args.weights else "[NAME] CHECKPOINT"
        suffix = "" if _is_back(args) else ".keras"
        raise ValueError(f"{len(args.paths)} arguments were given; expected {expected} OUT{suffix}.")
    *sources, output = args.paths
    if not _is_back(args) and not output.endswith((".keras", ".weights.h5")):
        raise ValueError(f"The output {output} must end in .keras or .weights.h5.")
    as_place(output)
    found = find_model(*sources, *([args.weights] if args.weights else []))
    return (_back if _is_back(args) else _to_keras)(found, output, args)


def _is_back(args: argparse.Namespace) -> bool:
    return args.to_flax or bool(args.to_pytorch)


def _to_keras(source: ModelSource, output: str, args: argparse.Namespace) -> int:
    start = time.perf_counter()
    original, instead = _original(source, args) if args.verify else (None, "")
    # Entered first: an output that cannot be written is refused before any work.
    with output_at(output, args.overwrite) as partial:
        model, report = _read(source, args)
        model.save(partial) if output.endswith(".keras") else save_weights(model, partial)
    facts = _facts(model, report, source.checkpoint, output)
    facts["time"] = f"{time.perf_counter() - start:.1f} s"
    difference = 0.0
    if original and not (report.changed or report.new_head):
        difference = _verify_by_original(model, original, source, facts)
    elif args.verify:
        difference = _verify(model, report, source.checkpoint, args.trust, facts)
        facts |= {"compared with": f"Flax alone: {instead}"} if instead else {}
    print_facts(f"Converted {model.name}", facts)
    if difference > _VERIFY_TOLERANCE:
        console.print(f"[red]The models disagree by {difference:.1e}, which is more than rounding.")
        return 1
    return 0


def _back(source: ModelSource, output: str, args: argparse.Namespace) -> int:
    program = args.to_pytorch or "flax"
    if args.verify:
        raise ValueError(f"--verify has no meaning for --to-{program}; leave it out.")
    model, _ = _read(source, args)
    if args.to_pytorch:
        tensors = WRITERS[args.to_pytorch](model, output, args.overwrite)
    else:
        tensors = write_checkpoint(model, output, args.overwrite, args.layout)
    facts = {"model": source.checkpoint, "tensors": tensors, "parameters": model.count_params(), "written": output}
    print_facts(f"Converted {model.name} to {program if args.to_pytorch else 'Flax'}", facts)
    return 0


def _read(source: ModelSource, args: argparse.Namespace) -> tuple[ImageModel, LoadReport]:
    """The model, with a bar that says how much of its checkpoint was read."""
    given = _given_fields(args)
    with _progress() as progress:
        task = progress.add_task("Reading", total=None, visible=False)

        def show(done: int, size: int) -> None:
            progress.update(task, completed=done, total=size, visible=True)

        options = args.reinit_head, args.resize_method, show, args.trust
        return load_model(source.name, source.checkpoint, given, *options)


def _given_fields(args: argparse.Namespace) -> dict[str, Any]:
    """Fields from the command line."""
    given = {}
    for assignment in args.set:
        field, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"--set {assignment} must be FIELD=VALUE.")
        given[field] = parse_literal(value)
    options = {"num_classes": args.num_classes, "image_size": args.image_size}
    return given | {field: value for field, value in options.items() if value is not None}


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _facts(model: ImageModel, report: LoadReport, checkpoint: str, output: str) -> dict[str, Any]:
    head = f"{model.num_classes} classes" if model.num_classes else "none"
    facts = {
        "checkpoint": checkpoint,
        "parameters": report.parameters,
        "tensors matched": report.tensors,
        "head": f"{head}, new (zeros)" if report.new_head else head,
        "image size": "{} x {}".format(*model.image_size),
        "written": f"{output} ({size(output) / 2**20:.1f} MiB)",
    }
    if report.changed:
        facts["changed"] = "\n".join(report.changed)
    if report.assumed:
        facts["assumed"] = "\n".join(report.assumed)
    if report.skipped:
        facts["not used"] = ", ".join(report.skipped)
    return facts


def _original(source: ModelSource, args: argparse.Namespace) -> tuple[Original | None, str]:
    """The program that the weights are of, where it can tell whether they are right; else perhaps why it cannot.

    Raises:
        ModuleNotFoundError: neither it nor Flax is installed.
    """
    original = find_original(source.checkpoint)
    if original is None or _given_fields(args):
        return None, ""  # another model than theirs
    try:
        original.check()
        return original, ""
    except ValueError as error:
        return None, f"{error}."
    except ModuleNotFoundError as error:
        if importlib.util.find_spec("flax") is None:
            raise
        return None, f"{error}."


def _verify_by_original(model: ImageModel, original: Original, source: ModelSource, facts: dict[str, Any]) -> float:
    """Adds the largest difference to the facts, and returns it relative to the largest output."""
    name = resolve(source.name or name_of(source.checkpoint))[0]
    difference, scale, program = difference_from_original(model, original, name)
    relative = difference / scale if scale else difference
    what = "logit" if model.num_classes else "value of an embedding"
    facts["largest difference"] = f"{relative:.1e} of the largest {what} ({scale:.2f}), from {program} on random images"
    return relative


def _verify(model: ImageModel, report: LoadReport, checkpoint: str, trust: bool, facts: dict[str, Any]) -> float:
    """Adds the largest difference to the facts, and returns it relative to the outputs' scale."""
    changed = report.changed or report.new_head
    # The checkpoint's own tensors, not the model's: a tensor that went astray must show.
    tree = (
        model_tree(model)
        if changed
        else read_checkpoint(checkpoint, trust=trust, num_heads=model.config.get("num_heads"))
    )
    difference, scale = largest_difference(model, tree, headless=report.new_head)
    what = "embeddings" if report.new_head or not model.num_classes else "logits"
    facts["largest difference"] = f"{difference:.1e} from the Flax module on random images ({what} up to {scale:.2f})"
    return difference / max(1.0, scale)
