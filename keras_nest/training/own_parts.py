"""Data of several machines on JAX: which batches are a machine's own part already, and which Keras divides."""

import tensorflow as tf


class OwnParts:
    """Mixin for distributions of Keras: batches that are marked as a machine's own are not divided again."""

    @staticmethod
    def mark(batches: tf.data.Dataset) -> tf.data.Dataset:
        """Says that they are this machine's part of each batch; what is made of them does not say so."""
        batches.is_own_part = True
        return batches

    def distribute_dataset(self, dataset: tf.data.Dataset) -> tf.data.Dataset:
        """What Keras asks for of the data of `fit`: of whole batches this machine's part."""
        if getattr(dataset, "is_own_part", False):
            return dataset
        parts = super().distribute_dataset(dataset)  # type: ignore[misc]
        count = dataset.cardinality()
        # Keras loses it, and warns that the data came to an end.
        return parts if count < 0 else parts.apply(tf.data.experimental.assert_cardinality(count))
