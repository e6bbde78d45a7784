"""What is used of others without their promise; runs with the oldest and the newest Keras that may be."""

import ast
import functools
import gc
import pathlib
import re

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_nest
from keras_nest import keras_private
from keras_nest.training import AdamW, Momentum, Trainer, create_strategy
from keras_nest.training.averages import get_averages

ROOT = pathlib.Path(__file__).parents[1]
IMAGES = np.zeros((2, 3), "float32")
# Modules of others that are not private by their names, and not promised either.
PRIVATE = re.compile(r"keras\.src|tensorflow(?:_text)?\.python|tensorflow\.__internal__")


def accesses(tree):
    """Names of attributes with a leading underscore that a file uses of something else than `self` and `cls`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"_[a-z]\w*", node.attr):
            owner = node.value
            # Of all names with an underscore, that of `os._exit` is in Python's documentation.
            if not (isinstance(owner, ast.Name) and (owner.id in ("self", "cls") or ast.unparse(node) == "os._exit")):
                yield node.attr


def modules(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


# Our own attributes on our own objects, and methods of named tuples.
# And of argparse, which has no other list of a parser's arguments.
OURS = {"_actions", "_asdict", "_changes_to_make", "_config_as_built", "_fields", "_published_head", "_replace"}
OURS |= {"_start_clock", "_states_as_built", "_take"}


@pytest.mark.parametrize("package", ["keras_nest", "conversion", "export"])
def test_it_stands_in_one_file(package):
    for path in sorted((ROOT / package).rglob("*.py")):
        if path.name != "keras_private.py":
            tree = ast.parse(path.read_text())
            assert set(accesses(tree)) <= OURS, path
            # The schema of TFLite files, which the interpreter's package has under another name.
            used = {name for name in modules(tree) if PRIVATE.match(name)}
            assert used <= {"tensorflow.lite.python"}, path


@keras.saving.register_keras_serializable(package="tests_of_safe_mode")
class Witness(keras.layers.Layer):
    """Keeps what was said while it was made of a file."""

    seen = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        type(self).seen = keras_private.in_safe_mode()


class TestInSafeMode:
    @pytest.fixture(autouse=True)
    def forget(self):
        yield
        Witness.seen = None

    @pytest.mark.parametrize("mode", [True, False])
    def test_it_is_known_while_a_file_is_loaded(self, tmp_path, mode):
        keras.Sequential([keras.Input((2,)), Witness()]).save(tmp_path / "model.keras")
        assert Witness.seen is None
        keras.saving.load_model(tmp_path / "model.keras", safe_mode=mode)
        assert Witness.seen is mode
        assert keras_private.in_safe_mode() is None

    def test_it_is_on_unless_it_is_asked_off(self):
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Witness()))
        assert Witness.seen is True


def test_save_weights(tmp_path):
    """The file of `model.save_weights`, from which `load_weights` reads the same bits."""
    model, other = (
        keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.1)]) for _ in "ab"
    )
    keras_private.save_weights(model, tmp_path / "x.weights.h5")
    model.save_weights(tmp_path / "y.weights.h5")
    with h5py.File(tmp_path / "x.weights.h5") as ours, h5py.File(tmp_path / "y.weights.h5") as theirs:
        names = []
        for file in (ours, theirs):
            file.visit(names.append)
        assert names[: len(names) // 2] == names[len(names) // 2 :]
    other.load_weights(tmp_path / "x.weights.h5")
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))


def asking():
    """A layer, and what it finds as its outermost model in its calls."""
    found = []

    class Asking(keras.layers.Layer):
        def call(self, x):
            found.append(keras_private.outermost_model(self))
            return x

    return Asking(), found


def test_outermost_model():
    layer, found = asking()
    inner = keras.Sequential([layer])
    outer = keras.Sequential([inner])
    for called, expected in ((outer, outer), (inner, inner), (layer, None)):
        called(IMAGES)
        assert found[-1] is expected


@pytest.mark.parametrize("eagerly", [True, False])
def test_outermost_model_in_a_step_and_its_compilation(eagerly):
    layer, found = asking()
    outer = keras.Sequential([keras.Sequential([layer])])
    outer.compile("sgd", "mse", metrics=["mae"], weighted_metrics=[["mape"]], run_eagerly=eagerly)
    assert not outer.test_function
    outer.evaluate(IMAGES, IMAGES, verbose=0)
    assert found[-1] is outer
    assert outer.test_function
    assert keras_private.compiled_metrics(outer) == (["mae"], [["mape"]])
    compilation = keras_private.compilation(outer)
    assert keras_private.compilation(outer) is compilation
    outer.compile("sgd")
    assert keras_private.compilation(outer) is not compilation
    # Keras keeps what it is not given anew.
    assert (outer.loss, *keras_private.compiled_metrics(outer)) == ("mse", ["mae"], [["mape"]])


def test_producer():
    inputs = keras.Input((3,))
    double = keras.layers.Add()
    operation, index, args, kwargs = keras_private.producer(double([inputs, inputs]))
    assert (operation, index, kwargs) == (double, 0, {})
    assert keras.tree.flatten(args) == [inputs, inputs]
    two = keras.Model(inputs, [double([inputs, inputs]), inputs])
    assert keras_private.producer(two(inputs)[1])[:2] == (two, 1)
    assert type(keras_private.producer(keras.ops.softmax(inputs))[0]).__name__ == "Softmax"


def test_unwrap():
    function = keras.losses.sparse_categorical_crossentropy
    for wrapped in (
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        keras.metrics.MeanMetricWrapper(function, from_logits=True),
    ):
        found = keras_private.unwrap(wrapped)
        assert (found.func, found.keywords["from_logits"]) == (function, True)
    bound = functools.partial(function, from_logits=True)
    assert keras_private.unwrap(bound) is bound
    assert keras_private.unwrap(None) is None


@pytest.mark.parametrize("eagerly", [True, False])
def test_an_error_arrives_as_it_was_raised(eagerly):
    armed = []

    class Raising(keras.layers.Layer):
        def call(self, x):
            if armed:
                raise keras_private.keep_short(ValueError("One sentence."))
            return x

    model = keras.Sequential([keras.Input((3,)), keras.Sequential([Raising()])])
    model.compile("sgd", "mse", run_eagerly=eagerly)
    armed.append(True)
    with pytest.raises(ValueError, match=r"^One sentence\.$"):
        model.train_on_batch(IMAGES, IMAGES)
    with pytest.raises(ValueError, match=r"^One sentence\.$"):
        tf.function(lambda x: model(x), autograph=True)(IMAGES)


def trained_on(strategy, optimizer):
    """Weights after some steps of Keras' own training."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, targets = rng.standard_normal((16, 3)).astype("float32"), rng.standard_normal((16, 2)).astype("float32")
    with strategy.scope():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(optimizer(), "mse")
    model.fit(images, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.slow
def test_gradients_are_summed_once():
    """`SummedGradients`; momentum without a rate that adapts shows each factor."""
    make = functools.partial(Momentum, 0.1, clip_norm=0.5)
    found = trained_on(create_strategy("mirrored"), make)
    for one, other in zip(found, trained_on(tf.distribute.get_strategy(), make), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_keras_that_sums_elsewhere_is_told(monkeypatch):
    optimizer, variable = Momentum(0.1), keras.Variable(np.ones(2, "float32"))
    monkeypatch.setattr(keras.optimizers.Optimizer, "_backend_update_step", lambda *arguments: None)
    with pytest.raises(RuntimeError, match="sums gradients elsewhere than Keras 3"):
        optimizer.apply([keras.ops.ones(2)], [variable])


@pytest.mark.parametrize("excluded", [True, False])
def test_weights_decay_once(excluded):
    """`DecayInUpdateStep`."""
    optimizer, variable = AdamW(0.1, weight_decay=0.5), keras.Variable(np.ones(2, "float32"))
    if excluded:
        optimizer.exclude_from_weight_decay(var_list=[variable])
    optimizer.apply([keras.ops.zeros(2)], [variable])
    np.testing.assert_allclose(variable, 1.0 if excluded else 1 - 0.1 * 0.5, rtol=1e-6)


def test_slots_of_adam():
    first, second = (keras.Variable(np.full(2, value, "float32")) for value in (1, 2))
    optimizer = AdamW(0.1)
    optimizer.build([first, second])
    optimizer.apply([keras.ops.zeros(2), keras.ops.ones(2)], [first, second])
    mean, square = keras_private.adam_slots(optimizer, second)
    np.testing.assert_allclose(mean, 1 - optimizer.beta_1, rtol=1e-5)
    np.testing.assert_allclose(square, 1 - optimizer.beta_2, rtol=1e-4)
    assert [keras_private.variable_index(optimizer, variable) for variable in (first, second)] == [0, 1]


def test_what_an_optimizer_was_built_for():
    variables = [keras.Variable([1.0]), keras.Variable([2.0])]
    optimizer = keras.optimizers.SGD()
    optimizer.build(variables)
    assert [id(each) for each in keras_private.built_for(optimizer)] == [id(each) for each in variables]


def test_an_optimizer_clips():
    optimizer = keras.optimizers.SGD(global_clipnorm=1.0)
    first, nothing, last = keras_private.clip_gradients(optimizer, [tf.constant([3.0]), None, tf.constant([4.0])])
    assert nothing is None
    np.testing.assert_allclose([*first, *last], [0.6, 0.8], rtol=1e-6)


def test_averages_stand_among_the_variables():
    """By their paths, in the order of the weights."""
    variables = [keras.Variable(np.full(2, value, "float32"), name=name) for value, name in ((1, "a"), (2, "b"))]
    optimizer = AdamW(0.1, use_ema=True)
    optimizer.build(variables)
    optimizer.apply([keras.ops.zeros(2)] * 2, variables)
    for average, variable in zip(get_averages(optimizer), variables, strict=True):
        np.testing.assert_array_equal(average, variable)


def test_the_first_metric_is_the_loss():
    trainer = Trainer(keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]))
    trainer.compile("sgd", "mse", metrics=["mae"])
    assert (trainer.loss_tracker.name, type(trainer.loss_tracker)) == ("loss", keras.metrics.Mean)


