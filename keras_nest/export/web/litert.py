"""LiteRT.js, which computes TFLite files in browsers: the files of npm's packages that a page loads, at one version.

Each is known by its checksum, so that a page runs what it was tested with, wherever the files come from.
"""

import base64
import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import tarfile

from keras_nest.files import atomic_output, cache_folder

VERSION = "2.5.3"
CDN, NPM = "cdn", "npm"
"""Where the files may come from, beside a path: a page fetches them, or this machine's npm does."""
ADDRESS = "https://cdn.jsdelivr.net/npm"
PACKAGES = ("core", "wasm-utils")
NOTICE = f"""LiteRT.js {VERSION}, Copyright Google LLC, from the packages @litertjs/core and @litertjs/wasm-utils.
Licensed under the Apache License, Version 2.0: https://www.apache.org/licenses/LICENSE-2.0
Sources: https://github.com/google-ai-edge/LiteRT
"""
_SCOPE = "@litertjs"
# SHA-384, base64. Of the four builds of the WebAssembly a browser loads the one that it can run.
FILES = {
    "core/dist/index.js": "MapSVJ/DPwvaWpp7q+Bid9O3uY1oB0KOU1QRMP+Mm5zdz5oMme/BUyX6dVAMWnPg",
    "core/wasm/litert_wasm_compat_internal.js": "oh4nb8zDq6eVOpGeZE5gwDOJ16QujHLL8k/HEXt3XiPxr+8zn3YnkXP8P3BlJET1",
    "core/wasm/litert_wasm_compat_internal.wasm": "glAZ6WjS7tLRt89pbTPXvLC1c7DCaVSfL2ngn5gZJiUuPs76fWYJy7ZeFaD0PJXx",
    "core/wasm/litert_wasm_internal.js": "NB/Wc4iozynQO5jzJ2VFoMKbqMvwwFGWxJL/o63IJT6W2JfZbsSLxA2cF6H/mLpQ",
    "core/wasm/litert_wasm_internal.wasm": "AZ/Ak4CbDpjqpSr8WsnoL3Dcx6bDFA/k9b/jahok1TGHZ2OqIRjLBMiEmiNedhlC",
    "core/wasm/litert_wasm_jspi_internal.js": "Y6/AvIxciaLSzSWRJcd1FVuRAhc/f2HeaLQuYuwdN/Y0aipWnFoBrszL8JHT0GHD",
    "core/wasm/litert_wasm_jspi_internal.wasm": "FBGaMKCEjTkeIOEl4TMyiD0fjfNzVbruCGIwX4FQdVmfp4GBiSCTmniGAPU5olS+",
    "core/wasm/litert_wasm_threaded_internal.js": "yzheND5ZxfO4+9po2DFoaMqr56eo7p10JiuyDXIbNqi2MOTw/8AIm1CtEe5Dqz62",
    "core/wasm/litert_wasm_threaded_internal.wasm": "W0YLgt+poOZCNAm54r2Ga6K2PmHezmLMKtO5RvIFQtK8ji5wvIW56LEwGn4eH0Cb",
    "wasm-utils/dist/index.js": "HIPwlWsctS5BRqrnvJKDVJ8SvqKB0QmiImdr6+hpP7+8UqeMJX/qrBkdfKQV2WZ/",
}
_COMMAND = "npm pack " + " ".join(f"{_SCOPE}/{package}@{VERSION}" for package in PACKAGES)


def fetched_by_pages() -> dict[str, dict[str, str]]:
    """Where a page that does not have the files gets them: address and checksum, by path."""
    return {
        path: {"address": f"{ADDRESS}/{_SCOPE}/{path.replace('/', f'@{VERSION}/', 1)}", "integrity": f"sha384-{digest}"}
        for path, digest in FILES.items()
    }


def find_files(source: str | os.PathLike[str] | None) -> dict[str, bytes] | None:
    """The files, from where they are at hand.

    Args:
        source: a folder with what `npm pack` or `npm install` leaves there; `NPM` to call npm; `CDN` for none of both;
            None calls npm if it is there and reaches its registry.

    Returns:
        Content of all `FILES` by path; None if the page shall fetch them.

    Raises:
        FileNotFoundError: there is no such folder, a package is not in it, or npm is not installed.
        ValueError: a file is not that of the version, or npm fails.
    """
    if source == CDN:
        return None
    if source is None or source == NPM:
        try:
            return _from_npm()
        except (OSError, ValueError):
            if source == NPM:
                raise
            return None
    if not os.path.isdir(source):
        raise FileNotFoundError(f"There is no folder {os.fspath(source)} with LiteRT.js; make one: {_COMMAND}.")
    return _read(pathlib.Path(source))


def _from_npm() -> dict[str, bytes]:
    """What npm fetched earlier, or fetches now."""
    kept = cache_folder() / "litertjs" / VERSION
    with contextlib.suppress(OSError, ValueError):
        return _read(kept)
    if not (npm := shutil.which("npm")):
        raise FileNotFoundError(f"There is no program npm; install it, or give a folder in which you ran {_COMMAND}.")
    with atomic_output(kept, overwrite=True) as folder:
        folder.mkdir()
        done = subprocess.run(
            [npm, *_COMMAND.split()[1:], "--silent", "--fetch-retries=1"], cwd=folder, capture_output=True, text=True
        )
        if done.returncode:
            reason = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
            raise ValueError(f"npm does not fetch LiteRT.js {VERSION}: {reason}.")
        return _read(folder)


def _read(folder: pathlib.Path) -> dict[str, bytes]:
    """Content of the files, each with its checksum."""
    content = {path: file for package in PACKAGES for path, file in _read_package(folder, package).items()}
    for path, known in FILES.items():
        if path not in content or digest(content[path]) != known:
            raise ValueError(
                f"{_SCOPE}/{path} in {folder} is not that of LiteRT.js {VERSION}, which pages were tested with; "
                f"fetch it: {_COMMAND}."
            )
    return content


def _read_package(folder: pathlib.Path, package: str) -> dict[str, bytes]:
    """Those of one package, out of its archive, or where npm installed it."""
    wanted = [path for path in FILES if path.startswith(f"{package}/")]
    archive = folder / f"litertjs-{package}-{VERSION}.tgz"
    if archive.is_file():
        with tarfile.open(archive) as packed:
            members = {f"{package}/{member.name.removeprefix('package/')}": member for member in packed.getmembers()}
            files = {path: packed.extractfile(members[path]) for path in wanted if path in members}
            return {path: file.read() for path, file in files.items() if file is not None}
    places = (folder / "node_modules" / _SCOPE, folder / _SCOPE, folder)
    place = next((place for place in places if (place / package).is_dir()), None)
    if place is None:
        raise FileNotFoundError(f"{folder} has neither {archive.name} nor {_SCOPE}/{package}; fetch it: {_COMMAND}.")
    return {path: (place / path).read_bytes() for path in wanted if (place / path).is_file()}


def digest(content: bytes) -> str:
    """Checksum of a file, as `FILES` has it."""
    return base64.b64encode(hashlib.sha384(content).digest()).decode()
