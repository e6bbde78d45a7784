"""Whose directory it is, and what a new run may remove."""

import json
import pathlib
import zipfile

import pytest

from keras_nest import run_files
from keras_nest.places import standing_for
from keras_nest.training import workdir as directories
from keras_nest.training.config import resolve
from keras_nest.training.history import write_history
from keras_nest.training.lock import InUseError
from keras_nest.training_fields import NOT_OF_THE_RESULT

FIELDS = {"model_name": "nest_tiny_s16_32", "dataset": "digits", "num_epochs": 3, "model": {"num_heads": (1, 2)}}
CONFIG = directories.as_json(resolve(FIELDS))
OTHER = {**CONFIG, "seed": 4}


def test_new_or_empty_directory(tmp_path):
    directories.check(tmp_path, CONFIG, overwrite=False)
    directories.check(tmp_path / "a" / "b", CONFIG, overwrite=False)
    directories.claim(tmp_path / "a" / "b", CONFIG, overwrite=False)
    written = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert written == CONFIG
    assert (written["num_epochs"], written["model"]["num_heads"]) == (3, [1, 2])


def test_run_goes_on_with_the_same_configuration_only(tmp_path):
    directories.claim(tmp_path, CONFIG, overwrite=False)
    directories.check(tmp_path, CONFIG, overwrite=False)
    message = r"another run \(seed is 0 there and 4 here\); choose another --workdir, or pass --overwrite to replace it"
    with pytest.raises(FileExistsError, match=message):
        directories.check(tmp_path, OTHER, overwrite=False)
    directories.check(tmp_path, OTHER, overwrite=True)


def test_what_does_not_change_the_result_may_differ(tmp_path):
    directories.claim(tmp_path, CONFIG, overwrite=False)
    assert NOT_OF_THE_RESULT
    for field in NOT_OF_THE_RESULT:
        directories.check(tmp_path, {**CONFIG, field: "other"}, overwrite=False)


def test_every_field_that_differs_is_told(tmp_path):
    directories.claim(tmp_path, {**CONFIG, "old": 1}, overwrite=False)
    with pytest.raises(FileExistsError, match=r"model is {'num_heads': \[1, 2\]} there and {} here, old is 1 there"):
        directories.check(tmp_path, {**CONFIG, "model": {}}, overwrite=False)


@pytest.mark.parametrize("name", ["model.keras", "product.keras", "checkpoints", "history.csv", "metrics.json"])
def test_results_of_nobody(name, tmp_path):
    (tmp_path / name).mkdir()
    with pytest.raises(FileExistsError, match=f"holds {name} already, without config.json; choose another"):
        directories.check(tmp_path, CONFIG, False, "product.keras")
    directories.check(tmp_path, CONFIG, True, "product.keras")


def test_file_in_its_place(tmp_path):
    (tmp_path / "file").touch()
    for overwrite in (False, True):
        with pytest.raises(NotADirectoryError, match="is a file; the working directory must be a directory"):
            directories.check(tmp_path / "file", CONFIG, overwrite)


def test_address_in_place_of_a_directory():
    with pytest.raises(ValueError, match="gs:/bucket/run is an address and no path of this machine; give a path here"):
        directories.check(pathlib.Path("gs://bucket/run"), CONFIG, False)


def test_results(tmp_path):
    assert directories.results(tmp_path) is None
    directories.write_json(tmp_path / "metrics.json", {"top1": 0.5})
    assert directories.results(tmp_path) == {"top1": 0.5}


def fill(workdir):
    """Everything that a run writes, something half-written, and something of the user's."""
    for name in (*run_files.FILES, "notes.txt", ".partial-0123abcd-model.keras"):
        (workdir / name).write_text("{}")
    (workdir / run_files.CONFIG).write_text(json.dumps(CONFIG))
    for name in (run_files.CHECKPOINTS, run_files.BOARD):
        (workdir / name).mkdir()
        (workdir / name / "file").touch()
    (workdir / run_files.CHECKPOINTS / "ckpt-8_temp").mkdir()


