"""Packages that only some functions need, imported when they do."""

import importlib
from typing import Any


def import_optional(module: str, purpose: str, package: str) -> Any:
    """Imports a module of another package.

    Args:
        module: its full name.
        purpose: beginning of the sentence that says what it is for, such as "ONNX files are written by tf2onnx".
        package: what brings it: a package of its own, or in brackets an extra of this one, such as "[onnx]".

    Raises:
        ModuleNotFoundError: it is not installed; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        message = f"{purpose}, which is not installed: {install_command(package)}"
        raise ModuleNotFoundError(message, name=error.name) from error


def install_command(package: str) -> str:
    """How to install a package, or an extra of this one, as `import_optional` takes it.

    >>> install_command("matplotlib")
    'pip install matplotlib'
    """
    if not package.startswith("["):
        return f"pip install {package}"
    return f"pip install 'keras-nest{package}', or in a checkout pip install '.{package}'"
