"""A fine-tuning: the head first, then the last blocks, then how well the model does on images that it never saw."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from ml_collections import ConfigDict

from keras_nest import data, run_files
from keras_nest.data.converted import Converted
from keras_nest.data.image_files import Convert
from keras_nest.data.sources.table import Row, open_table, read_table, write_table
from keras_nest.finetune.calibration import at_temperature
from keras_nest.finetune.config_file import config_file
from keras_nest.finetune.plan import Plan, write_plan
from keras_nest.finetune.probe import Head, embed, fit_head, get_head, put, read_head, write_head
from keras_nest.finetune.split import TEST, TRAIN, VAL
from keras_nest.metrics import class_scores
from keras_nest.mirror import shown
from keras_nest.registry import preprocessing_spec
from keras_nest.training import classify
from keras_nest.training import workdir as directories
from keras_nest.training.config import resolve
from keras_nest.training.evaluation import final_metrics
from keras_nest.training.experiment import Experiment
from keras_nest.training.history import read_history
from keras_nest.training.strategies import distribute


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
    write_table(workdir / run_files.IMAGES, rows)
    path = workdir / run_files.CONFIG_FILE
    directories.write_text(path, config_file(plan.config, plan.request["folder"], shown(path), plan.fits_head))
    write_plan(plan, workdir)


def open_run(plan: Plan, workdir: pathlib.Path, strategy: tf.distribute.Strategy) -> Experiment:
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
        test images), `val` of the best weights, their `temperature` if they were calibrated, `head_top1` of the head
        alone there, and figures of all `classes`.

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
        head = fit_head(
            train, val, experiment.config.class_weights is not None or experiment.config.sampling == "balanced"
        )
        write_head(head, path)
        print(f"The head alone is right about {head.accuracy:.1%} of the validation images.", flush=True)
    put(head, experiment.model)
    return head


def _finish(
    plan: Plan, experiment: Experiment, metrics: dict[str, Any], head: Head | None, seconds: float
) -> dict[str, Any]:
    """Measures the model on the test images, if there are any, and writes the results."""
    rows = read_table(experiment.workdir / run_files.IMAGES)
    part = TEST if any(row.part == TEST for row in rows) else VAL
    if plan.request.get("calibrate"):
        metrics = metrics | {"temperature": _calibrate(experiment)} | _evaluate(experiment, VAL)
    val = {name: metrics[name] for name in ("top1", "loss", "examples")}
    metrics = metrics | (_evaluate(experiment, part) if part == TEST else {})
    confusion = experiment.evaluator.confusion
    metrics |= {
        "part": part,
        "val": val,
        "head_top1": head and head.accuracy,
        "parameters": experiment.model.count_params(),
        "train_seconds": metrics.get("train_seconds", 0.0) + seconds,
        "steps": metrics.get("steps", 0),
        "epochs": metrics.get("epochs", 0),
        "seed": plan.config["seed"],
    }
    if confusion is not None:
        scores = zip(experiment.info.class_names, class_scores(confusion), strict=True)
        metrics["classes"] = [{"name": name, **score._asdict()} for name, score in scores]
    history = experiment.workdir / run_files.HISTORY
    experiment.write(read_history(history) if plan.trains else [], confusion, metrics)
    return metrics


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
