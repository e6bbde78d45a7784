"""Files that are read in turns, as `tf.data.Dataset.interleave` does, and where the reading stands after a while.

The order of an epoch follows from the number of records of each file, so that no record has to be read to know what
comes after a million of them.
"""

import collections
from collections.abc import Sequence
from typing import NamedTuple

CYCLE_LENGTH = 16
"""How many files are read in turns."""
BLOCK_LENGTH = 16
"""How many records at a turn."""


class Shard(NamedTuple):
    """Consecutive records of a file.

    Attributes:
        path: of the TFRecord file.
        skip: how many records come before.
        take: how many records they are.
    """

    path: str
    skip: int
    take: int

    def without(self, count: int) -> "Shard":
        """What is left behind its first records."""
        return Shard(self.path, self.skip + count, self.take - count)


def after(shards: Sequence[Shard], count: int) -> tuple[list[Shard], int]:
    """What is left to read after a number of records.

    Args:
        shards: in the order in which they are begun.
        count: records that were read in turns, fewer than there are.

    Returns:
        Shards, or the rests of those that were begun, which give the same records when they are read in turns from the
        first one on; and how many of these records, less than `BLOCK_LENGTH`, were among those that were read.
    """
    waiting = collections.deque(shards)
    # The places of the cycle, from that whose turn it is on; a place whose file has ended takes another at its turn.
    places: collections.deque[Shard | None] = collections.deque([None] * CYCLE_LENGTH)
    while True:
        shard = places[0]
        if shard is None and waiting:
            shard = waiting.popleft()
        read = min(BLOCK_LENGTH, shard.take) if shard else 0
        if read > count:
            break
        count -= read
        # That a file has ended is seen by the record that is missing, perhaps at a turn without any.
        places[0] = shard.without(read) if shard and read == BLOCK_LENGTH else None
        places.rotate(-1)
    places[0] = shard
    begun = [place or (waiting.popleft() if waiting else None) for place in places]
    return [*filter(None, begun), *waiting], count
