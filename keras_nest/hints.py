"""What to say about a name that is not known."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "known are {}.", count: int = 1) -> str:
    """The nearest known names, or all of them where none is near.

    >>> did_you_mean("digit", ["digits"])
    'did you mean digits?'

    Args:
        name: what was asked for.
        known: what there is.
        otherwise: said where no name is near; {} stands for all names.
        count: how many names to suggest at most.

    Returns:
        The end of a sentence.
    """
    known = list(known)
    # Of several, farther ones are welcome too.
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.6 if count == 1 else 0.5)
    return f"did you mean {' or '.join(near)}?" if near else otherwise.format(", ".join(known))
