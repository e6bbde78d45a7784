"""Start-up of the command lines: TensorFlow's import notes stay hidden."""

import contextlib
import importlib.util
import os
import sys
import urllib.request
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Hides the notes that TensorFlow writes to the standard error when it is imported, and later notes and warnings.

    They would bury the progress bar, or the one sentence that says what is wrong. TF_CPP_MIN_LOG_LEVEL alone does not
    reach what is written during the import; set it yourself to see the later ones.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    _spare_metadata_server()
    standard_error = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(standard_error, 2)
        os.close(standard_error)


def quiet_when_run() -> contextlib.AbstractContextManager[None]:
    """`quiet_start` for a package that is being run with `python -m`; nothing where it is imported."""
    return quiet_start() if sys.argv[:1] == ["-m"] else contextlib.nullcontext()


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


def _spare_metadata_server() -> None:
    """Where libtpu is installed, importing TensorFlow asks the metadata server: for minutes if there is none."""
    if importlib.util.find_spec("libtpu") is not None and not is_google_cloud():
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")


def keras_nest() -> int:
    """The `keras-nest` command."""
    with quiet_start():
        from keras_nest.cli import main
    return main()
