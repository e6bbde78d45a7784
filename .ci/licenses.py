"""Licenses of all that an installation with all extras brings; fails for one that is not on the list of `ALLOWED`.

`make licenses` writes them into results/licenses.csv, from where they come into docs/development/dependencies.md;
with --check they must be those that stand there.
"""

import argparse
import csv
import importlib.metadata
import pathlib
import re
import sys
import tomllib
from collections.abc import Iterator

from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parents[1]
TABLE = ROOT / "results" / "licenses.csv"
# Of SPDX; "BSD" is one of the BSD licenses where a package does not say which. Copyleft is of single files at most
# (MPL), and those are used as they are.
ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "MIT",
    "MIT-CMU",
    "MPL-2.0",
    "PSF-2.0",
    "Zlib",
}
# What packages write instead, in their classifiers or where the name of a license belongs.
_SPDX = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD 3-Clause": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
# Their files have the license, their metadata do not.
_BY_HAND = {"namex": "Apache-2.0"}


def main() -> None:
    """Writes or checks the table; ends with a message and status 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with the table instead of writing it")
    check = parser.parse_args().check
    found = {name: license_of(name) for name in dependencies()}
    refused = [f"{name}: {license}" for name, license in found.items() if not is_allowed(license)]
    if refused:
        sys.exit("\n".join(["Licenses that are not on the list of .ci/licenses.py:", *refused]))
    rows = [["package", "license"], *map(list, found.items())]
    if not check:
        with TABLE.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
    with TABLE.open(newline="", encoding="utf-8") as file:
        if (written := list(csv.reader(file))) != rows:
            changed = sorted(
                {name for name, *_ in [row for row in written + rows if row not in written or row not in rows]}
            )
            sys.exit(f"{TABLE.relative_to(ROOT)} is out of date for {', '.join(changed)}; run make licenses.")
    print(f"The licenses of {len(found)} packages are on the list.")


def dependencies() -> list[str]:
    """Names of what comes with all extras but `dev`, and with what they name in turn, as far as it is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    waiting += [Requirement(text) for extra, texts in extras.items() if extra != "dev" for text in texts]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        key = _normal(requirement.name), frozenset(requirement.extras)
        if key not in seen and _is_installed(key[0]):
            seen.add(key)
            waiting += _named_by(*key)
    return sorted({name for name, _ in seen})


def _named_by(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    for text in importlib.metadata.requires(name) or ():
        requirement = Requirement(text)
        if not requirement.marker or any(requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # of another system, or another version of Python
        return False
    return True


def license_of(name: str) -> str:
    """The license of an installed package, in the words of SPDX where its own are known."""
    metadata = importlib.metadata.metadata(name)
    classifiers = [
        text.split(" :: ")[-1] for text in metadata.get_all("Classifier") or () if text.startswith("License")
    ]
    # Some have the whole text there.
    line = (metadata.get("License") or "").strip().partition("\n")[0]
    short = line if line in _SPDX or (0 < len(line) < 20 and "=" not in line) else ""
    found = metadata.get("License-Expression") or _BY_HAND.get(name) or short or " AND ".join(classifiers) or "unknown"
    return _SPDX.get(found, found)


def is_allowed(expression: str) -> bool:
    """Whether all of a license, or one of those to choose from, is on the list."""
    return any(
        all(part.strip(" ()") in ALLOWED for part in choice.split(" AND ")) for choice in expression.split(" OR ")
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
