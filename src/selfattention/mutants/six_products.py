"""Wrong `six_products(A_0, A_1, A_2, B_0, B_1, B_2) -> C`."""

from selfattention import formulas


def first_pieces_alone(A_0, A_1, A_2, B_0, B_1, B_2):
    """One product of the first pieces: bfloat16, and no float32. Chapter 14."""
    return A_0 @ B_0


def three_products(A_0, A_1, A_2, B_0, B_1, B_2):
    """Three products, of pieces that count to one at most: sixteen bits. Chapter 14."""
    return A_1 @ B_0 + A_0 @ B_1 + A_0 @ B_0


def middle_dropped(A_0, A_1, A_2, B_0, B_1, B_2):
    """A_1 B_1 is dropped: it looks smaller than A_0 B_2 and is as large. Chapter 14."""
    return A_2 @ B_0 + A_1 @ B_0 + A_0 @ B_1 + A_0 @ B_2 + A_0 @ B_0


def third_of_a_dropped(A_0, A_1, A_2, B_0, B_1, B_2):
    """A_2 B_0 is dropped: A has two pieces and B has three. Chapter 14."""
    return A_1 @ B_0 + A_1 @ B_1 + A_0 @ B_1 + A_0 @ B_2 + A_0 @ B_0


def third_of_b_dropped(A_0, A_1, A_2, B_0, B_1, B_2):
    """A_0 B_2 is dropped: B has two pieces and A has three. Chapter 14."""
    return A_2 @ B_0 + A_1 @ B_0 + A_1 @ B_1 + A_0 @ B_1 + A_0 @ B_0


def pieces_paired(A_0, A_1, A_2, B_0, B_1, B_2):
    """Each piece with its like, first with first: the products across are missing. Chapter 14."""
    return A_2 @ B_2 + A_1 @ B_1 + A_0 @ B_0


def one_side_twice(A_0, A_1, A_2, B_0, B_1, B_2):
    """A_1 B_0 stands where A_0 B_1 should: right only where both rests are equal. Chapter 14."""
    return A_2 @ B_0 + 2 * (A_1 @ B_0) + A_1 @ B_1 + A_0 @ B_2 + A_0 @ B_0


def largest_first(A_0, A_1, A_2, B_0, B_1, B_2):
    """The largest product first: the small ones are rounded away beside it, one by one. Chapter 14."""
    return A_0 @ B_0 + A_0 @ B_2 + A_0 @ B_1 + A_1 @ B_1 + A_1 @ B_0 + A_2 @ B_0


def summed_in_bfloat16(A_0, A_1, A_2, B_0, B_1, B_2):
    """The sum is kept in bfloat16, as its factors are. Chapter 14."""
    C = 0
    for A, B in (A_2, B_0), (A_1, B_0), (A_1, B_1), (A_0, B_1), (A_0, B_2), (A_0, B_0):
        C, *_ = formulas.pieces(C + A @ B)
    return C