def test_numbers_of_batches_are_looked_at():
    """`BuiltInFirstStep`."""
    asked = []

    class Model(keras_private.BuiltInFirstStep):
        def call(self, x):
            return x

        def check_steps(self, steps_per_epoch, num_batches):
            asked.append((steps_per_epoch, num_batches))

    with create_strategy("mirrored").scope():
        model = Model()
        model.compile(loss="mse")
    model.evaluate(IMAGES, IMAGES, batch_size=1, verbose=0)
    model.evaluate(IMAGES, IMAGES, batch_size=1, steps=1, verbose=0)
    assert asked == [(None, 2), (1, 1)]


def test_a_data_set_around_another_one():
    inner = tf.data.Dataset.range(4).batch(2)
    around = keras_private.DatasetAround(inner)
    assert [list(batch) for batch in around.as_numpy_iterator()] == [[0, 1], [2, 3]]
    assert (int(around.cardinality()), around.element_spec) == (2, inner.element_spec)
    assert [list(batch) for batch in around.map(lambda x: x + 1).as_numpy_iterator()] == [[1, 2], [3, 4]]


def test_what_a_data_set_is_made_of():
    inner = keras_private.DatasetAround(tf.data.Dataset.range(4))
    around = inner.batch(2).enumerate().map(lambda number, batch: batch).prefetch(1)
    assert any(each is inner for each in keras_private.made_of(around))
    assert not any(each is inner for each in keras_private.made_of(tf.data.Dataset.range(4).batch(2)))


