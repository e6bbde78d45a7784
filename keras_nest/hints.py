"""What to say about a name that is not known."""

import difflib
import re
from collections.abc import Iterable, Sequence

# Longer lists bury the sentence that they end.
_SHOWN = 20


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "known are {}.", count: int = 1) -> str:
    """The nearest known names, or what there is where none is near.

    >>> did_you_mean("digit", ["digits"])
    'did you mean digits?'

    Args:
        name: what was asked for.
        known: what there is.
        otherwise: said where no name is near; {} stands for the names, of many for the first ones.
        count: how many names to suggest at most.

    Returns:
        The end of a sentence.
    """
    known = list(known)
    # Of several, farther ones are welcome too.
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.6 if count == 1 else 0.5)
    same = [one for one in known if _letters(one) == _letters(name)]
    near = list(dict.fromkeys([*same, *near]))[:count]
    return f"did you mean {' or '.join(near)}?" if near else otherwise.format(_listed(known))


def _letters(name: str) -> str:
    """A name without what users leave out or write otherwise: vit_b16 and ViT-B/16 are ViT-B_16."""
    return re.sub(r"[\W_]", "", name).lower() or name


def _listed(names: Sequence[str]) -> str:
    more = f", … ({len(names):,} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
