"""Train the nets of `message`, and write down which of them hear.

    python -m selfattention.trained.message_runs

appends a row to data/message.jsonl for every family and seed, taught from small to large, and for one
family taught without that: some minutes of one thread, and where it was interrupted it goes on.
`load` reads the rows; tests compute one of them again.
"""

import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from selfattention.extras import needed

with needed():
    import torch

from selfattention.trained import cells, message, rows

ROWS = Path(str(files("selfattention") / "data" / "message.jsonl"))
COMMAND = "python -m selfattention.trained.message_runs"
SEEDS = range(3)

LOCAL = "nothing", "attention gate"  # a test shows that nothing from far can reach them


def seeds(family: str) -> range:
    """Three seeds, and one for those that are deaf by what they are."""
    return SEEDS[:1] if family in LOCAL else SEEDS


# (family, lessons, seed), seed by seed: the rows of an interrupted run compare fairly.
PLAN = [
    *((name, "small first", seed) for seed in SEEDS for name in message.FAMILIES if seed in seeds(name)),
    *(("non-local", "as it is", seed) for seed in SEEDS),
]


def row(family: str, how: str, seed: int) -> dict[str, Any]:
    """A net trained, and written down: both IoUs on 1000 fresh pictures, the curve, CPU seconds."""
    lessons, net = message.LESSONS[how], message.messenger(family, seed)
    start = time.process_time()
    curve = message.train(net, seed, lessons, text=f"{family}, {how}, seed {seed}")
    seconds = round(time.process_time() - start, 1)
    half, best = message.ious(net, *message.Pictures(message.FRESH).batch(1000))
    return {
        "parameters": cells.parameters(net),
        "half": round(half, 4),
        "best": round(best, 4),
        "curve": curve,
        "seconds": seconds,
    }


def load() -> dict[tuple, dict[str, Any]]:
    """{(family, lessons, seed): row} of data/message.jsonl."""
    return rows.read(ROWS)


def main() -> None:
    torch.set_num_threads(1)
    rows.write(ROWS, PLAN, row, "rows of data/message.jsonl")


if __name__ == "__main__":
    main()
