"""`keras-nest finetune`: a classifier from photographs, in folders or in a list."""

import argparse
import dataclasses
import pathlib
import shlex
import tempfile
import time
from typing import Any

import keras
import numpy as np
from rich.markup import escape
from rich.table import Table

from keras_nest.cli.class_table import CLASSES_SHOWN, print_classes
from keras_nest.cli.other_tasks import other_facts
from keras_nest.cli.train import execute
from keras_nest.console import console, print_facts, printable
from keras_nest.data.sources.folder import some_of
from keras_nest.data.sources.table import Row, read_table
from keras_nest.figures import check_picture
from keras_nest.finetune import run
from keras_nest.finetune.found import Found, count_classes, list_sizes, look
from keras_nest.finetune.plan import Plan, find_changes, make_plan, read_plan
from keras_nest.finetune.range_test import PICTURE, TABLE, find_learning_rate
from keras_nest.finetune.request import Request
from keras_nest.finetune.start import find_start
from keras_nest.mirror import mirrored, push
from keras_nest.places import is_dir, shown
from keras_nest.report.write import report_run
from keras_nest.run_files import CONFIG, CONFIG_FILE, IMAGES, REPORT
from keras_nest.targets import REGRESSION
from keras_nest.training import workdir as directories
from keras_nest.training.range_test import write_range_test
from keras_nest.training.strategies import Strategy, create_strategy
from keras_nest.training.trackers import check_tracker

_REMEDY = "choose another --workdir, or pass --overwrite to replace it."


def main(args: argparse.Namespace) -> int:
    """Looks at the folder, decides, trains and tells the results.

    Raises:
        ValueError: folder, model or an option is not as it must be.
        OSError: something is not there, or cannot be written.
    """
    began = time.perf_counter()
    if args.backend != "tensorflow":
        raise ValueError(
            f"keras-nest finetune runs Keras on TensorFlow; keras-nest train --backend={args.backend} --config=FILE "
            f"trains on JAX, such as by the {CONFIG_FILE} that a fine-tuning leaves in its --workdir."
        )
    if args.trust:
        keras.config.enable_unsafe_deserialization()
    fields = {field.name for field in dataclasses.fields(Request)}
    request = Request(**{name: value for name, value in vars(args).items() if name in fields})
    check_tracker(request.log)
    with mirrored(args.workdir) as workdir:
        _finetune(request, workdir, args, began)
    return 0


def _find_learning_rate(request: Request, workdir: pathlib.Path, strategy: Strategy, began: float) -> None:
    """Tries rising rates in a directory of its own, so that a training can begin in this one afterwards."""
    if request.blocks == 0:
        raise ValueError("--find-lr is of training steps, and with --blocks 0 there are none; leave one of them out.")
    check_picture(workdir / PICTURE)
    with tempfile.TemporaryDirectory() as folder:
        plan, rows = _decide(request, pathlib.Path(folder), strategy.num_replicas_in_sync, began)
        found = find_learning_rate(plan, rows, pathlib.Path(folder), strategy)
    write_range_test(found, workdir / TABLE, workdir / PICTURE)
    _print(
        f"The loss is low up to a learning rate of {found.highest:.2g}; a third of that is safe: {found.suggestion:g}."
    )
    _print(f"Picture: {shown(workdir / PICTURE)}. The same command with --learning-rate {found.suggestion:g} trains.")
    push(workdir)


def _finetune(request: Request, workdir: pathlib.Path, args: argparse.Namespace, began: float) -> None:
    directories.check_place(workdir)
    strategy = create_strategy(args.strategy)
    if args.find_lr:
        _find_learning_rate(request, workdir, strategy, began)
        return
    plan = None if args.overwrite else _plan_there(request, workdir)
    if plan is None:
        plan = _begin(request, workdir, strategy.num_replicas_in_sync, args.overwrite, began)
    planned = time.perf_counter()
    metrics = run.results(workdir)
    if metrics:
        print(f"{shown(workdir)} holds this run, finished; --overwrite starts it anew.", flush=True)
    else:
        plan = run.settle(plan, workdir)
        experiment = run.open_run(plan, workdir, strategy)
        metrics = execute(lambda: run.execute(plan, experiment, planned), strategy, workdir)
    _print_results(metrics, shown(workdir), request)
    _write_report(workdir, args.trust)
    push(workdir)


def _begin(request: Request, workdir: pathlib.Path, replicas: int, overwrite: bool, began: float) -> Plan:
    """Looks at the folder, decides, and claims the directory."""
    plan, rows = _decide(request, workdir, replicas, began)
    run.begin(plan, rows, workdir, replicas, overwrite)
    place = shown(workdir)
    _print(f"What each image is for: {place}/{IMAGES}. The same for `keras-nest train`: {place}/{CONFIG_FILE}.")
    return plan


def _decide(request: Request, workdir: pathlib.Path, replicas: int, began: float) -> tuple[Plan, tuple[Row, ...]]:
    """The plan and the images of a folder; what was found and decided is told."""
    model = find_start(request.model, request.weights)
    found = look(request.folder, request.max_broken, request.label_column, request.task)
    _print_found(found)
    plan, rows = make_plan(request, model, found, workdir, replicas, began)
    _print_plan(plan)
    return plan, rows


