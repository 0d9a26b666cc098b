"""Wrong `relative_position_index(M)`."""

import numpy as np


def _offsets(M):
    """(Δy, Δx) of every pair: place i less place j."""
    y, x = np.divmod(np.arange(M * M), M)
    return y[:, None] - y, x[:, None] - x


def factor_forgotten(M):
    """Δy + Δx, without the factor 2M − 1: a step down is a step to the right. Chapter 17."""
    down, along = _offsets(M)
    return down + M - 1 + along + M - 1


def factor_of_M(M):
    """The factor M, as if Δx had M values: different offsets share a row. Chapter 17."""
    down, along = _offsets(M)
    return (down + M - 1) * M + along + M - 1


def factor_of_2M(M):
    """The factor 2M: rows are left out, and the last are beyond the table. Chapter 17."""
    down, along = _offsets(M)
    return (down + M - 1) * 2 * M + along + M - 1


def not_raised(M):
    """M − 1 not added: negative rows, counted from the table's end, so that nothing fails. Chapter 17."""
    down, along = _offsets(M)
    return down * (2 * M - 1) + along


def key_less_query(M):
    """Place j less place i: what stood to the left stands to the right. Chapter 17."""
    down, along = _offsets(M)
    return (M - 1 - down) * (2 * M - 1) + M - 1 - along


def columns_before_rows(M):
    """Δx times 2M − 1, and Δy added: the table read transposed. Chapter 17."""
    down, along = _offsets(M)
    return (along + M - 1) * (2 * M - 1) + down + M - 1


def distances(M):
    """|Δy| and |Δx|: left and right are the same, above and below too. Chapter 17."""
    down, along = _offsets(M)
    return abs(down) * (2 * M - 1) + abs(along)
