"""`keras-nest app`: a page on this machine that asks a model about images."""

import argparse
import os
import sys
import webbrowser

from keras_nest.app.examples import find_examples
from keras_nest.app.model import open_app_model
from keras_nest.app.server import Server


def main(args: argparse.Namespace) -> int:
    """Serves the page until it is interrupted.

    Raises:
        ValueError: the model is none that classifies images, or there is no such port.
        OSError: the model is not there, or the port is in use.
        ModuleNotFoundError: a LiT needs tensorflow-text, which is not installed.
    """
    # Reading a large model takes long; a port that is in use is told before.
    with Server(args.port) as server:
        server.model = open_app_model(args.model, args.weights, args.labels, args.vocab, args.trust)
        server.show(find_examples(args.model))
        print(server.address, flush=True)
        print("For this machine alone; Ctrl-C ends it.", flush=True)
        if not args.no_browser and _has_screen():
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
        finally:
            server.model.close()
    return 0


def _has_screen() -> bool:
    """Whether a browser has a window; one in a terminal would take this one."""
    return not sys.platform.startswith("linux") or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