def _plan_there(request: Request, workdir: pathlib.Path) -> Plan | None:
    """The plan of a run that has begun in a directory; None if there is none.

    Raises:
        FileExistsError: it is another one, or its images are not there any more.
    """
    plan = read_plan(workdir)
    if plan is None:
        if (workdir / CONFIG).exists():
            raise FileExistsError(f"{workdir} belongs to a run of another command; {_REMEDY}")
        return None
    if different := directories.differences(dict(plan.request), dataclasses.asdict(request)):
        raise FileExistsError(f"{workdir} belongs to another run ({different}); {_REMEDY}")
    changes = find_changes(
        list_sizes(request.folder, request.label_column, request.task), read_table(workdir / IMAGES).rows
    )
    is_lost = "gone" in changes or "changed" in changes
    if is_lost and not run.results(workdir):
        raise FileExistsError(f"{request.folder} is not as it was when this run began ({changes}); {_REMEDY}")
    if changes:
        _print(f"{request.folder} is not as it was when this run began ({changes}), which changes nothing here.")
    return plan


def _print_found(found: Found) -> None:
    """Classes, counts, sizes, and what is left out for which reason."""
    counts = count_classes(found.photos, found.target)
    sides = sorted((photo.width * photo.height, f"{photo.width} x {photo.height}") for photo in found.photos)
    sizes = sides[0][1] if sides[0] == sides[-1] else f"{sides[0][1]} to {sides[-1][1]}"
    facts: dict[str, Any] = dict(sorted(counts.items())[:CLASSES_SHOWN])
    if len(counts) > CLASSES_SHOWN:
        facts["…"] = f"{len(counts) - CLASSES_SHOWN} more classes"
    if found.target.task == REGRESSION:
        facts = _of_numbers([float(photo.place.label) for photo in found.photos])
    kinds = f"with {found.target.quantity}" if found.target.task == REGRESSION else f"of {len(counts)} classes"
    print_facts(f"{found.root}: {len(found.photos):,} images {kinds}, {sizes} pixels", facts)
    left = [f"{place.path} {reason}" for place, reason in found.broken]
    if left:
        _print(f"Left out: {some_of(left)}.")
    if found.others:
        _print(f"Passed over: {some_of(found.others)}.")
    if found.empty:
        _print(f"Classes without an image, which are left out: {some_of(found.empty)}.")


def _of_numbers(numbers: list[float]) -> dict[str, Any]:
    """How they are spread."""
    low, middle, high = np.quantile(numbers, (0, 0.5, 1))
    spread = f"{np.mean(numbers):.6g}, with a standard deviation of {np.std(numbers):.4g}"
    return {"from": f"{low:.6g} to {high:.6g}", "middle": f"{middle:.6g}", "mean": spread}


def _print_plan(plan: Plan) -> None:
    table = Table("decided", "", "because", show_lines=False)
    for name, value, reason in plan.decisions:
        table.add_row(name, escape(value), _shown(reason))
    console.print(table)
    for remark in plan.remarks:
        _print(remark)


def _print_results(metrics: dict[str, Any], workdir: str, request: Request) -> None:
    """What came of it, and what to do with it."""
    what = {"test": "test", "val": "validation"}[metrics["part"]]
    facts = _of_classes(metrics, what) if "top1" in metrics else _of_other_tasks(metrics, what, request.task)
    facts["training time"] = f"{metrics['train_seconds']:.0f} s, {metrics['steps']:,} steps"
    if "temperature" in metrics:
        facts["temperature"] = f"{metrics['temperature']:.3g}, by which the logits are divided"
    print_facts(f"Results in {workdir}", facts)
    print_classes(metrics.get("classes", ()))
    run = shlex.quote(workdir)
    for command in (
        f"predict {shlex.quote(request.folder) if is_dir(request.folder) else 'IMAGE'} --model {run}",
        f"explain IMAGE --model {run} --method cam --save answers",
        f"export {run} --format saved_model --output models",
    ):
        _print(f"keras-nest {command}")


def _of_classes(metrics: dict[str, Any], what: str) -> dict[str, str]:
    head, val = metrics["head_top1"], metrics["val"]
    return {
        "right": f"{metrics['top1']:.1%} of {metrics['examples']:,} {what} images",
        "right, validation": f"{val['top1']:.1%} of {val['examples']:,}, by which the weights were chosen",
        **({"the head alone": f"{head:.1%} of these"} if head is not None else {}),
        "loss": f"{metrics['loss']:.3f}",
    }


def _of_other_tasks(metrics: dict[str, Any], what: str, task: str) -> dict[str, str]:
    (name, value), *_ = other_facts(metrics["val"], "images, by which the weights were chosen").items()
    facts = other_facts(metrics, f"{what} images") | {f"{name}, validation": value}
    if metrics["head_score"] is not None:
        kind = " (R²)" if task == REGRESSION else ""
        facts["the head alone"] = f"{metrics['head_score']:.1%}{kind}, validation"
    return facts


def _write_report(workdir: pathlib.Path, trust: bool) -> None:
    """Writes the report if there is none; the run is finished without one, too."""
    path = workdir / REPORT
    if not path.exists():
        try:
            report_run(workdir, trust)
        except (ValueError, OSError) as error:
            _print(f"{REPORT} is left out: {error}")
            return
    _print(f"All of it with pictures: {shown(path)}")


def _shown(text: str) -> str:
    return escape(printable(text))


def _print(line: str) -> None:
    console.print(printable(line), markup=False, highlight=False, soft_wrap=True)
