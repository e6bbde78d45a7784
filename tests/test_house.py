"""That the public API is documented; import-linter checks who imports whom, test_packaging.py what that costs."""

import ast
import importlib
import inspect
import os
import pkgutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRESCRIBED = {"call", "build", "get_config", "compute_output_shape", "compute_output_spec"}


def test_layers_and_models_do_not_need_tensorflow():
    """They run on every backend of Keras; what needs TensorFlow imports it inside a function."""
    for folder in ("layers", "models"):
        for path in sorted((ROOT / "keras_nest" / folder).rglob("*.py")):
            for node in ast.parse(path.read_text()).body:
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) else []
                assert not [name for name in names if name.split(".")[0] == "tensorflow"], path


def modules():
    """Every module of the packages that are installed."""
    for name in ("keras_nest", "configs"):
        package = importlib.import_module(name)
        yield package
        for info in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not info.name.endswith("__main__"):
                yield importlib.import_module(info.name)


def functions_of(owner, names=lambda name: not name.startswith("_")):
    """(name, plain function) of the functions and methods written in a module or class."""
    for name, value in vars(owner).items():
        value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        value = inspect.unwrap(value) if callable(value) else value
        if (
            names(name)
            and inspect.isfunction(value)
            and value.__module__ == getattr(owner, "__module__", owner.__name__)
        ):
            yield name, value


def public_api():
    """(qualified name, object, whether its documentation is prescribed elsewhere)."""
    for module in modules():
        for name, function in functions_of(module):
            yield f"{module.__name__}.{name}", function, False
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and not name.startswith("_"):
                yield f"{module.__name__}.{name}", value, False
                for method, function in functions_of(value):
                    # `getdoc` finds what a base class says.
                    documented = method in PRESCRIBED or inspect.getdoc(getattr(value, method)) is not None
                    yield f"{module.__name__}.{name}.{method}", function, documented
                for method, function in functions_of(value, names={"__init__", "__call__"}.__contains__):
                    yield f"{module.__name__}.{name}.{method}", function, True


def test_public_api_is_documented():
    missing = [name for name, value, prescribed in public_api() if not prescribed and not value.__doc__]
    assert missing == []


def test_public_api_is_annotated():
    missing = []
    for name, value, _ in public_api():
        if inspect.isfunction(value):
            given = set(value.__annotations__)
            needed = {p for p in inspect.signature(value).parameters if p not in ("self", "cls")} | {"return"}
            missing += [f"{name}: {p}" for p in sorted(needed - given)]
    assert missing == []


def test_no_file_names_a_path_of_one_machine():
    paths = [f"/{folder}/".encode() for folder in ("work", "root")]
    guilty = []
    for folder, folders, files in os.walk(ROOT):
        generated = ("__pycache__", "runs", "build", "dist", ".egg-info")
        folders[:] = [name for name in folders if not name.startswith(".") and not name.endswith(generated)]
        for file in (Path(folder) / name for name in files):
            if any(path in file.read_bytes() for path in paths):
                guilty.append(str(file.relative_to(ROOT)))
    assert guilty == []
