"""Models of the Hugging Face hub: `hf://owner/name` -> files in the cache that all of its programs share, and back."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from keras_nest.optional import import_optional

PREFIX = "hf://"
# Of these kinds of weights the first that a repository has is fetched; the others hold the same.
_WEIGHTS = (
    r"[^/]+\.keras",
    r"model\.safetensors",
    r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors",
    r"pytorch_model\.bin",
    r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin",
)
# What tells the rest: fields of the model, preprocessing, names of classes, vocabulary of a LiT.
_BESIDE = ("config.json", "preprocessor_config.json", "classes.txt", "vocab.txt", "vocab.model")
_COMMIT = re.compile(r"[0-9a-f]{40}")
# Seconds; the library's own attempts take 24 before they end.
_PATIENCE = 5.0
_MAY_NOT = "your token may not write there"


class Handle(NamedTuple):
    """A model of the hub.

    Attributes:
        repository: "owner/name".
        revision: branch, tag or commit; "main" where none is given.
    """

    repository: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}" + ("" if self.revision == "main" else f"@{self.revision}")


def is_handle(source: str | os.PathLike[str]) -> bool:
    """Whether something is a handle such as "hf://timm/nest_tiny_jx.goog_in1k"."""
    return os.fspath(source).startswith(PREFIX)


def on_this_machine(source: str | os.PathLike[str]) -> str:
    """What a source means here: what `fetch` gives for a handle, and every other path as it is."""
    return str(fetch(os.fspath(source))) if is_handle(source) else os.fspath(source)


def parse_handle(text: str) -> Handle:
    """The parts of a handle.

    >>> parse_handle("hf://google/vit-base-patch16-224@main").repository
    'google/vit-base-patch16-224'

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)/?(?:@([\w./-]+))?", text)
    if match is None:
        raise ValueError(f"{text} is no model of the hub; write hf://OWNER/NAME, or hf://OWNER/NAME@REVISION.")
    return Handle(match[1], match[2] or "main")


def fetch(text: str) -> pathlib.Path:
    """Fetches what a model is made of, but for what lies in the cache already.

    The cache is that of `huggingface_hub` (HF_HOME), which is also who logs in. Without a network, or with
    HF_HUB_OFFLINE=1, what lies there is used as it is.

    Args:
        text: handle of the model.

    Returns:
        Its .keras file, or the directory that holds its weights and config.json.

    Raises:
        ValueError: it is no handle, or the library refuses it.
        FileNotFoundError: there is no such model or revision, it holds no weights, or there is no network.
        PermissionError: it is gated.
        ModuleNotFoundError: `huggingface_hub` is not installed.
    """
    handle = parse_handle(text)
    hub = import_optional("huggingface_hub", "Models of the hub are fetched by huggingface_hub", "[hub]")
    cached = None
    with _sentences(hub, handle, "fetched"):
        try:
            cached = _cached(hub, handle)
            if cached and _COMMIT.fullmatch(handle.revision):
                return cached
            chosen = _choose(_list(hub, handle), handle)
            paths = [hub.hf_hub_download(handle.repository, name, revision=handle.revision) for name in chosen]
            return _model(paths)
        except _Unreachable as error:
            if cached:
                return cached
            raise FileNotFoundError(
                f"{handle} is not in the cache of {hub.constants.HF_HUB_CACHE}, and the hub cannot be reached "
                f"({error})."
            ) from None


def upload(text: str, folder: pathlib.Path, private: bool = False, overwrite: bool = False) -> str:
    """Puts the files of a directory into a repository of the hub, which is made where there is none; in one commit.

    Args:
        text: handle of the model.
        folder: whose files.
        private: make a repository that others do not see.
        overwrite: replace what the repository has under these names.

    Returns:
        Address of the repository, for a browser.

    Raises:
        ValueError: it is no handle, or the library refuses it.
        FileExistsError: the repository has such a file and `overwrite` is false.
        PermissionError: there is no token, one may not write there, or the repository is there and not private.
        FileNotFoundError: there is no such revision.
        OSError: the hub cannot be reached, or refuses the files.
        ModuleNotFoundError: `huggingface_hub` is not installed.
    """
    handle = parse_handle(text)
    hub = check_token(handle)
    names = sorted(path.name for path in folder.iterdir())
    with _sentences(hub, handle, "published"):
        try:
            _check_free(_info(hub, handle), handle, names, private, overwrite)
        except hub.errors.RepositoryNotFoundError:
            # It is made, with one branch.
            if handle.revision != "main":
                raise FileNotFoundError(f"There is no repository {handle}; leave the revision out.") from None
        except _Unreachable as error:
            raise OSError(f"{handle} cannot be published: the hub cannot be reached ({error}).") from None
        files = [hub.CommitOperationAdd(name, folder / name) for name in names]
        try:
            api = hub.HfApi()
            address = api.create_repo(handle.repository, private=private or None, exist_ok=True)
            api.create_commit(handle.repository, files, commit_message="Model of keras_nest", revision=handle.revision)
            return str(address)
        except hub.errors.HfHubHTTPError:
            raise
        # Of the library, of what it sends with, or of the threads that do.
        except Exception as error:
            reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
            raise OSError(f"{handle} cannot be published, and nothing of it was: {reason}") from None


