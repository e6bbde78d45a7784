"""The plan of the house: who imports whom, what importing costs, and that the public API is documented."""

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A room imports rooms of its own or a lower floor.
FLOORS = {
    "files": 0,
    "keras_private": 0,
    "console": 0,
    "figures": 0,
    "names": 0,
    "hints": 0,
    "layers": 1,
    "models": 2,
    "registry": 3,
    "tokenizers": 3,
}
FLOORS |= dict.fromkeys(["preprocessing", "data", "profiling", "training", "explain", "hub", "tflite", "trained"], 4)
FLOORS |= {"pixels": 3, "value_range": 3}
FLOORS |= {"predict": 4, "zero_shot": 4, "cli": 5, "__init__": 5}
# The packages beside the library, and the two doors through which the library may enter them, when it is called.
OUTSIDE = {"conversion", "export", "configs", "train_keras", "benchmarks", "examples", "tests"}
DOORS = {"registry.py", "cli.py"}
HEAVY = ["flax", "jax", "matplotlib", "orbax", "pandas", "sklearn", "tensorflow_datasets", "tensorflow_hub"]
HEAVY += ["tensorflow_text"]
PRESCRIBED = {"call", "build", "get_config", "compute_output_shape", "compute_output_spec"}


def imports(path):
    """(full name, whether inside a function) of everything that a file imports."""

    def visit(node, lazy):
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from ((f"{node.module}.{alias.name}", lazy) for alias in node.names)
        lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in ast.iter_child_nodes(node):
            yield from visit(child, lazy)

    return list(visit(ast.parse(path.read_text()), False))


def sources(folder):
    """Python files below a folder, relative to it."""
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return [path.relative_to(ROOT / folder) for path in found]


def top(module):
    return module.split(".")[0]


class TestImportDirections:
    @pytest.mark.parametrize("path", sources("keras_nest"), ids=str)
    def test_rooms_import_downwards(self, path):
        floor = FLOORS[path.parts[0].removesuffix(".py")]
        for module, _ in imports(ROOT / "keras_nest" / path):
            package, _, inner = module.partition(".")
            if package == "keras_nest":
                room = top(inner) if top(inner) in FLOORS else "__init__"
                assert FLOORS[room] <= floor, f"{path} imports {module}"

    @pytest.mark.parametrize("path", sources("keras_nest"), ids=str)
    def test_the_library_enters_other_packages_through_two_doors(self, path):
        entered = [entry for entry in imports(ROOT / "keras_nest" / path) if top(entry[0]) in OUTSIDE]
        if str(path) in DOORS:
            entered = [(module, lazy) for module, lazy in entered if not lazy]
        assert entered == []

    @pytest.mark.parametrize("room", ["layers", "models"])
    def test_layers_and_models_do_not_need_tensorflow(self, room):
        folder = f"keras_nest/{room}"
        found = [(str(path), *entry) for path in sources(folder) for entry in imports(ROOT / folder / path)]
        users = {(file, lazy) for file, module, lazy in found if top(module) == "tensorflow"}
        assert users == {("random.py" if room == "layers" else "first_batch.py", True)}

    def test_the_flax_reference_stands_alone(self):
        for path in sources("conversion/flax_reference"):
            used = {module for module, _ in imports(ROOT / "conversion/flax_reference" / path)}
            assert not {"keras", "tensorflow", "keras_nest"} & {top(module) for module in used}
            assert all(module.startswith("conversion.flax_reference") for module in used if top(module) == "conversion")


def test_importing_loads_nothing_heavy():
    """Beyond what Keras loads itself; converting and exporting need none of it either."""
    script = (
        "import sys, keras\nbefore = set(sys.modules)\n"
        "import keras_nest, keras_nest.cli, keras_nest.training.main, conversion.cli, export\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules and name not in before))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.split() == []


def modules():
    """Every module of the packages that are installed."""
    for name in ("keras_nest", "conversion", "export", "configs"):
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
