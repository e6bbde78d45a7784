"""A complete train step of every model family: forward pass, loss, gradients, clipping, update, average, metrics."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

import keras_nest
from keras_nest.data import DatasetInfo, create_recipe
from keras_nest.metrics import accuracy
from keras_nest.models.losses import cross_entropy
from keras_nest.training import AdamW, Momentum, SharpnessAware, Trainer
from keras_nest.training.contrastive import ContrastiveTrainer


@dataclasses.dataclass(frozen=True)
class Case:
    """A train step.

    Attributes:
        model: name for `create_model`.
        batch: images.
        fields: of the model.
        trainer: arguments of `Trainer`.
        optimizer: "adamw" or "momentum", as the paper of the family has it.
        on_device: images come as uint8 and are normalized, erased and mixed in the step.
        policy: dtype policy.
        cores: that the step runs on, of JAX alone; TensorFlow has a program for each core.
        model_parallel: cores among which the weights are divided.
    """

    model: str
    batch: int = 8
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trainer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimizer: str = "adamw"
    on_device: bool = False
    policy: str = "mixed_bfloat16"
    cores: int = 1
    model_parallel: int = 1


_NEST = {"image_size": 32, "num_classes": 10, "embedding_dim": 16, "num_heads": 2, "num_layers_per_block": (1, 1, 1)}
_WIDTHS = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "mlp_dim": 64}
_VIT = {"image_size": 32, "num_classes": 10, **_WIDTHS}
_LIT = {
    "image_size": 32,
    "image_model": {**_WIDTHS, "patch_size": 4, "num_classes": 24},
    "text_model": {**_WIDTHS, "vocab_size": 100, "out_dim": 24},
}
_RESNET_STEM = {"image_size": 64, "resnet_num_layers": (1, 1), "patch_size": 1}
CASES = {
    "NesT": Case("nest_tiny_s16_32", fields={**_NEST, "stochastic_depth_drop": 0.2}, on_device=True),
    "NesT, SAM, float32": Case(
        "nest_tiny_s16_32", fields=_NEST, trainer={"sharpness": SharpnessAware(0.05, 0.02, 0.1, 1e-3)}, policy="float32"
    ),
    "vit-flax NesT": Case("vit_flax_nest", fields={"image_size": 32, "num_classes": 10, "dim": 16}),
    "ViT": Case(
        "ViT-B_16",
        fields={**_VIT, "patch_size": 4, "dropout_rate": 0.1},
        trainer={"accum_steps": 2},
        optimizer="momentum",
    ),
    "ViT hybrid": Case("R26+ViT-B_32", fields={**_VIT, **_RESNET_STEM}, optimizer="momentum"),
    "MLP-Mixer": Case(
        "Mixer-B_16", fields={"image_size": 32, "num_classes": 10, "num_blocks": 2}, optimizer="momentum"
    ),
    "ResNet": Case("resnet18_cifar", optimizer="momentum", policy="float32"),
    "LiT": Case("LiT-B16B", fields=_LIT),
}
"""The families, small: what compiles depends on the operations, not on their sizes."""
FULL_SIZE = {"NesT-T 224, batch 64": Case("nest_tiny_s196_224", batch=64, fields={"stochastic_depth_drop": 0.2})}
"""What it takes at a size that is trained; minutes on two cores."""
FULL_SIZE_ON_JAX = {
    "ViT-H/14 224, batch 8, JAX, 4 cores": Case("ViT-H_14", optimizer="momentum", cores=4, model_parallel=4)
}
"""Likewise, of a model whose state one core of a v5e hardly holds."""
_DIVIDED = {"cores": 4, "model_parallel": 2}
ON_JAX = {
    **{
        f"{name}, JAX": dataclasses.replace(case, on_device=False)
        for name, case in CASES.items()
        if "sharpness" not in case.trainer
    },
    "ViT, JAX, 2 x 2 cores": dataclasses.replace(CASES["ViT"], **_DIVIDED),
}
"""What trains on JAX; of several cores each pair has other images, and each of a pair half of the weights."""


def trainer_of(case: Case) -> Trainer:
    """The trainer of a case, compiled."""
    model = keras_nest.create_model(case.model, dtype=case.policy, **case.fields)
    prepare = None
    if case.on_device:
        info = DatasetInfo("images", tuple(map(str, range(model.num_classes))), (None, None, 3), 1000, 100)
        recipe = create_recipe("nest_imagenet", info, model.image_size)

        def prepare(sent: tuple[tf.Tensor, tf.Tensor], labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return recipe.finish(sent[0], labels, sent[1], model.num_classes)

    is_lit = isinstance(model, keras_nest.LiT)
    trainer = (ContrastiveTrainer if is_lit else Trainer)(model, clip_norm=1.0, **case.trainer)
    trainer.prepare = prepare
    schedule = keras_nest.training.WarmupDecay(1e-3, steps_per_epoch=100, num_epochs=10, warmup_epochs=1)
    average = {"use_ema": True, "ema_momentum": 0.999}
    if case.optimizer == "adamw":
        optimizer = AdamW(schedule, weight_decay=0.05, **average)
    else:
        optimizer = Momentum(schedule, accumulator_dtype="bfloat16", **average)
    objective = {} if is_lit else {"loss": cross_entropy, "metrics": [accuracy]}
    trainer.compile(optimizer, **objective)
    return trainer


def batch_of(case: Case, trainer: Trainer) -> tuple[Any, tf.Tensor]:
    """A batch of zeros: images, with `on_device` uint8 images and keys, for LiT images and tokens; and labels."""
    shape, labels = (case.batch, *trainer.model.image_size, 3), tf.zeros((case.batch,), tf.int32)
    if case.on_device:
        return (tf.zeros(shape, tf.uint8), tf.zeros((case.batch, 2), tf.int64)), labels
    if isinstance(trainer.model, keras_nest.LiT):
        tokens = tf.zeros((case.batch, trainer.model.text_model.max_len), tf.int32)
        return {"images": tf.zeros(shape), "tokens": tokens}, labels
    return tf.zeros(shape), labels


def step_of(trainer: Trainer, batch: tuple[Any, tf.Tensor]) -> Any:
    """The train step as one XLA program: images, labels -> metrics."""
    trainer.build_metrics(tf.nest.map_structure(tf.TensorSpec.from_tensor, batch), trainer.prepare)
    return tf.function(lambda images, labels: trainer.train_step((images, labels)), jit_compile=True, autograph=False)


def operations(function: Any) -> list[Any]:
    """Nodes of a traced function and of all functions that it calls.

    Args:
        function: what `tf.function` traces for given arguments.
    """
    graph = function.graph.as_graph_def()
    return [*graph.node, *(node for inner in graph.library.function for node in inner.node_def)]
