"""How good is a set of tests, and how small can it be? Chapter: notebooks/19_mutants."""

import numpy as np
from jaxtyping import Bool, Float, Int

from selfattention.signatures import checked

Killed = Bool[np.ndarray, "mutants properties"]  # True where the property tells the mutant
Share = Float[np.ndarray, ""]
Chosen = Int[np.ndarray, "chosen"]  # columns of Killed, in the order of their choice


@checked
def mutation_score(killed: Killed) -> Share:
    """Eq. mutation-score:  (1/M) Σ_i max_j k_ij,  k_ij = 1 where property j kills mutant i.

    killed (mutants, properties), M mutants, gives the share, from 0 to 1, of those that at
    least one property tells from the right function. Without mutants nothing was asked, and
    the answer is an error.
    Raises ValueError without mutants, TypeError where killed is not boolean.
    Source: DeMillo, Lipton & Sayward 1978.
    """
    if not len(killed):
        raise ValueError(f"killed has shape {killed.shape}; wanted at least one mutant")
    return killed.any(axis=1).mean()


@checked
def greedy_suite(killed: Killed) -> Chosen:
    """Eq. greedy-suite:  j_t = argmax_j Σ_i k_ij Π_{s<t} (1 − k_i,j_s).

    Each time the property that kills most of the mutants still alive, the first
    of equals, until none kills any. killed (mutants, properties) gives columns,
    in the order of their choice: with them alone the mutation score is what it is
    with all (Claim greedy-suite-loses-nothing).
    Raises TypeError where killed is not boolean. Source: Chvátal 1979.
    """
    chosen, alive = [], killed
    while alive.any():
        chosen.append(alive.sum(axis=0).argmax())
        alive = alive & ~killed[:, chosen[-1:]]
    return np.array(chosen, dtype=int)
