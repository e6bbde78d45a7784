"""The servers of examples/serving/: what they take, what they refuse, and that no request is lost."""

import csv
import importlib
import importlib.util
import json
import pathlib
import threading
import time

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import load

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "serving"
ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)


class Doubling(tf.Module):
    """Signatures as exports have them: twice the numbers; negative ones are bad."""

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="images")])
    def plain(self, images):
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(images >= 0), ["It is negative."])]):
            return {"doubled": 2 * images}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), name="images")])
    def each(self, images):
        is_good = tf.reduce_all(images >= 0, axis=1)
        message = tf.where(is_good, "", "It is negative.")
        return {"doubled": 2 * images, "status": tf.where(is_good, 0, 3), "message": message}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="texts")])
    def lengths(self, texts):
        return {"length": tf.strings.length(texts)}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory of versions, the tenth of which is the newest."""
    folder, module = tmp_path_factory.mktemp("saved"), Doubling()
    signatures = {"serving_default": module.plain, "serving_default_each": module.each, "lengths": module.lengths}
    for version in ("9", "10"):
        tf.saved_model.save(module, folder / version, signatures=signatures)
    return folder


@pytest.fixture
def serving(monkeypatch):
    """The module that the servers share, as their scripts import it."""
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("batches")


@pytest.fixture
def opened(serving, saved):
    """Opens the model with limits; closes it afterwards."""
    models = []

    def open_model(**limits):
        models.append(serving.Model(str(saved), serving.Limits(**limits)))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


@pytest.fixture
def held(monkeypatch):
    """Makes a model wait before it answers; returns its batches' sizes and what lets it go on."""

    def hold(model):
        go, sizes, ask = threading.Event(), [], model._ask

        def wait(signature, inputs):
            go.wait(30)
            sizes.append(len(next(iter(inputs.values()))))
            return ask(signature, inputs)

        monkeypatch.setattr(model, "_ask", wait)
        return sizes, go

    return hold


class TestModel:
    def test_the_newest_version(self, opened, serving, tmp_path):
        assert opened().version == 10
        with pytest.raises(FileNotFoundError, match="is no SavedModel, and has no versions of one"):
            serving.Model(str(tmp_path), serving.Limits())

    def test_requests_that_wait_are_one_batch_and_a_bad_one_is_refused_for_itself(self, opened, held):
        model = opened()
        sizes, go = held(model)
        first = model.submit("serving_default", {"images": ROWS[:1]})
        time.sleep(0.1)  # it is being answered
        batches = [ROWS[:2], -ROWS[1:3], ROWS[2:], -ROWS[1:2]]
        names = ["serving_default"] * 3 + ["serving_default_each"]
        answers = [model.submit(name, {"images": rows}) for name, rows in zip(names, batches, strict=True)]
        go.set()
        np.testing.assert_array_equal(first.result(30)["doubled"], 2 * ROWS[:1])
        for number in (0, 2):
            assert answers[number].result(30).keys() == {"doubled"}
            np.testing.assert_array_equal(answers[number].result()["doubled"], 2 * batches[number])
        with pytest.raises(ValueError, match=r"^Image 0 of the batch: It is negative\.$"):
            answers[1].result(30)
        assert answers[3].result(30)["status"].tolist() == [3]
        assert sizes == [1, 7]

    @pytest.mark.parametrize(
        ("signature", "inputs", "error", "message"),
        [
            ("nothing", {}, KeyError, "There is no signature 'nothing'; there are lengths, serving_default"),
            ("serving_default", {"pixels": ROWS}, ValueError, r"The inputs are \['pixels'\]"),
            ("serving_default", {"images": ROWS[0]}, ValueError, r"is float32 \(2,\); it must be float32 \(None, 2\)"),
            ("serving_default", {"images": ROWS.astype(float)}, ValueError, "is float64"),
            ("serving_default", {"images": ROWS[:0]}, ValueError, "has 0 rows; there must be 1 to 3"),
            ("serving_default", {"images": ROWS}, ValueError, "has 4 rows; there must be 1 to 3"),
        ],
    )
    def test_what_does_not_fit_never_waits(self, opened, signature, inputs, error, message):
        with pytest.raises(error, match=message):
            opened(images=3).submit(signature, inputs)

    def test_it_is_bounded_in_count_and_time(self, opened, held, serving):
        model = opened(waiting=2, seconds=0.1)
        _, go = held(model)
        model.submit("serving_default", {"images": ROWS})
        time.sleep(0.05)
        late = model.submit("serving_default", {"images": ROWS})
        with pytest.raises(serving.Overloaded, match="2 requests wait, which is as many as may"):
            model.submit("serving_default", {"images": ROWS})
        time.sleep(0.2)
        go.set()
        with pytest.raises(TimeoutError, match=r"It waited more than 0\.1 s"):
            late.result(30)
        until = time.monotonic() + 10
        while model._count and time.monotonic() < until:
            time.sleep(0.01)
        assert model.submit("lengths", {"texts": np.array([b"abc"], object)}).result(30)["length"].tolist() == [3]

    def test_what_waits_is_answered_when_it_closes(self, opened, held, serving):
        model = opened()
        _, go = held(model)
        answers = [model.submit("serving_default", {"images": ROWS}) for _ in range(5)]
        cancelled = answers.pop()
        assert cancelled.cancel()
        threading.Timer(0.1, go.set).start()
        model.close()
        for answer in answers:
            np.testing.assert_array_equal(answer.result(0)["doubled"], 2 * ROWS)
        with pytest.raises(serving.Overloaded, match="about to stop"):
            model.submit("serving_default", {"images": ROWS})


