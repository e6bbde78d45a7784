"""Whether a model puts out logits or probabilities, and whether its loss and metrics take what it puts out.

Keras cannot know: "sparse_categorical_crossentropy" takes what it gets for probabilities and clips logits to [0, 1],
where most of their gradient is zero. A head of zeros, with which fine-tuning starts, then never moves.
"""

import dataclasses
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import keras

from keras_nest import keras_private
from keras_nest.layers.changes import layers_inside
from keras_nest.models.agreement import LOGITS, PROBABILITIES, Demand, demand_of_loss, demand_of_metric
from keras_nest.models.losses import ClassificationLoss

_LINEAR = "linear"
# By the names of layers and operations: what makes probabilities, and what leaves logits logits.
_ACTIVATING = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_KEEPING = {"Average", "Cast", "Dropout", "Flatten", "GlobalAveragePooling1D", "GlobalAveragePooling2D", "Identity"}
_KEEPING |= {"Reshape", "Squeeze"}
# Models in which a head was called, and the compilation that was found right.
_CHECKED: weakref.WeakKeyDictionary[keras.Model, Any] = weakref.WeakKeyDictionary()


@dataclasses.dataclass(frozen=True)
class Output:
    """An output of a model that is the answer of a classifier of this package.

    Attributes:
        names: under which dictionaries of losses may have it.
        index: its place among the outputs.
        count: how many outputs there are.
        activation: what it went through last: "linear" (it is logits), "softmax" or "sigmoid" (probabilities).
        classes: size of its last axis.
    """

    names: tuple[str, ...]
    index: int
    count: int
    activation: str
    classes: int

    @property
    def kind(self) -> str:
        """Logits or probabilities, in a word."""
        return LOGITS if self.activation == _LINEAR else PROBABILITIES


@keras.saving.register_keras_serializable(package="keras_nest")
class ClassifierHead(keras.layers.Dense):
    """The last dense layer of a classifier: (…, C) -> logits (…, num_classes).

    As `keras.layers.Dense`, but that it refuses to be trained and evaluated with what takes its logits for
    probabilities, in whatever model it is the end of: in the first step, since `compile` of Keras asks no layer.
    """

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        check_outermost_model(self)
        return super().call(inputs, training=training)

    def quantize(self, mode: Any = None, type_check: bool = True, config: Any = None) -> None:
        """As `keras.layers.Dense`, which leaves out subclasses."""
        super().quantize(mode, type_check=False, config=config)


def classifier_outputs(model: keras.Model) -> list[Output]:
    """Those outputs of a model that are answers of a classifier of this package, as far as can be seen."""
    outputs = _symbolic_outputs(model)
    tensors = keras.tree.flatten(outputs)
    keys = list(outputs) if isinstance(outputs, Mapping) else []
    names = list(zip(getattr(model, "output_names", []), keys or tensors, strict=False))
    found = []
    for index, tensor in enumerate(tensors):
        activation = _find_activation(tensor)
        if activation is not None:
            own = tuple(name for name in names[index] if isinstance(name, str)) if names else ()
            found.append(Output(own, index, len(tensors), activation, tensor.shape[-1]))
    return found


def is_linear(tensor: keras.KerasTensor) -> bool:
    """Whether a symbolic tensor is the logits of a classifier of this package."""
    return _find_activation(tensor) == _LINEAR


def default_loss(model: keras.Model) -> ClassificationLoss | None:
    """The loss that fits what a model puts out; None unless that is the answer of one classifier of this package."""
    found = classifier_outputs(model)
    if len(found) != 1 or found[0].count != 1:
        return None
    (output,) = found
    activation = "sigmoid" if output.activation == "sigmoid" or output.classes == 1 else "softmax"
    return ClassificationLoss(activation, from_logits=output.kind == LOGITS)


