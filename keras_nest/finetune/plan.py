"""A fine-tuning before its first step: what was asked for, what is decided, and the configuration that follows."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from keras_nest import data, training_fields
from keras_nest.data.sources.table import Row, source_of
from keras_nest.finetune.decisions import Decision, Settings, Times, choose, epochs_within
from keras_nest.finetune.found import Found
from keras_nest.finetune.request import Request
from keras_nest.finetune.split import TRAIN, VAL, Split, divide
from keras_nest.finetune.start import Start, open_start
from keras_nest.finetune.timing import measure
from keras_nest.models.losses import LOSSES_OF_TASK
from keras_nest.places import shown
from keras_nest.run_files import DECISIONS, IMAGES
from keras_nest.training import workdir as directories
from keras_nest.training.setup import freeze
from keras_nest.untrusted.json_text import fields_of


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a fine-tuning does.

    Attributes:
        request: what was asked for, as `dataclasses.asdict` of a `Request`.
        config: fields of the configuration of the training.
        fits_head: whether the head is fit to features first.
        trains: whether there are steps after that.
        decisions: (name, value, reason) of each.
        remarks: what else there is to say, in sentences.
        quantity: name of the number of a regression.
    """

    request: Mapping[str, Any]
    config: Mapping[str, Any]
    fits_head: bool
    trains: bool
    decisions: tuple[Decision, ...]
    remarks: tuple[str, ...]
    quantity: str = ""


def make_plan(
    request: Request, model: tuple[str, str | None], found: Found, workdir: pathlib.Path, replicas: int, began: float
) -> tuple[Plan, tuple[Row, ...]]:
    """Divides the images, opens the model, measures how fast it is, and decides what was left open.

    Args:
        request: what is asked for.
        model: as `find_start` gives it.
        found: what lies in the folder.
        workdir: of the run; nothing is written.
        replicas: number of devices that train together.
        began: `time.perf_counter()` at the start of the command.

    Returns:
        The plan, and the images of all parts.

    Raises:
        ValueError: what is asked for cannot be.
        FileNotFoundError: there are no such weights.
    """
    split = divide(found, request.val, request.test, request.seed)
    opening = time.perf_counter()
    start = open_start(*model, len(found.class_names), request.image_size)
    opening = time.perf_counter() - opening
    settings, times = _settings_that_fit(request, split, start, workdir, replicas)
    times = dataclasses.replace(times, opening=opening)
    config = build_config(request, settings, start, workdir, replicas)
    epochs, seconds, decided = epochs_within(settings, times, split, time.perf_counter() - began)
    config |= {
        "num_epochs": epochs or settings.epochs,
        "warmup_epochs": int(epochs > 4),
        # What was measured may have been too good.
        "minutes": round(max(seconds / 60, 0.01), 2) if math.isfinite(seconds) else None,
    }
    decisions = (*settings.decisions, *decided)
    plan = Plan(
        dataclasses.asdict(request),
        config,
        settings.fits_head,
        bool(epochs),
        decisions,
        split.remarks,
        found.target.quantity,
    )
    return plan, split.rows


