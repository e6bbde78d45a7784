"""The average of the weights over a training, beside the weights themselves."""

import keras


def copy_averages(model: keras.Model, optimizer: keras.optimizers.Optimizer, averaged: keras.Model) -> None:
    """Gives a model the averages that the optimiser of another one keeps, and what is not trained as it is.

    Args:
        model: the model that is trained.
        optimizer: its optimiser, with `use_ema=True`.
        averaged: a model of the same kind, which is changed.
    """
    # Not by path, which layers of two towers share.
    trained = map(id, model.trainable_variables)
    averages = dict(zip(trained, optimizer._model_variables_moving_average, strict=True))
    for source, target in zip(model.weights, averaged.weights, strict=True):
        target.assign(averages.get(id(source), source).value)