def check_compile(model: keras.Model, loss: Any = None, metrics: Any = None, weighted_metrics: Any = None) -> None:
    """Refuses losses and metrics that take logits for probabilities, or probabilities for logits.

    Those that do not say what they take, such as "mse", the hinge losses and functions without a parameter
    `from_logits`, are for both. Of models that do not end with a classifier of this package nothing is known.

    Args:
        model: what is compiled.
        loss: as for `compile`.
        metrics: as for `compile`.
        weighted_metrics: as for `compile`.

    Raises:
        ValueError: says what to write instead.
    """
    if not getattr(model, "outputs", None) and not _may_be_wrong(model, loss, (metrics, weighted_metrics)):
        return
    for output in classifier_outputs(model):
        for one in _of_output(loss, output):
            _refuse("loss", one, demand_of_loss(one, output.classes), output, model.name)
        for one in (*_of_output(metrics, output), *_of_output(weighted_metrics, output)):
            _refuse("metric", one, demand_of_metric(one, output.classes), output, model.name)


class ClassifierCompile:
    """Mixin for models whose `compile` knows the loss of a classifier, and refuses one that does not fit its output.

    No `keras.Model` itself: Keras makes those that functional models are derived from functional, too.
    """

    # No property: Keras would look into it for weights when it loads a file, without end.
    def get_classifier(self) -> Any:
        """The model whose output is judged; this one, unless it trains another."""
        return self

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = "auto",
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **options: Any,
    ) -> None:
        """As for every Keras model, but that a classifier knows its loss.

        Args:
            optimizer: a name or an object; one of this package scales the loss where a layer computes in float16.
            loss: "auto" is the cross-entropy that fits the output, of labels (B,) or (B, K), see `ClassificationLoss`:
                over a softmax, or with `classifier_activation="sigmoid"` or a single class over a sigmoid. Without a
                head there is none.
            loss_weights: as for Keras.
            metrics: as for Keras.
            weighted_metrics: as for Keras.
            **options: of Keras' `compile`.

        Raises:
            ValueError: the loss or a metric takes probabilities and the output is logits, or the other way round.
        """
        if options.get("auto_scale_loss", True) and computes_in_float16(self.get_classifier()):
            optimizer = keras.optimizers.get(optimizer)
            optimizer = getattr(optimizer, "with_loss_scaling", lambda: optimizer)()
        loss = default_loss(self.get_classifier()) if isinstance(loss, str) and loss == "auto" else loss
        check_compile(self.get_classifier(), loss, metrics, weighted_metrics)
        super().compile(optimizer, loss, loss_weights, metrics, weighted_metrics, **options)  # type: ignore[misc]

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as `get_compile_config` says; where loss or metrics do not fit the output, without them.

        Args:
            config: see above.
        """
        arguments = keras.saving.deserialize_keras_object(config)
        judged = ("loss", "metrics", "weighted_metrics")
        try:
            check_compile(self.get_classifier(), *(arguments[name] for name in judged))
        except ValueError as error:
            warnings.warn(f"The model is loaded without loss and metrics; compile it anew. {error}", stacklevel=2)
            arguments |= dict.fromkeys((*judged, "loss_weights"))
        self.compile(**arguments)
        if self.optimizer is not None:  # type: ignore[attr-defined]
            self.optimizer.build(self.trainable_variables)  # type: ignore[attr-defined]


def computes_in_float16(model: keras.Model) -> bool:
    """Whether gradients of a model can be too small for the dtype of a layer, so that its loss must be scaled."""
    return any(layer.compute_dtype == "float16" for layer in (model, *layers_inside(model)))


def _may_be_wrong(model: keras.Model, loss: Any, metrics: Any) -> bool:
    """Whether it is worth calling a model that is not functional to see what it puts out."""
    functional = [layer for layer in model.layers if getattr(layer, "outputs", None)]
    if any(output.kind == PROBABILITIES for layer in functional for output in classifier_outputs(layer)):
        return True
    demands = [demand_of_loss(one, 2) for one in keras.tree.flatten(loss)]
    demands += [demand_of_metric(one, 1) for one in keras.tree.flatten(metrics)]
    return any(demand is not None and demand.takes != LOGITS for demand in demands)


def _of_output(given: Any, output: Output) -> list[Any]:
    """The losses or metrics of one output, of what `compile` takes for all."""
    if output.count > 1:
        if isinstance(given, Mapping):
            given = [given[name] for name in output.names if name in given]
        elif isinstance(given, (list, tuple)):
            given = given[output.index] if len(given) == output.count else None
    return [one for one in keras.tree.flatten(given) if one is not None]


def _refuse(what: str, given: Any, demand: Demand | None, output: Output, model: str) -> None:
    if demand is None or demand.takes == output.kind:
        return
    activation = "sigmoid" if output.classes == 1 else "softmax"
    other = f'create the model with classifier_activation="{activation}"' if output.kind == LOGITS else "leave it out"
    name = repr(given) if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
    raise ValueError(
        f"The {what} {name} takes {demand.takes}, but the output of the model {model!r} is {output.kind}; "
        f"{demand.instead or other}."
    )


def check_outermost_model(head: keras.layers.Layer) -> None:
    """Checks the model that is trained or evaluated, once after it was compiled, if a head's call is part of that.

    Args:
        head: a layer that gives logits, in its call.

    Raises:
        ValueError: as `check_compile`.
    """
    model = keras_private.outermost_model(head)
    if model is None or not model.compiled or not (model.train_function or model.test_function):
        return
    compilation = keras_private.compilation(model)
    if _CHECKED.get(model) is compilation:
        return
    # Noted first, since looking for the outputs calls the head again.
    _CHECKED[model] = compilation
    try:
        check_compile(model, model.loss, *keras_private.compiled_metrics(model))
    except ValueError as error:
        del _CHECKED[model]
        raise keras_private.keep_short(error) from None


def _symbolic_outputs(model: keras.Model) -> Any:
    """Outputs of a model as symbolic tensors, also of one that is not functional; nothing where they cannot be had."""
    if getattr(model, "outputs", None):
        return model.outputs if isinstance(model, keras.Sequential) else model.output
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        return []
    return _called(model, (keras.tree.map_shape_structure(lambda shape: keras.Input(batch_shape=shape), shapes),), {})


def _called(model: keras.Model, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `call` of a model makes of symbolic tensors; nothing if it computes with other operations than Keras'."""
    try:
        return model.call(*args, **kwargs)
    except Exception:
        return []