def test_going_on_removes_nothing_but_what_is_half_written(tmp_path):
    fill(tmp_path)
    directories.claim(tmp_path, CONFIG, overwrite=False)
    kept = {*run_files.FILES, run_files.CHECKPOINTS, run_files.BOARD, "notes.txt"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert [path.name for path in (tmp_path / run_files.CHECKPOINTS).iterdir()] == ["file"]


def test_overwriting_removes_results_and_nothing_else(tmp_path):
    fill(tmp_path)
    directories.claim(tmp_path, CONFIG, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "notes.txt"}
    assert json.loads((tmp_path / "config.json").read_text()) == CONFIG


def test_overwriting_removes_what_other_tasks_left(tmp_path):
    (tmp_path / "samples").mkdir()
    for name in ("product.keras", "samples/one.png", "notes.txt"):
        (tmp_path / name).touch()
    directories.claim(tmp_path, CONFIG, overwrite=False, files=("product.keras",), folders=("samples",))
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "notes.txt", "product.keras", "samples"}
    directories.claim(tmp_path, OTHER, overwrite=True, files=("product.keras",), folders=("samples",))
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "notes.txt"}


def test_what_cannot_be_removed_is_not_gone_on_from(tmp_path, monkeypatch):
    fill(tmp_path)

    def fails(path):
        raise PermissionError(f"{path} cannot be removed")

    monkeypatch.setattr(directories, "remove", fails)
    with pytest.raises(PermissionError):
        directories.claim(tmp_path, OTHER, overwrite=True)
    with pytest.raises(FileExistsError, match=r"holds checkpoints already, without config.json"):
        directories.check(tmp_path, OTHER, overwrite=False)


def test_overwriting_empties_checkpoints_behind_a_link(tmp_path):
    """Otherwise the new run would go on from those of the old one."""
    (tmp_path / "disk" / "sub").mkdir(parents=True)
    (tmp_path / "disk" / "ckpt-8.index").touch()
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "checkpoints").symlink_to(tmp_path / "disk")
    directories.claim(workdir, CONFIG, overwrite=True)
    assert (workdir / "checkpoints").is_symlink()
    assert list((tmp_path / "disk").iterdir()) == []


