"""States on disk: which are kept, what is in them, and what is not taken for one."""

import os
import pathlib
import resource
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.ops import gen_io_ops

from keras_nest import files
from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.training import AdamW, Trainer
from keras_nest.training.checkpoints import Checkpoints, OtherModelError, UnreadableError, remove_partial, saved_steps

IMAGES, LABELS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32), np.arange(8) % 3


def trainer(width=5):
    """Everything that has a state: weights, batch statistics, random states, an average."""
    inputs = keras.Input((4,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(width, name="hidden")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(StochasticDepth(0.3)(x)))
    trainer = Trainer(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    trainer.compile(AdamW(0.1, use_ema=True, ema_momentum=0.5), loss)
    return trainer


def train(trainer, steps):
    trainer.fit(np.tile(IMAGES, (steps, 1)), np.tile(LABELS, steps), 8, verbose=0, shuffle=False)


def state(trainer):
    return [np.asarray(variable) for variable in (*trainer.model.variables, *trainer.optimizer.variables)]


def assert_same(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_the_whole_state(tmp_path):
    first = trainer()
    train(first, 3)
    Checkpoints(tmp_path, first).save(3)
    saved = state(first)
    second = trainer()
    assert Checkpoints(tmp_path, second).restore() == 3
    assert_same(state(second), saved)
    assert any("seed_generator_state" in variable.path for variable in second.model.variables)
    train(first, 2)
    train(second, 2)
    assert_same(state(second), state(first))
    assert any(not np.array_equal(one, other) for one, other in zip(state(second), saved, strict=True))


@pytest.mark.parametrize(
    ("owner", "step", "left"),
    [
        (gen_io_ops, "merge_v2_checkpoints", ".partial-ckpt-6_temp"),
        (files, "flush", ".partial-ckpt-6.index"),
        (pathlib.Path, "replace", ".partial-ckpt-6.index"),
    ],
)
def test_what_a_kill_leaves_is_removed(tmp_path, monkeypatch, owner, step, left):
    class KilledError(BaseException):
        pass

    def killed(*arguments, **options):
        raise KilledError

    checkpoints = Checkpoints(tmp_path, trainer())
    checkpoints.save(3)
    complete = {path.name for path in tmp_path.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KilledError):
            checkpoints.save(6)
    assert (tmp_path / left).exists()
    (tmp_path / "ckpt-6_temp").mkdir()  # as an earlier version left it
    remove_partial(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == complete
    assert Checkpoints(tmp_path, trainer()).restore() == 3


def test_checkpoints_of_earlier_versions(tmp_path):
    """They were TensorFlow's manager's."""
    first = trainer()
    train(first, 2)
    tf.train.CheckpointManager(
        tf.train.Checkpoint(**{kind: [one.value for one in group] for kind, group in first.state.items()}),
        str(tmp_path),
        2,
    ).save(checkpoint_number=2)
    second = trainer()
    assert Checkpoints(tmp_path, second).restore() == 2
    assert_same(state(second), state(first))


def test_without_a_checkpoint_nothing_changes(tmp_path):
    new = trainer()
    before = state(new)
    checkpoints = Checkpoints(tmp_path / "checkpoints", new)
    assert checkpoints.restore() == 0
    assert checkpoints.newest is None
    assert_same(state(new), before)
    assert not (tmp_path / "checkpoints").exists(), "a directory without a checkpoint would belong to nobody"


def test_the_last_two_are_kept_in_whichever_process_they_were_written(tmp_path):
    for steps in ((5, 10), (15,)):
        checkpoints = Checkpoints(tmp_path, trainer())
        checkpoints.restore()
        for step in steps:
            checkpoints.save(step)
            assert checkpoints.newest == str(tmp_path / f"ckpt-{step}")
    files = {"checkpoint", *(f"ckpt-{n}.{kind}" for n in (10, 15) for kind in ("index", "data-00000-of-00001"))}
    assert {path.name for path in tmp_path.iterdir()} == files


def test_half_written_ones_are_not_looked_at_and_are_replaced(tmp_path):
    first = trainer()
    checkpoints = Checkpoints(tmp_path, first)
    checkpoints.save(5)
    (tmp_path / "ckpt-10.data-00000-of-00001").write_bytes(b"half")
    (tmp_path / "ckpt-10.index").write_bytes(b"half")
    (tmp_path / "ckpt-10_temp").mkdir()
    (tmp_path / "ckpt-10_temp" / "part-00000-of-00001.index").write_bytes(b"half")
    assert Checkpoints(tmp_path, trainer()).restore() == 5
    train(first, 1)
    checkpoints.save(10)
    second = trainer()
    assert Checkpoints(tmp_path, second).restore() == 10
    assert_same(state(second), state(first))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Directory with checkpoints of the steps 5 and 10, and the states by step; no test may change it."""
    folder, first, states = tmp_path_factory.mktemp("written"), trainer(), {}
    for step in (5, 10):
        train(first, 1)
        Checkpoints(folder, first).save(step)
        states[step] = state(first)
    return folder, states


@pytest.fixture
def saved(written, tmp_path):
    """A copy of them to be damaged, in `tmp_path`; returns the states."""
    folder, states = written
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return states


class TestDamage:
    @pytest.mark.parametrize(
        "harm",
        [
            lambda path: path.unlink(),
            lambda path: path.write_bytes(path.read_bytes()[:100]),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(bytes(len(path.read_bytes()))),
        ],
        ids=["absent", "truncated", "empty", "zeros"],
    )
    @pytest.mark.parametrize("file", ["ckpt-10.data-00000-of-00001", "ckpt-10.index"])
    def test_the_one_before_is_taken(self, saved, harm, file, tmp_path, capsys):
        harm(tmp_path / file)
        second = trainer()
        assert Checkpoints(tmp_path, second).restore() == 5
        assert_same(state(second), saved[5])
        assert f"The checkpoint {tmp_path}/ckpt-10 is damaged; the one before it is tried." in capsys.readouterr().out

    def test_all(self, saved, tmp_path):
        for path in tmp_path.glob("*.data*"):
            path.write_bytes(b"")
        with pytest.raises(UnreadableError, match=f"No checkpoint in {tmp_path} can be read; --overwrite starts anew"):
            Checkpoints(tmp_path, trainer()).restore()


def test_a_directory_may_be_moved(tmp_path):
    (tmp_path / "here").mkdir()
    first = trainer()
    Checkpoints(tmp_path / "here", first).save(4)
    shutil.move(tmp_path / "here", tmp_path / "there")
    second = trainer()
    checkpoints = Checkpoints(tmp_path / "there", second)
    assert checkpoints.restore() == 4
    assert_same(state(second), state(first))
    checkpoints.save(8)
    assert checkpoints.newest == str(tmp_path / "there" / "ckpt-8")


def test_other_processes_read_and_write_nothing(tmp_path):
    Checkpoints(tmp_path, trainer()).save(4)
    before = sorted(path.name for path in tmp_path.iterdir())
    other = Checkpoints(tmp_path, trainer(), chief=False)
    assert other.restore() == 4
    other.save(8)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert other.newest == str(tmp_path / "ckpt-4")


def test_another_model_is_not_taken(tmp_path):
    Checkpoints(tmp_path, trainer()).save(4)
    with pytest.raises(OtherModelError, match=r"ckpt-4 is of another model \(.*shape.*\); --overwrite starts anew"):
        Checkpoints(tmp_path, trainer(width=6)).restore()


def test_a_model_of_another_depth_is_not_taken(tmp_path):
    """The shapes that both have agree."""
    small = trainer()
    Checkpoints(tmp_path, small).save(4)
    inputs = keras.Input((4,))
    other = Trainer(keras.Model(inputs, keras.layers.Dense(3)(inputs)))
    other.compile(AdamW(0.1), "mse")
    with pytest.raises(OtherModelError, match="ckpt-4 is of another model"):
        Checkpoints(tmp_path, other).restore()


class TestTheListOfThem:
    """What lies in the directory counts, whatever the list says."""

    @pytest.mark.parametrize(
        "content",
        [
            None,
            "",
            'model_checkpoint_path: "ck',
            'model_checkpoint_path: "/elsewhere/ckpt-10"\nall_model_checkpoint_paths: "/elsewhere/ckpt-10"\n',
            'model_checkpoint_path: "ckpt-7"\nall_model_checkpoint_paths: "ckpt-7"\n',
            'model_checkpoint_path: "ckpt-5"\nall_model_checkpoint_paths: "ckpt-5"\n',
        ],
        ids=["lost", "empty", "truncated", "of another machine", "of files that are not there", "old"],
    )
    def test_it_is_not_needed(self, content, saved, tmp_path):
        (tmp_path / "checkpoint").unlink()
        if content is not None:
            (tmp_path / "checkpoint").write_text(content)
        second = trainer()
        checkpoints = Checkpoints(tmp_path, second)
        assert checkpoints.newest == str(tmp_path / "ckpt-10")
        assert checkpoints.restore() == 10
        assert_same(state(second), saved[10])
        checkpoints.save(15)
        assert saved_steps(tmp_path) == [10, 15]
        assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-15")

    def test_steps_are_numbers(self, tmp_path):
        """Step 100 comes after step 20."""
        checkpoints = Checkpoints(tmp_path, trainer())
        for step in (9, 20, 100):
            checkpoints.save(step)
        assert saved_steps(tmp_path) == [20, 100]
        assert tf.train.get_checkpoint_state(str(tmp_path)).all_model_checkpoint_paths == [
            str(tmp_path / "ckpt-20"),
            str(tmp_path / "ckpt-100"),
        ]

    def test_a_directory_behind_a_link(self, tmp_path):
        (tmp_path / "disk").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "disk")
        Checkpoints(tmp_path / "link", trainer()).save(4)
        assert saved_steps(tmp_path / "disk") == [4]
        assert Checkpoints(tmp_path / "link", trainer()).restore() == 4


def test_after_a_damaged_one_the_good_ones_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, trainer())
    for step in (5, 10):
        checkpoints.save(step)
    (tmp_path / "ckpt-10.data-00000-of-00001").write_bytes(b"")
    checkpoints = Checkpoints(tmp_path, trainer())
    assert checkpoints.restore() == 5
    checkpoints.save(8)
    (tmp_path / "ckpt-8.index").write_bytes(b"")
    assert Checkpoints(tmp_path, trainer()).restore() == 5


def test_a_full_disk_leaves_what_was_written(tmp_path):
    checkpoints = Checkpoints(tmp_path, trainer())
    checkpoints.save(3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        with pytest.raises(OSError, match=f"The checkpoint of step 6 in {tmp_path} cannot be written: File too large."):
            checkpoints.save(6)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_checkpoint_is_on_the_disk_before_an_older_one_goes(tmp_path, monkeypatch):
    checkpoints, events = Checkpoints(tmp_path, trainer()), []
    for step in (1, 2):
        checkpoints.save(step)

    def recorded(name, original, subject):
        def function(*arguments, **options):
            events.append((name, subject(*arguments)))
            return original(*arguments, **options)

        return function

    def opened(descriptor):
        return pathlib.Path(os.readlink(f"/proc/self/fd/{descriptor}")).name

    monkeypatch.setattr(os, "fsync", recorded("sync", os.fsync, opened))
    monkeypatch.setattr(pathlib.Path, "replace", recorded("rename", pathlib.Path.replace, lambda _, to: to.name))
    monkeypatch.setattr(pathlib.Path, "unlink", recorded("remove", pathlib.Path.unlink, lambda path: path.name))
    checkpoints.save(3)
    data, index = "data-00000-of-00001", "index"
    written = [
        event for event in events if event[1].rsplit("/")[-1].startswith(("ckpt", ".partial-ckpt", tmp_path.name))
    ]
    assert [event for event in written if event != ("sync", tmp_path.parent.name)][:5] == [
        ("sync", f".partial-ckpt-3.{data}"),
        ("sync", f".partial-ckpt-3.{index}"),
        ("rename", f"ckpt-3.{data}"),
        ("rename", f"ckpt-3.{index}"),
        ("sync", tmp_path.name),
    ]
    removed = [name for kind, name in written if kind == "remove"]
    assert removed == [f"ckpt-1.{index}", f"ckpt-1.{data}"]
    assert written.index(("sync", tmp_path.name)) < written.index(("remove", removed[0]))
