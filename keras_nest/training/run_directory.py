"""The directory of a run: what lies in it, and whose it is."""

import json
import pathlib
import shutil
from typing import Any

from ml_collections import ConfigDict

from keras_nest.files import atomic_output, check_local, remove_partial
from keras_nest.training import checkpoints

CONFIG, MODEL, HISTORY, CURVES = "config.json", "model.keras", "history.csv", "curves.png"
CONFUSION, METRICS, CLASSES = "confusion.png", "metrics.json", "classes.txt"
CHECKPOINTS, BOARD = "checkpoints", "tensorboard"
# Of a generator: the model, pictures of samples on the way, and the last of them.
GENERATOR, SAMPLES, LAST_SAMPLES = "generator.keras", "samples", "samples.png"
# Of a LiT: the vocabulary, under the suffix that says what kind it is.
VOCABULARY, VOCABULARIES = "vocab", ("vocab.txt", "vocab.model")
# The metrics are written last: where they lie, the run is finished.
FILES = (CONFIG, MODEL, GENERATOR, HISTORY, CURVES, CONFUSION, LAST_SAMPLES, CLASSES, *VOCABULARIES, METRICS)


def check(workdir: pathlib.Path, stated: dict[str, Any], overwrite: bool) -> None:
    """Refuses to touch the results of another run.

    A run that was broken off goes on when it is started again with the same configuration.

    Args:
        workdir: where the run shall write.
        stated: what config.json will say.
        overwrite: the results of an earlier run may be replaced.

    Raises:
        ValueError: it is an address such as gs://….
        NotADirectoryError: there is a file of that name.
        FileExistsError: the directory holds a run with another configuration, or a model or checkpoints of no run.
    """
    check_local(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise NotADirectoryError(f"{workdir} is a file; the working directory must be a directory.")
    if overwrite:
        return
    remedy = "choose another --workdir, or pass --overwrite to replace it."
    if (workdir / CONFIG).exists():
        differences = _differences(json.loads((workdir / CONFIG).read_text("utf-8")), stated)
        if differences:
            raise FileExistsError(f"{workdir} belongs to another run ({differences}); {remedy}")
        return
    for name, content in ((MODEL, "a model"), (GENERATOR, "a generator"), (CHECKPOINTS, "checkpoints")):
        if (workdir / name).exists():
            raise FileExistsError(f"{workdir} holds {content} already, without {CONFIG}; {remedy}")


def claim(workdir: pathlib.Path, stated: dict[str, Any], overwrite: bool) -> None:
    """Writes the configuration; to `overwrite`, removes what an earlier run wrote, nothing else.

    What a run that was killed left half-written goes in any case.
    """
    if overwrite:
        for name in FILES:
            (workdir / name).unlink(missing_ok=True)
        for name in (CHECKPOINTS, BOARD, SAMPLES):
            shutil.rmtree(workdir / name, ignore_errors=True)
    remove_partial(workdir)
    checkpoints.remove_partial(workdir / CHECKPOINTS)
    write_json(workdir / CONFIG, stated)


def results(workdir: pathlib.Path) -> dict[str, Any] | None:
    """The metrics of a run that is finished; None of any other."""
    path = workdir / METRICS
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes a dictionary as indented JSON, completely or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: pathlib.Path, content: str) -> None:
    """Writes a text in UTF-8, completely or not at all."""
    with atomic_output(path, overwrite=True) as partial:
        partial.write_text(content, "utf-8")


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON has it: tuples are lists."""
    return json.loads(json.dumps(config.to_dict()))


def _differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The fields that differ, in words: "seed is 1 there and 2 here"."""
    fields = [field for field in {**there, **here} if there.get(field) != here.get(field)]
    return ", ".join(f"{field} is {there.get(field)!r} there and {here.get(field)!r} here" for field in fields)
