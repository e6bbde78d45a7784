"""Start-up of command lines: TensorFlow's import notes stay hidden. Imports nothing heavy."""

import contextlib
import importlib.util
import os
import resource
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence

# Bytes of addresses that a process must be allowed: with fewer, importing TensorFlow crashes, or has no end.
_ADDRESSES = 3_000_000_000
# What Keras and TensorFlow import only to take its objects or to draw, where it is installed: two fifths of a start.
_OPTIONAL = ("IPython", "jax", "matplotlib", "pandas", "sklearn")


def check_limits() -> None:
    """Refuses limits of the process under which TensorFlow would end it without a word, or never start.

    Raises:
        OSError: it may take too little memory.
        RuntimeError: it may start too few threads, as Python says it.
    """
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    if resource.RLIM_INFINITY != most < _ADDRESSES:
        raise OSError(
            f"this process may take {most / 1e6:,.0f} MB (ulimit -v), and TensorFlow takes {_ADDRESSES / 1e6:,.0f} MB "
            "of addresses to start; allow more."
        )
    # What TensorFlow and NumPy start at least.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    go = threading.Event()
    try:
        for _ in range(2 * cores + 4):
            threading.Thread(target=go.wait, daemon=True).start()
    finally:
        go.set()


@contextlib.contextmanager
def hide_import_notes() -> Iterator[None]:
    """Hides what TensorFlow writes to the standard error while it is imported, and its later notes and warnings.

    They would bury the progress bar, or the one sentence that says what is wrong. TF_CPP_MIN_LOG_LEVEL alone does not
    reach what is written during the import; set it yourself to see the later ones.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _skip_metadata_server()
    standard_error = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


@contextlib.contextmanager
def without_optional_packages() -> Iterator[None]:
    """Imports within the block do without packages that they only try to import; later ones find them again.

    For programs alone: there is no `keras.wrappers.SKLearnClassifier` then, and `fit` takes no pandas data frames.
    """
    used = os.environ.get("KERAS_BACKEND")
    hidden = [name for name in _OPTIONAL if name not in sys.modules and name != used]
    # So Python's import statement is told that there is no such module.
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def is_google_cloud() -> bool:
    """Whether the metadata server that every machine of Google Cloud has answers, within seconds."""
    request = urllib.request.Request(
        "http://169.254.169.254/computeMetadata/v1/", headers={"Metadata-Flavor": "Google"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=3) as answer:
            return answer.headers.get("Metadata-Flavor") == "Google"
    except OSError:
        return False


def asked_backend(words: Sequence[str]) -> str | None:
    """The backend of Keras that a command line asks for with `--backend`, if it does."""
    asked = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in ("--backend", "-backend"):
            asked = value if equals else following
    return asked


def choose_backend(backend: str | None = None) -> None:
    """Makes Keras run on TensorFlow, as the commands need, whatever was chosen for other programs.

    A line on the standard error answers a choice in the environment. Where Keras is imported already, it stays.

    Args:
        backend: "jax" instead, if that is installed; what else stands here is refused where arguments are checked.
    """
    if "keras" in sys.modules:
        return
    if backend == "jax" and importlib.util.find_spec("jax") is not None:
        os.environ["KERAS_BACKEND"] = "jax"
        return
    chosen = os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen != "tensorflow":
        print(f"KERAS_BACKEND is {chosen}; this command runs Keras on TensorFlow.", file=sys.stderr)
    os.environ["KERAS_BACKEND"] = "tensorflow"  # stronger than ~/.keras/keras.json


def _skip_metadata_server() -> None:
    """Where libtpu is installed, importing TensorFlow asks the metadata server: for minutes if there is none."""
    if importlib.util.find_spec("libtpu") is not None and not is_google_cloud():
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
