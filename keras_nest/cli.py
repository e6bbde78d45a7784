"""The `keras-nest` command: thin, every sub-command calls the room that does the work."""

import argparse
import sys
from collections.abc import Sequence

import keras
from rich.table import Table

from keras_nest import registry
from keras_nest.console import add_trust_argument, console, print_facts, run
from keras_nest.data import command as data
from keras_nest.explain import command as explain
from keras_nest.models import read_model
from keras_nest.predict import command as predict
from keras_nest.zero_shot import command as zero_shot


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `keras-nest`.

    Args:
        argv: arguments without the program's name; None takes them from the command line.

    Returns:
        Exit code: 0, or 2 for bad input.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["train"]:
        # Training has a command line of its own (absl flags); it is handed over whole.
        from keras_nest.training import main as training

        training.run(["keras-nest train", *argv[1:]])
        return 0
    args = _parser().parse_args(argv)
    return run(lambda: args.command(args))


def _parser() -> argparse.ArgumentParser:
    from conversion import cli as converter
    from conversion import published_cli as published
    from export import cli as exporter

    parser = argparse.ArgumentParser(prog="keras-nest", description="NesT, ViT and MLP-Mixer for Keras 3.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="table of models")
    listing.add_argument("pattern", nargs="?", help="glob, such as '*_s16_32', or 'sam/*' with --urls")
    listing.add_argument("--urls", action="store_true", help="table of published checkpoints instead")
    listing.set_defaults(command=lambda args: published.print_table(args.pattern) if args.urls else _list(args))
    info = commands.add_parser("info", help="parameters, multiply-adds, input, preprocessing and layers of a model")
    info.add_argument("name", help="model name, or a .keras file")
    add_trust_argument(info)
    info.set_defaults(command=_info)
    convert = commands.add_parser("convert", help="checkpoint to Keras and back", description=converter.DESCRIPTION)
    converter.add_arguments(convert)
    convert.set_defaults(command=converter.main)
    away = commands.add_parser("export", help="to SavedModel, TFLite or ONNX", description=exporter.DESCRIPTION)
    exporter.add_arguments(away)
    away.set_defaults(command=exporter.main)
    fetch = commands.add_parser("download", help="published checkpoint to a local directory")
    published.add_arguments(fetch)
    fetch.set_defaults(command=published.main)
    answers = commands.add_parser("predict", help="the most probable classes of images")
    predict.add_arguments(answers)
    answers.set_defaults(command=predict.main)
    texts = commands.add_parser(
        "zero-shot", help="which of some texts fits an image", description=zero_shot.DESCRIPTION
    )
    zero_shot.add_arguments(texts)
    texts.set_defaults(command=zero_shot.main)
    reasons = commands.add_parser(
        "explain", help="where in an image an answer comes from", description=explain.DESCRIPTION
    )
    explain.add_arguments(reasons)
    reasons.set_defaults(command=explain.main)
    pictures = commands.add_parser("data", help="facts, augmented images and speed of a data set and a recipe")
    data.add_arguments(pictures)
    pictures.set_defaults(command=data.main)
    commands.add_parser("train", help="train, fine-tune, evaluate: --config=FILE --workdir=DIR")
    return parser


def _list(args: argparse.Namespace) -> int:
    names = registry.list_models(args.pattern)
    if "testing" not in (args.pattern or ""):
        names = [name for name in names if not name.startswith("testing")]
    if not names:
        raise ValueError(f"No model matches {args.pattern!r}; `keras-nest list` shows all.")
    aliases = {name: alias for alias, name in registry.ALIASES.items()}
    # Without lines between the columns, and with rounded numbers, all rows are whole in a terminal of 80 columns.
    table = Table("name", "alias", "architecture", "input", "classes", "params", box=None, pad_edge=False)
    for column in table.columns[3:]:
        column.justify = "right"
    for column in table.columns[:2]:
        column.no_wrap = True
    for name in names:
        _, architecture, fields = registry.resolve(name)
        size, classes = str(fields["image_size"]), str(fields.get("num_classes", ""))
        parameters = f"{registry.PARAMETERS[name] / 1e6:.1f} M"
        table.add_row(name, aliases.get(name, ""), architecture.__name__, size, classes, parameters)
    console.print(table)
    return 0


def _info(args: argparse.Namespace) -> int:
    from keras_nest import profiling

    is_file = args.name.endswith(".keras")
    model = read_model(args.name, args.trust) if is_file else registry.create_model(args.name)
    spec = model.config["preprocessing"] or {}
    facts = {
        "architecture": type(model).__name__,
        "parameters": profiling.count_parameters(model),
        "multiply-adds": profiling.count_macs(model),
        "input": ", ".join(" x ".join(map(str, x.shape[1:])) for x in model.inputs),
        "output": str(keras.tree.map_structure(lambda x: x.shape, model.output)),
        "preprocessing": ", ".join(f"{name} {value}" for name, value in spec.items()) or "none",
    }
    hidden = ("preprocessing", "image_size", "in_channels", "features_only", "num_classes")
    facts |= {field: value for field, value in model.config.items() if field not in hidden}
    print_facts(model.name if is_file else registry.resolve(args.name)[0], facts)
    table = Table("layer", "type", "output", "parameters")
    table.columns[3].justify = "right"
    for layer in model.layers:
        output = layer.output[0] if isinstance(layer.output, (list, tuple)) else layer.output
        table.add_row(layer.name, type(layer).__name__, str(tuple(output.shape)), f"{layer.count_params():,}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
