"""What a user loses of a run, or fills: the run goes on from what is there, or says what is missing; nothing is begun
again over what was trained."""

import json
import re
import shutil
import threading

import pytest
import tensorflow as tf

from keras_nest.cli.train import execute, main, run
from keras_nest.data import ONLY_HOST, open_source
from keras_nest.data.sources.base import decode
from keras_nest.training.experiment import Experiment
from keras_nest.training.lock import InUseError, locked
from tests.data import photographs
from tests.training import runs


def make_way(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def workdir(finished, tmp_path):
    """A copy of a finished run, somewhere else."""
    return shutil.copytree(finished[0], tmp_path / "run")


def lose_model(workdir):
    (workdir / "model.keras").unlink()


@pytest.mark.slow
def test_results_are_written_again_from_the_last_checkpoint(workdir, finished, capsys):
    """Whatever the list of them says. Without a model: the two threads below."""
    (workdir / "checkpoints" / "checkpoint").write_bytes(b"")
    (workdir / "metrics.json").write_text('{"top1": 0.')
    metrics = main(runs.CONFIG, workdir)
    assert "Going on after step 44 of 44." in capsys.readouterr().out
    assert metrics == json.loads((workdir / "metrics.json").read_text())
    runs.assert_same_results(workdir, finished[0])


@pytest.mark.slow
def test_a_history_that_is_lost_is_told_and_the_weights_are_kept(workdir, finished, capsys):
    (workdir / "history.csv").unlink()
    lose_model(workdir)
    metrics = main(runs.CONFIG, workdir)
    assert "history.csv has no row of step 44; rows are lost, times too." in capsys.readouterr().out
    assert metrics["top1"] == finished[1]["top1"]
    assert (workdir / "model.keras").exists()


@pytest.mark.parametrize("gone", ["checkpoints", "checkpoints/*.index"])
def test_checkpoints_that_are_lost_are_one_sentence(gone, workdir, tmp_path, capsys):
    for path in workdir.glob(gone):
        path.rename(tmp_path / path.name)
    lose_model(workdir)
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    flag = runs.write_config(tmp_path / "config.py", runs.CONFIG)
    with pytest.raises(SystemExit) as ended:
        run(["train_keras.py", flag, f"--workdir={workdir}"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"error: The training in {workdir} got beyond the checkpoint of step 44, but there is none in "
        f"{workdir}/checkpoints; put it back, choose another --workdir, or pass --overwrite to start anew.\n"
    )
    assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "1.png; No such file"), (b"\x89PNG\r\n\x1a\n00", "Invalid PNG")]
)
def test_an_image_that_is_lost_in_a_training_is_one_sentence(content, reason, tmp_path, capsys):
    for split in ("train", "test"):
        for name in ("a/1.png", "b/2.png"):
            photographs.small("rocket", (8, 8)).save(make_way(tmp_path / split / name))
    examples = open_source(str(tmp_path)).train
    (tmp_path / "train/a/1.png").unlink()
    if content:
        (tmp_path / "train/a/1.png").write_bytes(content)
    read = tf.function(lambda images: next(images))
    with pytest.raises(SystemExit) as ended:
        execute(lambda: read(iter(examples.in_order(ONLY_HOST).map(decode))), tf.distribute.get_strategy(), tmp_path)
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: An image or its label cannot be read any more \(.*{reason}.*\). Put that right; .* else is broken.\n",
        told,
    )


class TestInUse:
    @pytest.mark.parametrize("more", [[], ["--overwrite"], ["--config.seed=5", "--overwrite"]])
    def test_nothing_is_touched(self, more, workdir, tmp_path, capsys):
        before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
        flag = runs.write_config(tmp_path / "config.py", runs.CONFIG)
        with locked(workdir), pytest.raises(SystemExit) as ended:
            run(["train_keras.py", flag, f"--workdir={workdir}", *more])
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith(f"error: {workdir} is in use: a training is at work there (process ")
        assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before

    @pytest.mark.slow
    def test_two_threads_train_once(self, workdir, monkeypatch, finished):
        """The second comes while the first is at work, which writes the results again."""
        begun, refused, errors = threading.Event(), threading.Event(), []
        execute = Experiment._execute

        def slow(self, chief):
            begun.set()
            assert refused.wait(120)
            return execute(self, chief)

        def second():
            assert begun.wait(120)
            for overwrite in (False, True):
                try:
                    main(runs.CONFIG, workdir, overwrite)
                except InUseError as error:
                    errors.append(error)
            refused.set()

        lose_model(workdir)
        monkeypatch.setattr(Experiment, "_execute", slow)
        thread = threading.Thread(target=second)
        thread.start()
        main(runs.CONFIG, workdir)
        thread.join()
        assert len(errors) == 2
        runs.assert_same_results(workdir, finished[0])


FULL = "The checkpoint of step 24 cannot be written: No space left on device."


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch, capsys):
    """The run goes on as after any error at that place: tests/training/test_resume.py."""

    def full(self, chief):
        raise OSError(FULL)

    monkeypatch.setattr(Experiment, "_execute", full)
    with pytest.raises(SystemExit) as ended:
        run(["train_keras.py", runs.write_config(tmp_path / "config.py", runs.CONFIG), f"--workdir={tmp_path / 'run'}"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"error: {FULL} Put that right; no checkpoint is written yet, and the same command starts again.\n"
    )
    assert runs.files(tmp_path / "run") == {"config.json"}
