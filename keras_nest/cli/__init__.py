"""The `keras-nest` command."""

from keras_nest.cli.commands import main

__all__ = ["main"]
