"""Checks of what the augmentations are given."""

Range = tuple[float, float]
"""Smallest and largest value."""


def check_range(name: str, limits: Range, highest: float = float("inf")) -> None:
    """Refuses a range of positive numbers that is empty or too large.

    Args:
        name: of the argument, for the message.
        limits: smallest and largest value.
        highest: what the largest may be.

    Raises:
        ValueError: not 0 < smallest <= largest <= highest.
    """
    low, high = limits
    if not 0 < low <= high <= highest:
        end = "" if highest == float("inf") else f" <= {highest}"
        raise ValueError(f"{name} is ({low}, {high}); it must be (low, high) with 0 < low <= high{end}.")


def check_probability(name: str, value: float) -> None:
    """Refuses what is no probability.

    Args:
        name: of the argument, for the message.
        value: the probability.

    Raises:
        ValueError: outside [0, 1].
    """
    if not 0 <= value <= 1:
        raise ValueError(f"{name} is {value}; it must be between 0 and 1.")