def test_distributed_batches_are_counted():
    strategy = create_strategy("mirrored")
    batches = strategy.distribute_datasets_from_function(lambda context: tf.data.Dataset.range(8).batch(2).repeat())
    keras_private.set_cardinality(batches, 3)
    assert int(batches.cardinality) == 3


def test_operations_of_an_interpreter_that_does_not_say():
    assert keras_private.tflite_operations(object()) is None


def test_a_built_layer_takes_variables_while_it_is_unlocked():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    variable = keras.Variable(np.zeros(2))
    with pytest.raises(ValueError, match="already built"):
        layer.more = variable
    with keras_private.unlocked(layer):
        layer.more = variable
    assert any(each is variable for each in layer.variables)
    with pytest.raises(ValueError, match="already built"):
        layer.another = keras.Variable(np.zeros(2))


def test_a_scope_of_rematerialization_is_seen():
    assert not keras_private.in_remat_scope()
    with keras.RematScope(mode="full"):
        assert keras_private.in_remat_scope()
        with keras.RematScope(mode=None):
            assert not keras_private.in_remat_scope()
    assert not keras_private.in_remat_scope()


def test_variables_become_constants():
    variable = tf.Variable([2.0, 3.0])
    traced = tf.function(lambda x: x * variable).get_concrete_function(tf.TensorSpec([2]))
    frozen = keras_private.with_constants(traced)
    variable.assign([0.0, 0.0])
    assert not frozen.variables
    np.testing.assert_array_equal(frozen(tf.constant([1.0, 10.0]))[0], [2, 30])


@pytest.fixture
def collections():
    """How many objects each collection of garbage passed over; nothing is kept apart before."""
    apart, were_apart = [], gc.get_freeze_count()
    gc.unfreeze()

    def count(phase, info):
        if phase == "start" and info["generation"] == 2:
            apart.append(gc.get_freeze_count())

    gc.callbacks.append(count)
    yield apart
    gc.callbacks.remove(count)
    if were_apart:
        gc.freeze()


def test_weights_are_deleted_without_looking_through_all_objects(collections):
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    with keras_private.quick_deletion(), keras_private.quick_deletion():
        layer.quantize("int8")
    assert min(collections, default=0) > 100_000
    assert gc.get_freeze_count() == 0


def test_objects_that_others_keep_apart_stay_so(collections):
    gc.freeze()
    with keras_private.quick_deletion():
        pass
    assert gc.get_freeze_count() > 100_000


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_models_are_quantized_and_opened_without_looking_through_all_objects(collections, tmp_path):
    model = keras_nest.create_model("testing", num_classes=2, image_size=32)
    model.quantize("int8")
    model.save(tmp_path / "model.keras")
    keras.saving.load_model(tmp_path / "model.keras")
    assert len(collections) > 10
    assert min(collections) > 100_000


def test_a_tokenizer_outlives_a_seed():
    tokenizer = keras_private.sentencepiece_tokenizer((ROOT / "tests/golden/vit/tokenizer/sp.model").read_bytes())
    before = tokenizer.tokenize(["a dog"]).to_list()
    tf.random.set_seed(3)
    assert tokenizer.tokenize(["a dog"]).to_list() == before
