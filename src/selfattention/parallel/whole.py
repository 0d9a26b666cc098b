"""A rank's part of a call on arrays that every rank has as a whole: for whoever wants to compare."""

from collections.abc import Callable, Sequence

import numpy as np

from selfattention.extras import needed

with needed():
    import torch

from selfattention.masks import Rule
from selfattention.parallel.links import Link


def from_whole(
    link: Link,
    attend: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    Q: np.ndarray,
    K: np.ndarray,
    V: np.ndarray,
    shards: Sequence[Sequence[range]],
    mask: Rule | None = None,
) -> tuple[list[int], np.ndarray, int]:
    """This rank's positions, their outputs by `attend`, `ring` or `all_to_all`, and the bytes that it sent.

    Q, K and V (…, h, n, d) are whole; of them the rank takes the rows that `shards[rank]` names.
    """
    positions = [i for span in shards[link.rank] for i in span]
    own = (torch.from_numpy(array[..., positions, :]) for array in (Q, K, V))
    before = link.sent
    O, _ = attend(*own, group=link, shards=shards, mask=mask)
    return positions, O.numpy(), link.sent - before