def check_token(handle: Handle) -> Any:
    """Refuses to publish for somebody whom the hub does not know.

    Returns:
        The module `huggingface_hub`.

    Raises:
        PermissionError: there is no token.
        ModuleNotFoundError: `huggingface_hub` is not installed.
    """
    hub = import_optional("huggingface_hub", "Models of the hub are published by huggingface_hub", "[hub]")
    if not hub.get_token():
        raise PermissionError(f"{handle} needs a token of the hub that may write: `hf auth login`, or HF_TOKEN.")
    return hub


def _check_free(info: Any, handle: Handle, names: Sequence[str], private: bool, overwrite: bool) -> None:
    """Refuses to show what shall be private, and to replace what nobody allowed to."""
    if private and not info.private:
        raise PermissionError(f"{handle} is there and public; leave --private out, or change that on its page.")
    there = sorted({sibling.rfilename for sibling in info.siblings or []}.intersection(names))
    if there and not overwrite:
        raise FileExistsError(
            f"{handle} has {' and '.join(there)} already; pass overwrite=True (--overwrite) to replace it."
        )


@contextlib.contextmanager
def _sentences(hub: Any, handle: Handle, done: str) -> Iterator[None]:
    """Turns the errors of the library into one sentence."""
    try:
        yield
    except hub.errors.GatedRepoError:
        raise PermissionError(
            f"{handle} is gated: agree to its terms on its page of the hub, and log in with `hf auth login`."
        ) from None
    except hub.errors.RevisionNotFoundError:
        raise FileNotFoundError(f"{Handle(handle.repository)} has no revision {handle.revision!r}.") from None
    except hub.errors.RepositoryNotFoundError:
        if done == "published":
            raise PermissionError(f"{handle} cannot be published: {_MAY_NOT}.") from None
        raise FileNotFoundError(
            f"There is no model {handle} on the hub, or it is private; `hf auth login` shows those of yours."
        ) from None
    except hub.errors.HFValidationError as error:
        raise ValueError(f"{handle} is no name of the hub: {error}") from None
    except hub.errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if done == "published" and status in (401, 403):
            raise PermissionError(f"{handle} cannot be published: {_MAY_NOT}.") from None
        raise OSError(f"{handle} cannot be {done}: {str(error).splitlines()[0]}") from None


class _Unreachable(Exception):
    """The hub does not answer."""


def _list(hub: Any, handle: Handle) -> list[str]:
    """Names of the files of a model."""
    return [sibling.rfilename for sibling in _info(hub, handle).siblings or []]


def _info(hub: Any, handle: Handle) -> Any:
    """What the hub tells of a repository."""
    try:
        return hub.HfApi().model_info(handle.repository, revision=handle.revision, timeout=_PATIENCE)
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError):
        raise
    # Which error says that there is no network depends on the library's version.
    except Exception as error:
        raise _Unreachable(type(error).__name__) from None


def _cached(hub: Any, handle: Handle) -> pathlib.Path | None:
    """What `fetch` gives, from the cache alone; None if it does not hold the weights of this revision."""
    try:
        folder = pathlib.Path(hub.snapshot_download(handle.repository, revision=handle.revision, local_files_only=True))
        return _model([folder / name for name in _choose([path.name for path in folder.iterdir()], handle)])
    except FileNotFoundError:
        return None


def _model(files: Sequence[str | os.PathLike[str]]) -> pathlib.Path:
    """A .keras file, or the directory of other weights, of the files that were chosen."""
    weights = pathlib.Path(files[0])
    return weights if weights.suffix == ".keras" else weights.parent


def _choose(files: Sequence[str], handle: Handle) -> list[str]:
    """What is needed of a repository: the weights, and what tells the rest."""
    for pattern in _WEIGHTS:
        weights = sorted(name for name in files if re.fullmatch(pattern, name))
        if pattern == _WEIGHTS[0] and len(weights) > 1:
            weights = [name for name in weights if name == "model.keras"] or _refuse_several(weights, handle)
        if weights:
            return weights + [name for name in _BESIDE if name in files]
    shown = ", ".join(sorted(files)[:10]) or "nothing"
    raise FileNotFoundError(
        f"{handle} holds neither a .keras file nor model.safetensors nor pytorch_model.bin: {shown}."
    )


def _refuse_several(weights: Sequence[str], handle: Handle) -> list[str]:
    raise FileNotFoundError(
        f"{handle} holds several .keras files ({', '.join(weights)}) and none is called model.keras; fetch the one you "
        "mean with `hf download`."
    )
