"""A look at the first batch of a data set as it passes; the one place of the models that knows TensorFlow."""

import weakref
from collections.abc import Callable
from typing import Any

import keras


def watched(data: Any, look: Callable[[Any], None]) -> Any:
    """The same batches, the first of which is looked at when it is read.

    Reading a batch in advance would read it twice and change the order in which a data set shuffles.

    Args:
        data: whatever `fit` takes.
        look: gets the images, or whatever the model takes, of the first batch, as arrays; the method of an object,
            which the data set does not keep alive.

    Returns:
        A data set with a stage more, if `data` is one of `tf.data` and no strategy distributes it; else `data`.
    """
    if not hasattr(data, "element_spec"):
        return data
    import tensorflow as tf

    if not isinstance(data, tf.data.Dataset) or tf.distribute.has_strategy():
        return data

    # TensorFlow never lets go of what Python it may have to call.
    looking = weakref.WeakMethod(look)

    def see_now(structure: Any, *arrays: Any) -> None:
        found = looking()
        if found is not None:
            found(keras.tree.pack_sequence_as(structure, arrays))

    def pass_on(number: tf.Tensor, *batch: Any) -> Any:
        inputs = batch[0]
        structure = keras.tree.map_structure(lambda _: 0, inputs)

        def see() -> tf.Tensor:
            tf.py_function(lambda *arrays: see_now(structure, *arrays), keras.tree.flatten(inputs), [])
            return tf.constant(True)

        tf.cond(number == 0, see, lambda: tf.constant(True))
        return batch if len(batch) > 1 else inputs

    is_tuple = isinstance(data.element_spec, tuple)
    return data.enumerate().map((lambda n, batch: pass_on(n, *batch)) if is_tuple else pass_on)