class TestRest:
    @pytest.fixture
    def read(self, serving, opened):
        model, rest = opened(), importlib.import_module("rest")
        return lambda request: rest.read_request(
            request if isinstance(request, bytes) else json.dumps(request).encode(), model
        )

    @pytest.mark.parametrize(
        ("request_", "in_rows"),
        [
            ({"instances": [[0, 1], [2, 3]]}, True),
            ({"instances": [{"images": [0, 1]}, {"images": [2, 3]}]}, True),
            ({"inputs": {"images": [[0, 1], [2, 3]]}}, False),
            ({"inputs": [[0, 1], [2, 3]]}, False),
        ],
    )
    def test_rows_and_columns(self, read, request_, in_rows):
        signature, inputs, found = read(request_)
        assert (signature, found) == ("serving_default", in_rows)
        assert inputs["images"].dtype == np.float32
        np.testing.assert_array_equal(inputs["images"], ROWS[:2])

    def test_bytes(self, read):
        _, inputs, _ = read({"signature_name": "lengths", "instances": [{"b64": "AP8="}, "ä"]})
        assert inputs["texts"].tolist() == [b"\0\xff", "ä".encode()]

    @pytest.mark.parametrize(
        ("request_", "message"),
        [
            (b"{", "is no JSON"),
            (b"[" * 100_000, "is no JSON"),
            ([], "must be an object with instances"),
            ({"instances": [1], "inputs": [1]}, "must be an object with instances"),
            ({"instances": []}, "a list of one row at least"),
            ({"instances": [{"images": [1, 2]}, {"image": [1, 2]}]}, r"A row has \['image'\]"),
            ({"instances": [[1, 2], [3]]}, "rows of different lengths"),
            ({"instances": [["1", "2"]]}, "must be numbers"),
            ({"instances": [[None, 1]]}, "must be numbers"),
            ({"instances": [[True, False]]}, "must be numbers"),
            ({"instances": [[10**400, 1]]}, "numbers that are too large"),
            ({"instances": [[1, "1"]]}, "must be numbers"),
            ({"instances": [0] * 33}, "has 33 rows; it may have 32"),
            ({"inputs": {"images": [0] * 33}}, "has 33 rows; it may have 32"),
            (b'{"instances":[' + b"[]," * 2_000_000 + b"[]]}", "too many lists"),
            ({"signature_name": 1, "instances": [1]}, "must be a string"),
            ({"signature_name": "lengths", "instances": [{"b64": "?"}]}, "must be strings, or bytes as"),
            ({"signature_name": "lengths", "instances": [7]}, "must be strings, or bytes as"),
        ],
    )
    def test_what_is_no_request(self, read, request_, message):
        with pytest.raises(ValueError, match=message):
            read(request_)

    def test_answers(self, serving):
        rest = importlib.import_module("rest")
        one, two = {"x": np.array([1, 2])}, {"x": np.array([1, 2]), "y": np.array([[b"a"], [b"b"]], object)}
        assert json.loads(rest.as_json(one, True)) == {"predictions": [1, 2]}
        assert json.loads(rest.as_json(one, False)) == {"outputs": [1, 2]}
        assert json.loads(rest.as_json(two, True)) == {"predictions": [{"x": 1, "y": ["a"]}, {"x": 2, "y": ["b"]}]}
        assert json.loads(rest.as_json(two, False)) == {"outputs": {"x": [1, 2], "y": [["a"], ["b"]]}}


@pytest.mark.slow
def test_under_load(tmp_path):
    """A few hundred requests of the many of `python -m benchmarks.load`, and a stop with requests in flight."""
    protocols = ["gRPC", "HTTP"] if importlib.util.find_spec("fastapi") else ["gRPC"]
    load.main(["--requests", "400", "--models", "ViT", "--results", str(tmp_path), "--protocols", *protocols])
    with (tmp_path / "load.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["protocol"] for row in rows] == protocols
    for row in rows:
        assert int(row["good"]) + int(row["bad"]) == int(row["requests"])
        assert 0.85 < int(row["good"]) / int(row["requests"]) < 0.95
        assert (row["of them answered"], row["exit status"]) == (row["in flight at the stop"], "0")


def test_a_wrong_answer_is_counted():
    case = load.Case("s", {}, "x", ROWS)
    answers = [ROWS, ROWS + 1, None, ROWS[:1]]
    tally, asked = load.Tally(), iter(answers)

    class Client:
        def ask(self, request, output):
            return next(asked)

    for _ in answers:
        tally.ask(Client(), case, b"")
    assert (tally.good, tally.bad, tally.wrong, tally.lost) == (1, 0, 3, 0)
