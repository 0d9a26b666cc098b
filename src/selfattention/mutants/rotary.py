"""Wrong `rotary(Q, positions)`."""

import numpy as np

from selfattention.formulas import rotary, rotary_halves


def the_other_convention(Q, positions):
    """Columns paired with the other half instead of their neighbour. Chapter 11, pitfall 30."""
    return rotary_halves(Q, positions)


def clockwise(Q, positions):
    """Turned the other way. Chapter 11."""
    return rotary(Q, -positions)


def positions_from_one(Q, positions):
    """Positions counted from one. Chapter 11."""
    return rotary(Q, positions + 1)


def one_frequency(Q, positions):
    """Every pair turns at the same speed. Chapter 11."""
    pairs = [rotary(Q[..., c : c + 2], positions) for c in range(0, Q.shape[-1], 2)]
    return np.concatenate(pairs, axis=-1)


def positions_ignored(Q, positions):
    """Not turned at all. Chapter 11."""
    return Q.copy()


def sines_forgotten(Q, positions):
    """Multiplied by the cosines only: lengths shrink. Chapter 11."""
    return (rotary(Q, positions) + rotary(Q, -positions)) / 2
