"""A second name for a package, with one copy of each of its modules in memory."""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence


def add_alias(alias: str, package: str) -> None:
    """Makes a package, and all modules below it, importable under another name too.

    Args:
        alias: the other name, such as "conversion".
        package: full name of the package, such as "keras_nest.conversion".
    """
    sys.meta_path.insert(0, _AliasFinder(alias, package))
    if alias in sys.modules:
        # The package that asks for it is being imported under the other name.
        sys.modules[alias] = importlib.import_module(package)


class _AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds `alias.module` as `package.module`."""

    def __init__(self, alias: str, package: str) -> None:
        self._alias, self._package = alias, package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._alias and not fullname.startswith(f"{self._alias}."):
            return None
        found = importlib.util.find_spec(self._package + fullname.removeprefix(self._alias))
        if found and fullname.endswith(".__main__"):
            # `python -m` runs the file itself.
            return importlib.util.spec_from_file_location(fullname, found.origin)
        return found and importlib.machinery.ModuleSpec(fullname, self, loader_state=found)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return importlib.import_module(spec.loader_state.name)

    def exec_module(self, module: types.ModuleType) -> None:
        # The import system has written the specification of the alias on the module, which it keeps its own.
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state
