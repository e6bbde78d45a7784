"""One thing called from many threads at once."""

import concurrent.futures
import threading

import tensorflow as tf

# Each of them has TensorFlow optimize the graph that they ask first at the same time.
THREADS = 6


def assert_same_from_threads(make, inputs, repeats=3):
    """Each thread gets the right answers to inputs of its own, the first calls at the same time among them.

    Args:
        make: gives a function that was never called.
        inputs: different ones with different answers.
        repeats: how often each thread asks for all of them.
    """
    function = make()
    expected = [function(x) for x in inputs]
    assert len({str(tf.nest.map_structure(lambda y: y.tolist(), answer)) for answer in expected}) == len(inputs)
    function, together = make(), threading.Barrier(THREADS)

    def ask(thread):
        together.wait()
        order = [(n + thread) % len(inputs) for n in range(repeats * len(inputs))]
        return [(n, function(inputs[n])) for n in order]

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for part in pool.map(ask, range(THREADS)) for answer in part]
    wrong = sum(not _close(answer, expected[n]) for n, answer in answers)
    assert wrong == 0, f"{wrong} of {len(answers)} answers are wrong"


def _close(answer, expected):
    pairs = zip(tf.nest.flatten(answer), tf.nest.flatten(expected), strict=True)
    return all(x.shape == y.shape and abs(x - y).max() <= 1e-5 for x, y in pairs)
