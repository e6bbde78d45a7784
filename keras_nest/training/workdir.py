"""The working directory of a run: what lies in it, and whose it is."""

import contextlib
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from keras_nest.files import check_local, is_address, remove, remove_partial
from keras_nest.outputs import output_at
from keras_nest.places import Address, Place, shown
from keras_nest.run_files import CHECKPOINTS, CONFIG, FILES, FOLDERS, HISTORY, METRICS, MODEL
from keras_nest.training import checkpoints
from keras_nest.training.checkpoints import UNFINISHED
from keras_nest.training.history import read_history
from keras_nest.training.lock import locked
from keras_nest.training_fields import NOT_OF_THE_RESULT
from keras_nest.untrusted.json_text import read_object

# What only a training leaves; other files of these names may be a user's own, and are replaced.
_OF_A_RUN = (MODEL, CHECKPOINTS, HISTORY, METRICS)


def check(workdir: pathlib.Path, config: dict[str, Any], overwrite: bool, product: str = MODEL) -> None:
    """Refuses to touch the results of another run.

    A run that was broken off goes on when it is started again with the same configuration.

    Args:
        workdir: where the run shall write.
        config: what config.json will say.
        overwrite: the results of an earlier run may be replaced.
        product: file of the model that the run writes.

    Raises:
        ValueError: what would be replaced is what the run starts from.
        NotADirectoryError: there is a file of that name.
        FileExistsError: the directory holds a run with another configuration, or results of no run.
    """
    check_place(workdir)
    if overwrite:
        _check_not_needed(workdir, config)
        return
    remedy = "choose another --workdir, or pass --overwrite to replace it."
    if (workdir / CONFIG).exists():
        there = read_json(workdir / CONFIG)
        if there is None:
            raise FileExistsError(f"{workdir} belongs to a run whose {CONFIG} is damaged; put it right, {remedy}")
        if different := differences(there, config):
            raise FileExistsError(f"{workdir} belongs to another run ({different}); {remedy}")
        return
    for name in (product, *_OF_A_RUN):
        if (workdir / name).exists():
            raise FileExistsError(f"{workdir} holds {name} already, without {CONFIG}; {remedy}")


