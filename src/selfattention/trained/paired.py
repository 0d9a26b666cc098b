"""Is one net better than another? Differences of IoU, pair by pair, and how far chance can move them.

Two nets with the same seed, on the same fold, saw the same crops in the same order: they are a pair. Counts
are (folds, seeds, tiles, 3), as `cells.counts` gives them for each tile. What the intervals do not know:
other pictures. Tiles of one picture are not as many pictures.
"""

import numpy as np

from selfattention.extras import needed
from selfattention.trained.deletion import interval

LEVEL, DRAWS = 0.95, 9_999


def ious(counts: np.ndarray) -> np.ndarray:
    """both / (said + truth − both) of counts (…, tiles, 3), the pixels of all tiles added up."""
    both, said, truth = np.moveaxis(np.asarray(counts).sum(-2), -1, 0)
    return both / (said + truth - both)


def dices(counts: np.ndarray) -> np.ndarray:
    """2 both / (said + truth) of counts (…, tiles, 3), the pixels of all tiles added up."""
    both, said, truth = np.moveaxis(np.asarray(counts).sum(-2), -1, 0)
    return 2 * both / (said + truth)


def differences(counts: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(seeds): how much larger the IoU of the first is, the mean of the folds."""
    return (ious(counts) - ious(others)).mean(0)


def student(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean of differences (seeds) by Student's t, as a paired t-test has it.

    Raises ValueError where there are fewer than two.
    """
    mean, half = interval(differences)
    return float(mean - half), float(mean + half)


def p_value(differences: np.ndarray) -> float:
    """How often a mean at least this far from 0 is drawn if there is no difference: the paired t-test's p."""
    with needed():
        from scipy.stats import ttest_1samp
    return float(ttest_1samp(differences, 0).pvalue)


def over_seeds_and_tiles(counts: np.ndarray, others: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """The interval where seeds are drawn, and tiles of each fold as well, the same for both nets."""
    source = np.random.default_rng(seed)
    folds, seeds, tiles, _ = counts.shape
    often = source.multinomial(tiles, np.full(tiles, 1 / tiles), size=(DRAWS, folds))
    gains = np.subtract(*(_drawn(each, often) for each in (counts, others)))  # draws, folds, seeds
    weights = source.multinomial(seeds, np.full(seeds, 1 / seeds), size=DRAWS) / seeds
    means = np.einsum("ds,dfs->d", weights, gains) / folds
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _drawn(counts, often):
    """IoU (draws, folds, seeds) where tile t of a fold counts often[draw, fold, t] times."""
    both, said, truth = np.moveaxis(np.einsum("dft,fstk->dfsk", often, counts), -1, 0)
    return both / (said + truth - both)
