"""The arguments of `keras-nest export` and `publish`; they need neither Keras nor TensorFlow."""

import argparse

from keras_nest import choices
from keras_nest.cli.model_arguments import add_model_arguments


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number, nor several with commas between, such as 1,8"
        ) from None


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `export`."""
    add_model_arguments(parser, positional=True, labels=True, vocab=True)
    parser.add_argument("--format", required=True, choices=choices.EXPORT_FORMATS, help="what to write")
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="SavedModels lie in DIR/1, DIR/2, …; other files in DIR, or in FILE.onnx, FILE.keras; gs://… too",
    )
    parser.add_argument(
        "--activation",
        choices=(*choices.ACTIVATIONS, choices.NO_ACTIVATION),
        help="of the probabilities (default: that of the training, else softmax; of ONNX, what the model gives); none "
        "for a TFLite or ONNX file with logits",
    )
    parser.add_argument(
        "--head", choices=choices.HEADS, help="none for the embedding below the head (default: classifier)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the newest SavedModel, files, or page")
    parser.add_argument(
        "--precision",
        action="append",
        metavar="P[,P…]",
        help="of TFLite files: float32, float16, dynamic_int8 (these by default), static_int8, int8; of a page one of "
        "the first three (default: float16); of an optimized SavedModel float32 or bfloat16 (default: its own)",
    )
    saved = parser.add_argument_group("SavedModel")
    saved.add_argument("--archive", action="store_true", default=None, help="write DIR/N.tar.gz too, for TF-Hub")
    saved.add_argument("--no-warm-up", action="store_true", default=None, help="no requests that warm TF-Serving up")
    saved.add_argument(
        "--optimize",
        choices=choices.OPTIMIZATIONS,
        help="cpu: faster on servers without an accelerator; a file for inference, without embed and features",
    )
    lite = parser.add_argument_group("TFLite")
    lite.add_argument(
        "--batch-size",
        type=_sizes,
        metavar="N[,N…]",
        help="images at a time, fixed in the file (default: 1); of several numbers each has a signature, see the guide",
    )
    lite.add_argument(
        "--representative",
        metavar="DATA",
        help="for static_int8 and int8: digits, DIR with DIR/{train,test}/CLASS/, or a name of TFDS",
    )
    onnx = parser.add_argument_group("ONNX")
    onnx.add_argument(
        "--input-type",
        choices=choices.INPUT_TYPES,
        help="uint8 for levels of any size, resized, cropped and normalized inside (default: float32 in [0, 1])",
    )
    web = parser.add_argument_group("page (web)")
    web.add_argument("--title", metavar="TEXT", help="what the page is called (default: the name of the model)")
    web.add_argument(
        "--examples", nargs="*", metavar="IMAGE", help="to begin with (default: two photographs); without any, none"
    )
    web.add_argument(
        "--templates",
        metavar="FILE",
        help="of a LiT's page: sentences with {} for the label, one a line (default: those of the training)",
    )
    web.add_argument(
        "--litert",
        metavar="DIR|npm|cdn",
        help="where LiteRT.js comes from: a folder that npm pack or npm install filled, npm, or the page fetches it "
        "(default: npm if it is there, else cdn)",
    )


def add_publish_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `publish`."""
    add_model_arguments(parser, positional=True, labels=True, vocab=True)
    parser.add_argument("handle", metavar="HANDLE", help="hf://OWNER/NAME, where it shall lie")
    parser.add_argument("--private", action="store_true", help="others shall not see it")
    parser.add_argument("--card", metavar="FILE", help="model card in Markdown (default: one is written)")
    parser.add_argument(
        "--license",
        default="other",
        metavar="ID",
        help="of the weights, as the hub calls it, such as apache-2.0 (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what the repository has under these names")