def _settings_that_fit(
    request: Request, split: Split, start: Start, workdir: pathlib.Path, replicas: int
) -> tuple[Settings, Times]:
    """What is decided with the largest batch that fits into the memory, and how long it takes."""
    source, size = source_of(split.rows, split.target, workdir / IMAGES, TRAIN, VAL), start.model.image_size
    settings = choose(request, split, start)
    freeze(start.model, settings.frozen)
    while True:
        config = build_config(request, settings, start, workdir, replicas)
        recipe = data.recipe_of(config, source.info, size, start.model.config["preprocessing"])
        recipe = recipe.for_channels(start.model.config.get("in_channels", recipe.channels))
        try:
            share = settings.batch // replicas
            return settings, measure(start.model, source, recipe, size, share, bool(settings.blocks))
        except tf.errors.ResourceExhaustedError:
            if request.batch_size or settings.batch == replicas:
                raise ValueError(
                    f"Batches of {settings.batch} images do not fit into the memory; smaller images (--image-size), a "
                    "smaller --batch-size or a smaller model may."
                ) from None
            settings = choose(request, split, start, settings.batch // 2)


def build_config(
    request: Request, settings: Settings, start: Start, workdir: pathlib.Path, replicas: int
) -> dict[str, Any]:
    """The fields of a configuration that trains so, but for the number of epochs.

    Raises:
        ValueError: the batch cannot be divided among the replicas.
    """
    if settings.batch % replicas:
        raise ValueError(f"A batch of {settings.batch} cannot be divided among {replicas} devices; see --batch-size.")
    size = start.model.image_size
    return {
        "seed": request.seed,
        "model_name": start.name,
        "model": {"image_size": list(size), "preprocessing": dict(start.model.config["preprocessing"])},
        "init_checkpoint": start.weights or "",
        "reinit_head": "zero_all" if start.weights else None,
        "freeze": list(settings.frozen),
        "dataset": shown(workdir / IMAGES),
        "pp": {"train": TRAIN, "test": VAL},
        "augment": _augment(request.augment, min(size)),
        **({"cache_side": request.cache_side} if request.cache_side is not None else {}),
        "class_weights": None if settings.class_weights is None else list(settings.class_weights),
        **_objective(request),
        "per_device_batch_size": settings.batch // replicas,
        "optim": "adamw",
        # Configurations of this kind give the rate of a batch of 256.
        "learning_rate": settings.learning_rate * 256 / settings.batch,
        **({"layer_decay": request.layer_decay} if request.layer_decay else {}),
        "learning_rate_schedule": "cosine",
        "weight_decay": 0.05,
        "grad_clip_max_norm": 1.0,
        "patience": settings.patience,
    }


def _objective(request: Request) -> dict[str, Any]:
    """What is asked for about the loss and how often the classes come up."""
    smoothing = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "smoothing": request.label_smoothing}
    loss = "focal" if request.loss == "focal" else LOSSES_OF_TASK[request.task][0]
    return {
        **({"loss": loss} if loss != training_fields.COMMON["loss"].default else {}),
        **({"log": request.log} if request.log else {}),
        **({"mix": smoothing} if request.label_smoothing else {}),
        **({"sampling": "balanced"} if request.sampling == "balanced" else {}),
    }


def _augment(name: str, side: int) -> dict[str, Any]:
    if name == "crop":
        # Beside `pp` the training images are cropped and flipped.
        return {"type": "none"}
    return {"type": "shift", "max_shift": side // 8 if name == "shift" else 0}


def write_plan(plan: Plan, workdir: pathlib.Path) -> None:
    """Writes a plan."""
    directories.write_json(workdir / DECISIONS, dataclasses.asdict(plan))


def read_plan(workdir: pathlib.Path) -> Plan | None:
    """Inverse of `write_plan`; None where there is none. What an older version did not ask for has its default.

    Raises:
        ValueError: it lacks something.
    """
    content = directories.read_json(workdir / DECISIONS)
    if content is None:
        return None
    with fields_of(workdir / DECISIONS):
        return _plan(content)


def _plan(content: dict[str, Any]) -> Plan:
    defaults = {field.name: field.default for field in dataclasses.fields(Request)}
    known = {name: value for name, value in defaults.items() if value is not dataclasses.MISSING}
    decisions = tuple(Decision(*each) for each in content["decisions"])
    request = {**known, **content["request"]}
    return Plan(**{**content, "request": request, "decisions": decisions, "remarks": tuple(content["remarks"])})


def find_changes(found: Mapping[str, int], rows: Sequence[Row]) -> str:
    """What is different in a folder now, in words; empty if nothing is.

    Args:
        found: sizes of the files that are there, by path.
        rows: of the images as they were.
    """
    known = {row.file: row.size for row in rows}
    # Of what could not be read, the size is not known, and it may go.
    new, gone = found.keys() - known.keys(), {path for path, size in known.items() if size is not None} - found.keys()
    other = [path for path in found.keys() & known.keys() if known[path] not in (None, found[path])]
    counts = {"new": len(new), "gone": len(gone), "changed": len(other)}
    return ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
