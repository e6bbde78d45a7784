"""Training configurations: the directory `configs/` of a checkout, which the wheel has in the place of this file."""

import pathlib

# What makes a module a package: where its modules lie.
__path__ = [str(pathlib.Path(__file__).resolve().parents[1] / "configs")]
