"""A fine-tuning: the head first, then the last blocks, then how well the model does on images that it never saw."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data, run_files
from keras_nest.data.converted import Converted
from keras_nest.data.image_files import Convert
from keras_nest.data.sources.table import Row, open_table, read_table, write_table
from keras_nest.finetune.calibration import at_temperature
from keras_nest.finetune.config_file import config_file
from keras_nest.finetune.figures import measure_head
from keras_nest.finetune.plan import Plan, write_plan
from keras_nest.finetune.probe import Head, embed, fit_head, get_head, put, read_head, write_head
from keras_nest.finetune.split import TEST, TRAIN, VAL
from keras_nest.metrics import class_scores
from keras_nest.mirror import push
from keras_nest.places import shown
from keras_nest.registry import preprocessing_spec
from keras_nest.targets import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Target
from keras_nest.training import classify
from keras_nest.training import workdir as directories
from keras_nest.training.config import resolve
from keras_nest.training.evaluation import final_metrics
from keras_nest.training.experiment import Experiment
from keras_nest.training.history import read_history
from keras_nest.training.lock import locked
from keras_nest.training.strategies import Strategy, distribute

HEAD_ALONE = {
    SINGLE_LABEL: "The head alone is right about {:.1%} of the validation images.",
    MULTI_LABEL: "The head alone has a mean average precision of {:.1%} on the validation images.",
    REGRESSION: "The head alone tells {:.1%} of the variance of the validation images (R²).",
}
"""What the score of a fitted head means."""


def begin(plan: Plan, rows: Sequence[Row], workdir: pathlib.Path, replicas: int, overwrite: bool) -> None:
    """Claims the directory of a run, and writes what was decided.

    Args:
        plan: what was decided.
        rows: the images.
        workdir: the directory.
        replicas: number of devices that train together.
        overwrite: the results of an earlier run are removed.

    Raises:
        FileExistsError: the directory holds the results of another run.
        InUseError: a training is at work there.
        PermissionError: it cannot be written to.
    """
    config = resolve(plan.config)
    batch = {"global_batch_size": config.per_device_batch_size * replicas}
    directories.claim(workdir, directories.as_json(config) | batch, overwrite)
    write_table(workdir / run_files.IMAGES, rows, Target(plan.request["task"], plan.quantity))
    _write(plan, workdir)
    push(workdir)  # a training begins with what lies at the address


def _write(plan: Plan, workdir: pathlib.Path) -> None:
    path = workdir / run_files.CONFIG_FILE
    directories.write_text(path, config_file(plan.config, plan.request["folder"], shown(path), plan.fits_head))
    write_plan(plan, workdir)


def settle(plan: Plan, workdir: pathlib.Path) -> Plan:
    """The plan of a run whose directory may have been moved; the files that name the directory are written anew.

    Raises:
        InUseError: a training is at work there.
        OSError: it cannot be written to.
    """
    dataset = shown(workdir / run_files.IMAGES)
    if plan.config["dataset"] == dataset:
        return plan
    plan = dataclasses.replace(plan, config={**plan.config, "dataset": dataset})
    with locked(workdir):
        if there := directories.read_json(workdir / run_files.CONFIG):
            directories.write_json(workdir / run_files.CONFIG, {**there, "dataset": dataset})
        _write(plan, workdir)
    return plan


def open_run(plan: Plan, workdir: pathlib.Path, strategy: Strategy) -> Experiment:
    """The training of a fine-tuning that has begun; errors are those of `keras_nest.training.classify.prepare`."""
    return classify.prepare(resolve(plan.config), workdir, strategy=strategy)


def results(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The content of metrics.json if a fine-tuning is finished, else None."""
    metrics = directories.results(workdir)
    # A training writes its own, too, before the test images are looked at.
    return metrics if metrics and "part" in metrics else None


def execute(plan: Plan, experiment: Experiment, began: float) -> dict[str, Any]:
    """Fits the head, trains, measures, writes; or what of it is left to do.

    Args:
        plan: what was decided.
        experiment: its training.
        began: `time.perf_counter()` when the plan was there; what comes before the first step has its part of the time.

    Returns:
        The content of metrics.json: that of a training, `part` that was measured ("test", or "val" where there are no
        test images), `val` of the best weights, their `temperature` if they were calibrated, `head_top1` (or
        `head_score`) of the head alone there, and figures of all `classes`; of several classes or numbers what
        `keras_nest.finetune.figures` measures.

    Raises:
        ValueError: the features are not finite.
        InUseError: another training is at work in the directory.
        Exception: as `Experiment.execute`.
    """
    start = time.perf_counter()
    head = give_head(plan, experiment)
    seconds = time.perf_counter() - start
    experiment = _with_the_time_left(experiment, time.perf_counter() - began)
    metrics = experiment.execute() if plan.trains else _evaluate(experiment, VAL)
    with directories.at_work(experiment.workdir, experiment.config_json):
        return _finish(plan, experiment, metrics, head, seconds)


def _with_the_time_left(experiment: Experiment, spent: float) -> Experiment:
    """The same training with less time; config.json keeps what was decided."""
    if not experiment.config.minutes:
        return experiment
    left = max(0.01, experiment.config.minutes - spent / 60)
    config = ConfigDict({**experiment.config.to_dict(), "minutes": left}).lock()
    return dataclasses.replace(experiment, config=config)