def check_place(workdir: pathlib.Path) -> None:
    """Refuses what cannot be a working directory.

    Raises:
        ValueError: it is an address, for which `keras_nest.mirror.mirrored` has a directory.
        NotADirectoryError: there is a file of that name.
    """
    check_local(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise NotADirectoryError(f"{workdir} is a file; the working directory must be a directory.")


def check_progress(
    workdir: pathlib.Path, total_steps: int, saves_at: Callable[[int], bool], product: str = MODEL
) -> None:
    """Refuses to start anew what got farther, whatever was lost of it.

    Args:
        workdir: of a run with this configuration, or of none.
        total_steps: of the training.
        saves_at: step -> whether a checkpoint is written after it.
        product: file of the model that the run writes.

    Raises:
        FileNotFoundError: checkpoints were written, and none is there.
        ValueError: there is one of a longer training, or the history cannot be read.
    """
    if results(workdir, product):
        return
    saved = checkpoints.saved_steps(workdir / CHECKPOINTS)
    history = read_history(workdir / HISTORY) if (workdir / HISTORY).exists() else []
    rows = [int(row["step"]) for row in history]
    # A row comes before the checkpoint of its step, and the next row after it.
    reached = max((step for step in rows[:-1] if saves_at(step)), default=0)
    if any((workdir / name).exists() for name in (product, METRICS)):
        reached = total_steps
    if reached and not saved:
        raise FileNotFoundError(
            f"The training in {workdir} got beyond the checkpoint of step {reached}, but there is none in "
            f"{workdir / CHECKPOINTS}; put it back, choose another --workdir, or pass --overwrite to start anew."
        )
    if saved and saved[-1] > total_steps:
        raise ValueError(
            f"{workdir / CHECKPOINTS} holds a checkpoint of step {saved[-1]}, and this training has {total_steps} "
            "steps; remove what is of another one."
        )
    if saved and saved[-1] not in rows and not (workdir / CHECKPOINTS / f"{UNFINISHED}{saved[-1]}.json").exists():
        print(f"{workdir / HISTORY} has no row of step {saved[-1]}; rows are lost, times too.", flush=True)


def claim(
    workdir: pathlib.Path,
    config: dict[str, Any],
    overwrite: bool,
    files: Sequence[str] = (),
    folders: Sequence[str] = (),
) -> None:
    """Writes the configuration of a new run; to `overwrite`, removes what an earlier run wrote, nothing else.

    What a run that was killed left half-written goes in any case.

    Args:
        workdir: where the run shall write.
        config: content of config.json.
        overwrite: the results of an earlier run are removed.
        files: names of files that an earlier run may have left beside those of `keras_nest.run_files`.
        folders: likewise.

    Raises:
        InUseError: a training is at work there.
        FileExistsError: another run has claimed it meanwhile.
        PermissionError: the directory cannot be written to.
    """
    with locked(workdir):
        check(workdir, config, overwrite)
        if overwrite:
            for name in (*FILES, *files):
                (workdir / name).unlink(missing_ok=True)
            for name in (*FOLDERS, *folders):
                _empty(workdir / name)
        remove_partial(workdir)
        checkpoints.remove_partial(workdir / CHECKPOINTS)
        # That of a run that goes on stays as it is: an earlier version wrote no fields that came later.
        if overwrite or not (workdir / CONFIG).exists():
            write_json(workdir / CONFIG, config)


@contextlib.contextmanager
def at_work(workdir: pathlib.Path, config: dict[str, Any]) -> Iterator[None]:
    """Keeps the directory for a run that has claimed it, while it writes.

    Raises:
        InUseError: another training is at work there.
        FileExistsError: another run has claimed it meanwhile.
    """
    with locked(workdir):
        check(workdir, config, overwrite=False)
        yield


def results(workdir: pathlib.Path, product: str = MODEL) -> dict[str, Any] | None:
    """The metrics of a run that is finished; None of any other, such as one whose model is lost or damaged.

    Args:
        workdir: of the run.
        product: file of the model that the run writes.
    """
    config, metrics = read_json(workdir / CONFIG) or {}, read_json(workdir / METRICS)
    is_whole = not config or config.get("eval_only") or _is_whole(workdir / product)
    return metrics if is_whole else None


def write_json(path: Place, content: dict[str, Any]) -> None:
    """Writes a dictionary as indented JSON, completely or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Place, content: str) -> None:
    """Writes a text in UTF-8, completely or not at all."""
    with output_at(path, overwrite=True) as partial:
        partial.write_text(content, "utf-8")


def as_json(config: ConfigDict) -> dict[str, Any]:
    """The configuration as JSON has it: tuples are lists."""
    return json.loads(json.dumps(config.to_dict()))


def read_json(path: pathlib.Path) -> dict[str, Any] | None:
    """What a file holds; None if it is not there or damaged."""
    try:
        return read_object(path)
    except (FileNotFoundError, ValueError):
        return None


def _is_whole(path: pathlib.Path) -> bool:
    """Whether a .keras file is there and undamaged, by its check sums."""
    try:
        with zipfile.ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, zipfile.BadZipFile):
        return False


def _empty(folder: pathlib.Path) -> None:
    """Removes a directory; of one that is elsewhere, behind a link, what is in it."""
    if folder.is_symlink():
        for path in folder.iterdir():
            remove(path)
    else:
        remove(folder)


def _check_not_needed(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Refuses to remove what a run starts from."""
    run = _resolved(shown(workdir))
    removed = [_resolved(run / name) for name in (*FILES, *FOLDERS)]
    for field in ("init_checkpoint", "image_tower", "vocab"):
        if given := config.get(field):
            path = _resolved(given)
            if path == run or any(path.is_relative_to(name) for name in removed):
                raise ValueError(
                    f"{field} is {given}, which --overwrite would remove from {workdir}; choose another --workdir."
                )


def _resolved(path: str | os.PathLike[str]) -> Place:
    """Where links lead, of an address itself."""
    return Address(path) if is_address(path) else pathlib.Path(path).resolve()


def differences(there: dict[str, Any], here: dict[str, Any]) -> str:
    """The fields that differ and matter, in words: "seed is 1 there and 2 here"."""
    fields = [field for field in {**there, **here} if there.get(field) != here.get(field)]
    fields = [field for field in fields if field not in NOT_OF_THE_RESULT]
    return ", ".join(f"{field} is {there.get(field)!r} there and {here.get(field)!r} here" for field in fields)
