"""Train the nets of `cells` that a page has no time for, and write down what each is worth.

    python -m selfattention.trained.cell_runs

appends a row to data/cells.jsonl for every family, fold and seed; then, for the plain net alone, what it is
worth to be shown columns that it should not see, and what twice the steps are worth. Half an hour of
one thread, and where it was interrupted it goes on. At the end it trains the first of them once more and
keeps its weights, in data/cells.npz: pictures of what a net says are to be the same on every machine. `load`
reads the rows; tests compute one of them again.
"""

import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from selfattention.extras import needed

with needed():
    import torch

from selfattention.trained import cells, rows

ROWS = Path(str(files("selfattention") / "data" / "cells.jsonl"))
COMMAND = "python -m selfattention.trained.cell_runs"
SEEDS, FOLDS, LOOKS = range(8), range(2), 8
SPLITS = {"gap": cells.folds, "no gap": cells.leaking_folds, "seen": cells.seen_folds}
LEAKING, TWICE = range(4), range(2)  # the seeds of what is beside the question

# (family, fold, seed, split, steps), seed by seed: the rows of an interrupted run compare fairly.
PLAN = [
    *((name, fold, seed, "gap", cells.STEPS) for seed in SEEDS for fold in FOLDS for name in cells.FAMILIES),
    *(
        ("plain", fold, seed, split, cells.STEPS)
        for seed in LEAKING
        for fold in FOLDS
        for split in ("seen", "no gap")
    ),
    *(("plain", fold, seed, "gap", 2 * cells.STEPS) for seed in TWICE for fold in FOLDS),
]


def row(family: str, fold: int, seed: int, split: str, steps: int) -> dict[str, Any]:
    """A net trained, and written down: counts in tiles and in one, the curve of IoU, CPU seconds."""
    train, test = SPLITS[split](cells.load())[fold]
    net, curve = cells.segmenter(family, seed), []

    def look(step, net):
        if step * LOOKS % steps == 0:
            curve.append([step, round(cells.iou(cells.in_tiles(net, test)), 4)])

    start = time.process_time()
    cells.train(net, train, seed, steps=steps, text=f"{family}, fold {fold}, seed {seed}", look=look)
    return {
        "parameters": cells.parameters(net),
        "tiles": cells.in_tiles(net, test).tolist(),
        "one": cells.in_one(net, test).tolist(),
        "curve": curve,
        "seconds": round(time.process_time() - start, 1),
    }


def load() -> dict[tuple, dict[str, Any]]:
    """{(family, fold, seed, split, steps): row} of data/cells.jsonl."""
    return rows.read(ROWS)


def counts(
    found: dict[tuple, dict[str, Any]],
    family: str,
    split: str = "gap",
    *,
    steps: int = cells.STEPS,
    pictures: str = "tiles",
) -> np.ndarray:
    """(folds, seeds, pictures, 3) of a family: both, said, truth, as `paired` compares them.

    `pictures` is "tiles" or "one". Of splits that leak, and of twice the steps, there are fewer seeds.
    """
    seeds = LEAKING if split != "gap" else SEEDS if steps == cells.STEPS else TWICE
    return np.array([[found[family, fold, seed, split, steps][pictures] for seed in seeds] for fold in FOLDS])


def main() -> None:
    torch.set_num_threads(1)
    rows.write(ROWS, PLAN, row, "rows of data/cells.jsonl")
    train, _ = cells.folds(cells.load())[0]
    net = cells.train(cells.segmenter("plain", 0), train, 0)
    halves = {name: W.numpy().astype(np.float16) for name, W in net.state_dict().items()}
    np.savez_compressed(str(cells.WEIGHTS), **halves)


if __name__ == "__main__":
    main()