@pytest.mark.parametrize("content", ["", '{"seed": 4', "[]"])
def test_a_damaged_configuration_is_told(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(
        FileExistsError, match=r"a run whose config.json is damaged; put it right, choose another --work"
    ):
        directories.check(tmp_path, CONFIG, overwrite=False)
    directories.check(tmp_path, CONFIG, overwrite=True)


def test_nor_is_it_at_an_address(tmp_path):
    with (
        pytest.raises(
            ValueError, match=r"^vocab is gs:/.*, which --overwrite would remove from gs://bucket/run; choose"
        ),
        standing_for("gs://bucket/run", tmp_path),
    ):
        directories.check(tmp_path, {**CONFIG, "vocab": "gs:/bucket/run/vocab.txt"}, overwrite=True)
    with standing_for("gs://bucket/run", tmp_path):
        directories.check(tmp_path, {**CONFIG, "vocab": "gs://bucket/run2/vocab.txt"}, overwrite=True)


@pytest.mark.parametrize("field", ["init_checkpoint", "image_tower"])
@pytest.mark.parametrize("name", ["model.keras", "checkpoints/ckpt-4", "."])
def test_what_a_run_starts_from_is_not_overwritten(field, name, tmp_path):
    with pytest.raises(
        ValueError, match=rf"{field} is .*, which --overwrite would remove from .*; choose another --work"
    ):
        directories.check(tmp_path, {**CONFIG, field: str(tmp_path / name)}, overwrite=True)
    beside = {**CONFIG, field: str(tmp_path / "mine" / "model.keras")}
    directories.check(tmp_path, beside, overwrite=True)
    directories.check(tmp_path, {**CONFIG, field: "gs://bucket/model.keras"}, overwrite=True)


def write_rows(workdir, steps):
    write_history(workdir / "history.csv", [{"step": step, "seconds": 1.0} for step in steps])


def write_checkpoints(workdir, steps):
    (workdir / "checkpoints").mkdir()
    for step in steps:
        (workdir / "checkpoints" / f"ckpt-{step}.index").touch()


def check_progress(workdir, product="model.keras"):
    """Of 40 steps, with a checkpoint after every 10."""
    directories.check_progress(workdir, 40, lambda step: step % 10 == 0, product)


class TestProgress:
    @pytest.mark.parametrize("rows", [(), (5,), (5, 10), (10,)])
    def test_before_the_first_checkpoint_there_is_nothing_to_lose(self, rows, tmp_path):
        """A row is written before the checkpoint of its step."""
        write_rows(tmp_path, rows)
        check_progress(tmp_path)

    @pytest.mark.parametrize(("rows", "reached"), [((5, 10, 15), 10), ((10, 20), 10), ((10, 20, 25), 20)])
    @pytest.mark.parametrize("empty", [False, True])
    def test_checkpoints_that_are_lost_are_told(self, rows, reached, empty, tmp_path):
        write_rows(tmp_path, rows)
        if empty:
            write_checkpoints(tmp_path, ())
        message = (
            f"got beyond the checkpoint of step {reached}, but there is none in .*checkpoints; put it back, choose"
        )
        with pytest.raises(FileNotFoundError, match=message):
            check_progress(tmp_path)

    @pytest.mark.parametrize("name", ["product.keras", "metrics.json"])
    def test_what_has_ended_is_not_begun_again(self, name, tmp_path):
        (tmp_path / name).touch()
        with pytest.raises(FileNotFoundError, match="got beyond the checkpoint of step 40, but there is none"):
            check_progress(tmp_path, "product.keras")

    def test_checkpoints_with_their_rows_are_gone_on_from(self, tmp_path, capsys):
        write_rows(tmp_path, (5, 10, 15, 20, 25))
        write_checkpoints(tmp_path, (10, 20))
        check_progress(tmp_path)
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("rows", [None, (), (5, 10), (21, 30)])
    def test_rows_that_are_lost_are_told(self, rows, tmp_path, capsys):
        if rows is not None:
            write_rows(tmp_path, rows)
        write_checkpoints(tmp_path, (10, 20))
        check_progress(tmp_path)
        assert "history.csv has no row of step 20" in capsys.readouterr().out

    def test_a_checkpoint_of_a_longer_training(self, tmp_path):
        write_checkpoints(tmp_path, (40, 50))
        with pytest.raises(ValueError, match="a checkpoint of step 50, and this training has 40 steps; remove"):
            check_progress(tmp_path)

    @pytest.mark.parametrize("content", ["step,loss\n1,abc\n", "loss\n0.5\n", "step,loss\n1,2,3\n", "\0\1"])
    def test_a_damaged_history(self, content, tmp_path):
        (tmp_path / "history.csv").write_text(content)
        with pytest.raises(ValueError, match=r"history.csv cannot be read as a history; put it right, or remove it"):
            check_progress(tmp_path)


class TestFinished:
    @pytest.fixture
    def workdir(self, tmp_path):
        directories.claim(tmp_path, CONFIG, overwrite=False)
        directories.write_json(tmp_path / "metrics.json", {"top1": 0.5})
        with zipfile.ZipFile(tmp_path / "model.keras", "w") as file:
            file.writestr("model.weights.h5", bytes(1000))
        return tmp_path

    def test_with_its_model(self, workdir):
        assert directories.results(workdir) == {"top1": 0.5}

    @pytest.mark.parametrize(
        "harm",
        [
            lambda path: path.unlink(),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(path.read_bytes()[:500]),
            lambda path: path.write_bytes(path.read_bytes().replace(bytes(10), b"0123456789", 1)),
        ],
        ids=["absent", "empty", "truncated", "a byte changed"],
    )
    def test_without_its_model_it_is_not(self, workdir, harm):
        harm(workdir / "model.keras")
        assert directories.results(workdir) is None

    @pytest.mark.parametrize("content", ["", '{"top1": 0.'])
    def test_damaged_metrics(self, workdir, content):
        (workdir / "metrics.json").write_text(content)
        assert directories.results(workdir) is None

    def test_an_evaluation_has_no_model(self, workdir):
        (workdir / "model.keras").unlink()
        directories.write_json(workdir / "config.json", {**CONFIG, "eval_only": True})
        assert directories.results(workdir) == {"top1": 0.5}

    def test_of_another_name(self, workdir):
        assert directories.results(workdir, "product.keras") is None
        (workdir / "model.keras").rename(workdir / "product.keras")
        assert directories.results(workdir, "product.keras") == {"top1": 0.5}


class TestWhileATrainingIsAtWork:
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_nobody_else_claims_the_directory(self, overwrite, tmp_path):
        directories.claim(tmp_path, CONFIG, overwrite=False)
        write_checkpoints(tmp_path, (10,))
        with directories.at_work(tmp_path, CONFIG), pytest.raises(InUseError, match="is in use"):
            directories.claim(tmp_path, CONFIG, overwrite)
        assert (tmp_path / "checkpoints" / "ckpt-10.index").exists()
        assert not (tmp_path / ".lock").exists()

    def test_what_another_one_has_claimed_meanwhile_is_left_to_it(self, tmp_path):
        directories.claim(tmp_path, CONFIG, overwrite=False)
        directories.claim(tmp_path, OTHER, overwrite=True)
        with pytest.raises(FileExistsError, match="seed is 4 there"), directories.at_work(tmp_path, CONFIG):
            pass
