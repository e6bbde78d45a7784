"""What lies at addresses of this process alone, ram://…, and what goes wrong on the way there."""

import contextlib
import functools

import pytest
import tensorflow as tf

CHANGES = ("copy", "rename", "remove", "rmtree", "makedirs")


def there(address):
    """Files at an address, and what is in them."""
    found = {}
    for folder, _, names in tf.io.gfile.walk(address):
        for name in names:
            with tf.io.gfile.GFile(f"{folder.rstrip('/')}/{name}", "rb") as file:
                found[f"{folder}/{name}".removeprefix(address).strip("/")] = file.read().decode(errors="replace")
    return found


@contextlib.contextmanager
def watched(told, act=lambda change, path: None):
    """Notes the changes of the block: which, and at which address.

    Args:
        told: is called with each before it is made.
        act: afterwards.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGES:
            patch.setattr(tf.io.gfile, name, functools.partial(_change, getattr(tf.io.gfile, name), name, told, act))
        yield


def _change(change, name, told, act, *arguments, **options):
    path = arguments[1 if name in ("copy", "rename") else 0]
    told(name, path)
    change(*arguments, **options)
    act(name, path)


@contextlib.contextmanager
def failing(first, last=None):
    """The bucket refuses some of the changes of the block: those with numbers from `first` to `last`, at most."""
    count = 0

    def refuse(name, path):
        nonlocal count
        count += 1
        if count >= first and (last is None or count <= last):
            raise tf.errors.UnavailableError(None, None, "503")

    with watched(refuse):
        yield


@contextlib.contextmanager
def listing_late(hidden=lambda name: False, gone=()):
    """The bucket's lists are of another moment than what lies there.

    Args:
        hidden: name -> whether lists lack it, which is there.
        gone: names that lists still have in each directory, and which are not there.
    """
    listdir = tf.io.gfile.listdir
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tf.io.gfile, "listdir", lambda path: [*(name for name in listdir(path) if not hidden(name)), *gone]
        )
        yield