def _find_activation(tensor: Any) -> str | None:
    """What the answer of a classifier went through last, "linear", "softmax" or "sigmoid"; None of other tensors."""
    if not isinstance(tensor, keras.KerasTensor):
        return None
    operation, index, args, kwargs = keras_private.producer(tensor)
    if isinstance(operation, keras.layers.TimeDistributed):
        operation = operation.layer
    if isinstance(operation, ClassifierHead):
        return _name_of(operation.activation)
    if getattr(operation, "gives_logits", False):
        return _LINEAR
    if isinstance(operation, keras.Model):
        functional = getattr(operation, "outputs", None)
        inner = _symbolic_outputs(operation) if functional else _called(operation, args, kwargs)
        return next((_find_activation(x) for i, x in enumerate(keras.tree.flatten(inner)) if i == index), None)
    before = {_find_activation(x) for x in keras.tree.flatten((args, kwargs)) if isinstance(x, keras.KerasTensor)}
    if len(before) != 1 or None in before:
        return None
    name = type(operation).__name__
    if name == "Activation":
        activation = _name_of(operation.activation)
        return before.pop() if activation == _LINEAR else activation
    return _ACTIVATING.get(name) or (before.pop() if name in _KEEPING else None)


def _name_of(activation: Any) -> str | None:
    name = getattr(activation, "__name__", None)
    return name if name in (_LINEAR, *_ACTIVATING.values()) else None
