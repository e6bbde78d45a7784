"""Starts the commands: help at once, and none of the notes that TensorFlow writes when it is imported.

`import keras_nest` imports Keras and TensorFlow, since Keras must know all classes before it reads a file. Here the
package is made known to Python before its `__init__` runs, so that its modules which need neither, such as the parser
of the commands, can be imported at once. That must be done from outside the package, hence this module beside it.
"""

import argparse
import contextlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence


def main() -> int:
    """The `keras-nest` command; help, completion and wrong usage end it before Keras and TensorFlow are imported."""
    _add_package()
    from keras_nest.cli.commands import execute, parse
    from keras_nest.console import run
    from keras_nest.startup import check_limits

    args = parse()
    if code := run(check_limits):
        return code
    with quiet_start(_backend(args)):
        pass
    return execute(args)


@contextlib.contextmanager
def quiet_start(backend: str | None = None) -> Iterator[None]:
    """Imports keras_nest on TensorFlow; what this and the block write to the standard error meanwhile is hidden.

    Args:
        backend: of Keras, as for `keras_nest.startup.choose_backend`.
    """
    _add_package()
    from keras_nest.startup import choose_backend, hide_import_notes, without_optional_packages

    choose_backend(backend)
    with hide_import_notes():
        with without_optional_packages():
            _run_init()
        yield


def quiet_when_run() -> contextlib.AbstractContextManager[None]:
    """`quiet_start` for a package that is being run with `python -m`; nothing where it is imported."""
    return quiet_start() if sys.argv[:1] == ["-m"] else contextlib.nullcontext()


def asked_backend(words: Sequence[str]) -> str | None:
    """As `keras_nest.startup.asked_backend`."""
    _add_package()
    from keras_nest import startup

    return startup.asked_backend(words)


def _backend(args: argparse.Namespace) -> str | None:
    """What a command asks for; none but `train` does."""
    return asked_backend(args.flags) if args.command == "train" else None


def _add_package() -> None:
    """Makes modules of keras_nest importable, without running its `__init__`."""
    if "keras_nest" not in sys.modules:
        spec = importlib.util.find_spec("keras_nest")
        assert spec is not None
        sys.modules["keras_nest"] = importlib.util.module_from_spec(spec)


def _run_init() -> None:
    """Runs the `__init__` of keras_nest, unless it has been run."""
    package = sys.modules["keras_nest"]
    if not hasattr(package, "__all__"):
        package.__spec__.loader.exec_module(package)
