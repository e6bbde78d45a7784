"""What can be chosen by name on command lines and in functions; apart, since it costs nothing to import."""

ACTIVATIONS = ("softmax", "sigmoid")
"""What makes probabilities of logits."""

NO_ACTIVATION = "none"
"""For files that give the logits themselves."""

AUGMENTS = ("crop", "shift", "none")
"""What fine-tuning does to training images."""

BACKENDS = ("tensorflow", "jax")
"""What Keras trains with."""

BROKEN = ("refuse", "skip", "unchecked")
"""What to do about files in class folders that are no images."""

CLASS_WEIGHTS = ("none", "balanced")
"""How much the classes count in fine-tuning."""

LOSSES = ("cross_entropy", "focal")
"""What fine-tuning minimizes."""

SAMPLINGS = ("shuffled", "balanced")
"""How often the classes come up in fine-tuning."""

EXPLAIN_METHODS = ("gradcat", "attention", "cam")
"""Explanations of `keras-nest explain`."""

EXPORT_FORMATS = ("saved_model", "tflite", "onnx", "keras", "web")
"""Formats of `keras-nest export`."""

HEADS = ("classifier", "none")
"""Outputs of an exported model: its own, or the features below its head."""

INPUT_TYPES = ("float32", "uint8")
"""Inputs of an ONNX file: images of the model's size in [0, 1], or levels of any size, prepared inside."""

LAYOUTS = ("linen", "pre_linen")
"""Names of the tensors of a Flax checkpoint: today's, or those of the first ViT files."""

OPTIMIZATIONS = ("cpu",)
"""What a SavedModel can be optimized for."""

SAVED_MODEL_PRECISIONS = ("float32", "bfloat16")
"""What an optimized SavedModel computes in."""

RECIPES = ("nest", "nest_imagenet", "nest_cifar", "vit", "mixer", "shift", "plain")
"""Augmentation."""

RESIZE_METHODS = ("block", "grid", "timm", "transformers")
"""Resizing of position embeddings: each block for itself, or the map of all blocks, linearly; bicubic as others do."""

ON_ONE_MACHINE = ("auto", "one_device", "mirrored")
"""Where fine-tuning runs."""

TASKS = ("single-label", "multi-label", "regression")
"""What is told of an image: one class, several or none, a number."""

TRACKERS = ("wandb", "mlflow")
"""Where the history of a training goes, too."""

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker", "tpu")
"""Where a training runs."""


WEB_PRECISIONS = ("float16", "float32", "dynamic_int8")
"""Weights of a network in a page; the first is the default."""
