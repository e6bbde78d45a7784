"""States on disk: which are kept, what is in them, and what is not taken for one."""

import shutil

import keras
import numpy as np
import pytest
from tensorflow.python.lib.io import file_io
from tensorflow.python.ops import gen_io_ops

from keras_nest.layers.stochastic_depth import StochasticDepth
from keras_nest.training import AdamW, Trainer
from keras_nest.training.checkpoints import Checkpoints, UnreadableError, remove_partial

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
    [(gen_io_ops, "merge_v2_checkpoints", "ckpt-6_temp"), (file_io, "rename", "checkpoint.tmp*")],
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
    assert list(tmp_path.glob(left))
    remove_partial(tmp_path)
    assert complete <= {path.name for path in tmp_path.iterdir()}
    assert not list(tmp_path.glob(left))
    assert Checkpoints(tmp_path, trainer()).restore() == 3


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


class TestDamage:
    @pytest.fixture
    def saved(self, tmp_path):
        """Checkpoints of two steps; returns the state of the first."""
        first = trainer()
        checkpoints = Checkpoints(tmp_path, first)
        checkpoints.save(5)
        state_of_first = state(first)
        train(first, 1)
        checkpoints.save(10)
        return state_of_first

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
        assert_same(state(second), saved)
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
    with pytest.raises(ValueError, match=r"shape"):
        Checkpoints(tmp_path, trainer(width=6)).restore()