def give_head(plan: Plan, experiment: Experiment) -> Head | None:
    """Gives the model a head that fits its features, where the plan says so, and returns it."""
    if not plan.fits_head:
        return None
    with directories.at_work(experiment.workdir, experiment.config_json):
        return _fit_head(experiment, plan.trains)


def _fit_head(experiment: Experiment, trains: bool) -> Head:
    path = experiment.workdir / run_files.PROBE
    head = read_head(path)
    if head is None:
        # What a training will read again is converted now.
        convert = Converted(experiment.workdir / run_files.CONVERTED) if trains else None
        sources = ((part, _source(experiment, part, convert)) for part in (TRAIN, VAL))
        train, val = (embed(experiment.model, _batches(experiment, source), part) for part, source in sources)
        is_balanced = experiment.config.class_weights is not None or experiment.config.sampling == "balanced"
        head = fit_head(train, val, is_balanced, experiment.info.target.task)
        write_head(head, path)
        print(HEAD_ALONE[experiment.info.target.task].format(head.score), flush=True)
    put(head, experiment.model)
    return head


def _finish(
    plan: Plan, experiment: Experiment, metrics: dict[str, Any], head: Head | None, seconds: float
) -> dict[str, Any]:
    """Measures the model on the test images, if there are any, and writes the results."""
    rows = read_table(experiment.workdir / run_files.IMAGES).rows
    part = TEST if any(row.part == TEST for row in rows) else VAL
    calibrated = {"temperature": _calibrate(experiment)} if plan.request.get("calibrate") else {}
    if experiment.info.target.is_single_label:
        figures, confusion = _measure_classes(experiment, metrics, part, bool(calibrated))
        head_score = {"head_top1": head and head.score}
    else:
        figures, confusion = _measure_features(experiment, part), None
        head_score = {"head_score": head and head.score}
    metrics = {
        **calibrated,
        **figures,
        **({"best_step": metrics["best_step"]} if "best_step" in metrics else {}),
        "part": part,
        **head_score,
        "parameters": experiment.model.count_params(),
        "train_seconds": metrics.get("train_seconds", 0.0) + seconds,
        "steps": metrics.get("steps", 0),
        "epochs": metrics.get("epochs", 0),
        "seed": plan.config["seed"],
    }
    history = experiment.workdir / run_files.HISTORY
    experiment.write(experiment.model_to_keep(), read_history(history) if plan.trains else [], confusion, metrics)
    return metrics


def _measure_classes(
    experiment: Experiment, metrics: dict[str, Any], part: str, calibrated: bool
) -> tuple[dict[str, Any], np.ndarray | None]:
    """Figures of a part, those of the validation images beside them, and which class was taken for which."""
    metrics = _evaluate(experiment, VAL) if calibrated else metrics
    val = {name: metrics[name] for name in ("top1", "loss", "examples")}
    names = ("top1", "top5", "loss", "examples", "eval_images_per_second")
    measured = _evaluate(experiment, part) if part == TEST else {name: metrics[name] for name in names}
    confusion = experiment.evaluator.confusion
    if confusion is None:
        return measured | {"val": val}, None
    scores = zip(experiment.info.class_names, class_scores(confusion), strict=True)
    return measured | {"val": val, "classes": [{"name": name, **score._asdict()} for name, score in scores]}, confusion


def _measure_features(experiment: Experiment, part: str) -> dict[str, Any]:
    """Figures of images that have several classes or a number, and those of the validation images beside them."""
    head, info = get_head(experiment.model), experiment.info
    val = embed(experiment.model, _batches(experiment, _source(experiment, VAL)), VAL)
    measured = val if part == VAL else embed(experiment.model, _batches(experiment, _source(experiment, part)), part)
    of_val = measure_head(head, val, val, info)
    short = {name: value for name, value in of_val.items() if name != "classes"}
    figures = measure_head(head, val, measured, info)
    return {**figures, "val": short, "eval_images_per_second": 1 / measured.seconds}


def _calibrate(experiment: Experiment) -> float:
    """Divides the logits of the model that is kept by the temperature that fits the validation images; returns it."""
    val = embed(experiment.model, _batches(experiment, _source(experiment, VAL)), VAL)
    head, temperature = at_temperature(get_head(experiment.model), val)
    put(head, experiment.model)
    return temperature


def _evaluate(experiment: Experiment, part: str) -> dict[str, Any]:
    """How well the model does on a part."""
    source = _source(experiment, part)
    measured = experiment.evaluator(distribute(experiment.strategy, lambda host: _batches(experiment, source, host)))
    return final_metrics(measured, len(source.test))


def _batches(experiment: Experiment, source: data.Source, host: data.Host = data.ONLY_HOST) -> tf.data.Dataset:
    """Every test image of a source once, as in evaluation."""
    spec, size = preprocessing_spec(experiment.model)
    recipe = data.Recipe(spec)
    recipe = recipe.for_channels(experiment.model.config.get("in_channels", recipe.channels))
    return data.eval_batches(source, recipe, size, experiment.plan.eval_batch_size, host)


def _source(experiment: Experiment, part: str, convert: Convert | None = None) -> data.Source:
    """The images of a run, those of a part as test images."""
    return open_table(experiment.workdir / run_files.IMAGES, TRAIN, part, convert=convert)
