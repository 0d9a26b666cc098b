"""One attention over two, three and four processes: the formula's numbers and bytes, no silent mistake."""

import re

import numpy as np
import oracle
import parallel_cases as cases
import pytest
import torch
from oracle import NAMES, Case
from parallel_workers import pool

from selfattention import masks
from selfattention.formulas import (
    all_reduce_bytes,
    all_to_all_backward_bytes,
    all_to_all_bytes,
    all_to_all_words,
    contiguous_work,
    ring_backward_bytes,
    ring_bytes,
    ring_words,
    shard_start,
    zigzag_work,
)
from selfattention.implementations import torch_direct, torch_tiled
from selfattention.masks import Says
from selfattention.parallel import shards as cuts
from selfattention.parallel.agreement import MESSAGE
from selfattention.parallel.links import Link

DTYPES = [torch.float32, torch.float64]


@pytest.fixture(scope="module")
def workers():
    with pool() as running:
        yield running


# The contract, over several processes -----------------------------------------------------------------

RING = [
    Case(),
    Case(b=1, h=2, g=2, n=97, m=97, mask="causal"),
    Case(b=1, h=2, g=1, n=113, m=203, d_k=17, d_v=5, mask="bottom_right"),
    Case(g=2, mask="window", n=11, m=11),
    Case(b=1, h=4, g=2, n=3, m=401, mask="sinks"),
    Case(g=3, mask="padding", bias=True),
    Case(mask="documents", n=11, m=11),
    Case(b=3, h=3, g=1, mask="heads", n=67, m=71),
    Case(b=1, h=5, g=5, mask="heads", n=13, m=17),
    Case(mask="nobody"),
    Case(b=1, h=2, g=2, mask="causal", n=97, m=97, stretch=30),
    Case(b=1, h=2, g=2, mask="causal", n=97, m=97, stretch=30, rising=True),
    Case(b=1, h=1, g=1, n=3, m=2053, d_k=5, d_v=7, ahead=19),
    Case(n=2, m=2, mask="causal"),
    Case(n=1, m=1, d_k=1, d_v=1),
    Case(n=0),
    Case(m=0),
    Case(n=0, m=0),
    Case(b=0),
    Case(d_v=0, mask="causal"),
]
SWAPPED = [
    Case(b=1, h=14, g=7, n=13, m=13, mask="causal"),
    Case(h=12, g=4, mask="window", n=11, m=11),
    Case(h=6, g=6, mask="documents", n=11, m=11),
    Case(b=1, h=5, g=5, mask="heads", n=17, m=13),
    Case(h=6, g=6, mask="padding", bias=True),
    Case(n=2, m=3, h=4, g=4),
    Case(n=0, h=4, g=4),
    Case(m=0, h=4, g=4),
]
CALLS = [("ring", case) for case in RING] + [("all_to_all", case) for case in SWAPPED]


def gathered(case, answers):
    """What the ranks have of O, L, dQ, dK and dV, put in the places of their positions."""
    shapes = [
        (case.b, case.h, case.n, case.d_v),
        (case.b, case.h, case.n),
        (case.b, case.h, case.n, case.d_k),
    ]
    shapes += [(case.b, case.g, case.m, case.d_k), (case.b, case.g, case.m, case.d_v)]
    whole = [np.full(shape, np.nan) for shape in shapes]
    for mine, keys, parts, *_ in answers:
        for array, part, positions in zip(whole, parts, (mine, mine, mine, keys, keys), strict=True):
            array[:, :, positions] = part
    return whole


def assert_within_budget(given, case, dtype, **times):
    """So many times the budget where a name is given, and once elsewhere."""
    exact = oracle.truth(case, dtype)
    for name, ours, truth, budget in zip(NAMES, given, exact, oracle.budget(case, dtype), strict=True):
        np.testing.assert_array_equal(np.isneginf(ours), np.isneginf(truth), err_msg=name)
        assert oracle.error(ours, truth) <= times.get(name, 1) * budget, name  # NaN is no such number


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("turn", "way", "case"), [(i, *call) for i, call in enumerate(CALLS)], ids=str)
def test_every_rank_has_its_rows_of_the_formula(workers, turn, way, case, dtype):
    """Each case with two or three or four ranks, in one of the two layouts, by turns."""
    p, layout = 2 + (turn + (dtype == torch.float64)) % 3, ["zigzag", "contiguous"][turn % 2]
    answers = workers.run(p, cases.contract, way, layout, case, dtype)
    assert_within_budget(gathered(case, answers), case, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("turn", "case"), list(enumerate(RING)), ids=str)
def test_a_ring_in_small_pieces_has_its_rows_of_the_formula(workers, turn, case, dtype):
    """No shard above is as long as a piece usually is: here one has 7 keys, and meets 5 queries at a time.

    One of these calls has 294 pieces, each of which rounds an L and merges it. Measured with one to four
    ranks in both layouts it has needed, in float32, 1.2 times the budget of O, 1.4 of L and 2.3 of dV, and
    never half of any in float64. Where scores are large, and so is what L rounds off, dV has needed 1.14.
    """
    many = case.m > 2000 and dtype == torch.float32
    times = {"O": 2, "L": 2, "dV": 3} if many else {"dV": 1.5} if case.stretch > 1 else {}
    p, layout = 1 + (turn + (dtype == torch.float64)) % 4, ["contiguous", "zigzag"][turn % 2]
    answers = workers.run(p, cases.in_pieces, 7, 5, cases.contract, "ring", layout, case, dtype)
    assert_within_budget(gathered(case, answers), case, dtype, **times)


def test_a_ring_takes_one_head_without_an_axis(workers):
    for ours, theirs in workers.run(2, cases.one_head):
        for given, wanted in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "rule", [masks.causal, masks.window(4), masks.documents(np.arange(17) // 7)], ids=repr
)
def test_a_placed_rule_is_the_whole_one_at_its_positions(rule):
    """The same booleans, asked once or twice, and what it says of a tile is true of them."""
    whole = rule.tile(range(17), range(17))
    for down, along in (0, 0), (5, 0), (3, 11), (9, 2):
        placed = cuts.Placed(rule, down, along)
        for rows, columns in 2 * [(range(8), range(6)), (range(2), range(1, 3)), (range(8), range(1))]:
            tile = placed.tile(rows, columns)
            i, j = (slice(span.start + by, span.stop + by) for span, by in ((rows, down), (columns, along)))
            np.testing.assert_array_equal(tile, whole[i, j])
            said = placed.says(rows, columns)
            assert said is Says.SOMEBODY or tile.all() == tile.any() == (said is Says.EVERYBODY)
        assert placed.ends == (rule.ends[0] - down, rule.ends[1] - along)


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize("p", [1, 2, 3, 4])
@pytest.mark.parametrize("way", cases.WAYS)
def test_one_case_with_every_number_of_ranks_and_every_layout(workers, way, p, layout):
    case = Case(b=2, h=8, g=4, n=11, m=11, mask="window")
    answers = workers.run(p, cases.contract, way, layout, case, torch.float64)
    assert_within_budget(gathered(case, answers), case, torch.float64)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_all_keys_have_in_common_costs_a_ring_more_than_one_process(workers, dtype):
    """Each tile rounds its own L, of 300 here, and a row of dS no longer sums to 0; times keys of 100, in dQ.

    Of the budget, which is what one process may do, dQ has needed 0.7 to 2.0 with one to four ranks. Which
    it is depends on how the tiles happen to round: it is allowed half as much again as the worst of these.
    """
    case = Case(b=1, h=2, g=2, n=13, m=17, common=100)
    for p in (1, 2, 3, 4):
        given = gathered(case, workers.run(p, cases.contract, "ring", "zigzag", case, dtype))
        assert_within_budget(given, case, dtype, dQ=3)


@pytest.mark.parametrize("dtype", oracle.HALVES, ids=str)
@pytest.mark.parametrize("way", cases.WAYS)
def test_halves_travel_as_halves_and_are_summed_in_float32(workers, way, dtype):
    case = Case(b=1, h=4, g=4, n=31, m=31, mask="causal")
    answers = workers.run(3, cases.contract, way, "zigzag", case, dtype)
    assert_within_budget(gathered(case, answers), case, dtype)


def test_heads_may_be_computed_by_any_implementation_and_a_ring_needs_one_that_reads_l(workers):
    case = Case(b=1, h=4, g=4, n=31, m=31, mask="causal")
    answers = workers.run(3, cases.contract, "all_to_all", "zigzag", case, torch.float64, "torch_direct")
    assert_within_budget(gathered(case, answers), case, torch.float64)
    for _, said in workers.errors(2, cases.contract, "ring", "zigzag", case, torch.float64, "torch_direct"):
        assert "implementation is 'torch_direct'; wanted one that takes its weights from L" in said
    for _, said in workers.errors(2, cases.contract, "ring", "zigzag", case, torch.float64, "numpy_tiled"):
        assert "implementation is 'numpy_tiled'; wanted one of torch_direct, " in said


@pytest.mark.parametrize("way", cases.WAYS)
def test_a_learned_bias_and_a_loss_of_l_have_their_gradients(workers, way):
    for ours, theirs in workers.run(3, cases.learned_bias, way):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def test_in_pieces_a_learned_bias_and_a_loss_of_l_have_their_gradients(workers):
    for ours, theirs in workers.run(3, cases.in_pieces, 2, 3, cases.learned_bias, "ring"):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("p", [2, 3])
@pytest.mark.parametrize("way", cases.WAYS)
def test_a_cap_and_a_learned_sink_are_those_of_one_process(workers, way, p):
    """The gradient of the sink is the whole one, on every rank."""
    for keys in (1024, 2):
        for ours, theirs in workers.run(p, cases.in_pieces, keys, 3, cases.cap_and_sink, way):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("way", ["head_parallel", *cases.WAYS])
def test_heads_of_a_block_may_have_a_cap_and_sinks(workers, way):
    for p in (2, 3) if way == "all_to_all" else (2, 3, 4):  # of four, one has none of the three groups
        for ours, theirs in workers.run(p, cases.block_with_cap_and_sink, way):
            for a, b in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("way", cases.WAYS)
def test_a_sink_that_is_no_number_is_seen_by_every_row_of_its_head(workers, way):
    for ours, theirs in workers.run(2, cases.sinks_that_are_none, way):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_the_mean_of_large_values_is_a_mean(workers):
    """Their sum would be no number."""
    for p in (2, 3):
        for same, mixed in workers.run(p, cases.large_values):
            np.testing.assert_allclose(same, 1, rtol=1e-6)
            np.testing.assert_allclose(mixed, 0, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["K", "V", "dO"])
@pytest.mark.parametrize("way", cases.WAYS)
def test_what_is_not_finite_goes_where_it_is_seen_and_nowhere_else(workers, way, where, value):
    for ours, theirs in workers.run(2, cases.not_finite, way, where, value):
        assert np.isnan(np.concatenate([x.ravel() for x in theirs])).any() or value != value or where == "K"
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


# Whole blocks ------------------------------------------------------------------------------------------

MASKS = {
    "dense": None,
    "causal": masks.causal,
    "window": masks.causal & masks.window(3),
    "documents": masks.documents(np.arange(40) // 5) & masks.causal,
}
BLOCKS = [  # way, layout, p, (h, g), n
    ("head_parallel", "zigzag", 2, (6, 3), 11),
    ("head_parallel", "zigzag", 3, (8, 4), 13),  # 4 groups for 3 ranks
    ("head_parallel", "zigzag", 4, (2, 2), 7),  # two ranks have no head
    ("ring", "zigzag", 2, (6, 2), 16),
    ("ring", "contiguous", 3, (5, 1), 17),
    ("ring", "zigzag", 4, (3, 3), 3),  # fewer tokens than ranks
    ("all_to_all", "zigzag", 2, (6, 2), 16),
    ("all_to_all", "contiguous", 3, (8, 4), 17),
    ("all_to_all", "zigzag", 4, (7, 7), 3),
]
D_MODEL, D_K, D_V = 13, 3, 5


def drawn(h, g, n, batch=()):
    rng = np.random.default_rng(0)
    shapes = [(*batch, n, D_MODEL), (D_MODEL, h * D_K), (D_MODEL, g * D_K), (D_MODEL, g * D_V)]
    return [rng.normal(size=shape) for shape in (*shapes, (h * D_V, D_MODEL), (*batch, n, D_MODEL))]


def one_process(arrays, sizes, visible, dtype, order, attention, features=slice(None)):
    """Y and five gradients of a whole block, its tokens and features taken in this order and put back."""
    X, *matrices, dY = (torch.tensor(x, dtype=dtype) for x in arrays)
    leaves = [x.requires_grad_() for x in (X[order].clone(), *matrices)]
    X, (W_Q, W_K, W_V) = leaves[0][:, features], (W[features] for W in leaves[1:4])
    wide = (W_Q, sizes[0]), (W_K, sizes[1]), (W_V, sizes[1])
    Q, K, V = ((X @ W).unflatten(-1, (heads, -1)).transpose(-3, -2) for W, heads in wide)
    O, _ = attention(Q, K, V, mask=torch.from_numpy(visible[..., order, :][..., order]))
    Y = O.transpose(-3, -2).flatten(-2) @ leaves[4]
    gradients = torch.autograd.grad(Y, leaves, dY[order])
    back = np.argsort(order)
    return [x.detach().double().numpy() for x in (Y[back], gradients[0][back], *gradients[1:])]


def block_budget(arrays, sizes, visible, dtype):
    """The truth, and how far one process may be from it: as `oracle.budget`, by the order of the tokens."""
    rounded = [torch.tensor(x, dtype=dtype).double().numpy() for x in arrays]
    straight = np.arange(len(visible))
    exact = one_process(rounded, sizes, visible, torch.float64, straight, torch_direct.attention)
    rng = np.random.default_rng(0)
    orders = [(rng.permutation(len(visible)), rng.permutation(D_MODEL)) for _ in range(8)]
    ways = [
        one_process(arrays, sizes, visible, dtype, order, module.attention, features)
        for order, features in orders
        for module in (torch_direct, torch_tiled)
    ]
    budgets = []
    for which, truth in enumerate(exact):
        answers = [way[which] for way in ways]
        spread = max(oracle.error(one, other) for one in answers for other in answers)
        worst = max(oracle.error(way, truth) for way in answers)
        budgets.append(max(2 * worst + spread, torch.finfo(dtype).eps * np.abs(truth).max(initial=0)))
    return exact, budgets


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("way", "layout", "p", "sizes", "n"), BLOCKS)
def test_a_block_and_its_gradients_are_those_of_one_process(workers, way, layout, p, sizes, n, mask, dtype):
    arrays, rule = drawn(*sizes, n), MASKS[mask]
    visible = np.ones((n, n), bool) if rule is None else rule.tile(range(n), range(n))
    exact, budgets = block_budget(arrays, sizes, visible, dtype)
    answers = workers.run(p, cases.block, way, layout, sizes, arrays, rule, dtype)
    for rank, (mine, parts, *_) in enumerate(answers):
        wanted = [exact[0][mine], exact[1][mine], *exact[2:]]
        if way == "head_parallel":
            wanted[2:] = own_heads(wanted[2:], sizes, rank, p)
        for name, ours, truth, budget in zip(cases.NAMES, parts, wanted, budgets, strict=True):
            assert ours.shape == truth.shape, (rank, name)
            assert oracle.error(ours, truth) <= budget, (rank, name)


def test_a_mask_may_speak_of_heads_wherever_they_are_computed(workers):
    h, n = 6, 9
    table = np.random.default_rng(1).random((h, n, n)) < 0.7
    arrays, rule = drawn(h, h, n), masks.Table(table)
    straight = np.arange(n)
    answer = one_process(arrays, (h, h), table, torch.float64, straight, torch_direct.attention)
    for way in ("head_parallel", "ring", "all_to_all"):
        answers = workers.run(4, cases.block, way, "zigzag", (h, h), arrays, rule, torch.float64)
        for mine, (Y, dX, *_), *_ in answers:
            np.testing.assert_allclose(Y, answer[0][mine], rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(dX, answer[1][mine], rtol=1e-10, atol=1e-11)
    few = masks.Table(table[:2])
    for way in ("head_parallel", "ring", "all_to_all"):
        refused = workers.errors(2, cases.block, way, "zigzag", (h, h), arrays, few, torch.float64)
        for _, said in refused:
            assert "mask speaks of 2 heads; wanted 6; a batch has axes (b, 1, n, m)" in said


def own_heads(matrices, sizes, rank, p):
    """Columns of W_Q, W_K and W_V and rows of W_O: whole groups, counted out anew."""
    h, g = sizes
    groups = range(rank * g // p, (rank + 1) * g // p)
    heads = [i for i in range(h) if i // (h // g) in groups]

    def columns(blocks, d):
        return [i * d + j for i in blocks for j in range(d)]

    W_Q, W_K, W_V, W_O = matrices
    return [
        W_Q[:, columns(heads, D_K)],
        W_K[:, columns(groups, D_K)],
        W_V[:, columns(groups, D_V)],
        W_O[columns(heads, D_V)],
    ]


@pytest.mark.parametrize(
    ("p", "sizes", "rule"),
    [(2, (6, 6), masks.causal), (2, (8, 4), None), (3, (6, 3), masks.causal & masks.window(3))],
    ids=["own-keys", "grouped", "three-ranks"],
)
def test_heads_divided_by_hand_are_heads_divided_by_dtensor(workers, p, sizes, rule):
    """Where p divides the groups, for it cuts columns. Its first layer takes each process five seconds."""
    for by_hand, theirs in workers.run(p, cases.with_dtensor, sizes, drawn(*sizes, 11), rule):
        for ours, others in zip(by_hand, theirs, strict=True):
            np.testing.assert_allclose(ours, others, rtol=1e-11, atol=1e-12)


def test_a_batch_has_leading_axes(workers):
    arrays = drawn(4, 4, 9, batch=(2, 3))
    for way in ("head_parallel", "ring", "all_to_all"):
        together = workers.run(2, cases.block, way, "zigzag", (4, 4), arrays, masks.causal, torch.float64)
        one = [array[1, 2] if array.ndim > 2 else array for array in arrays]
        alone = workers.run(2, cases.block, way, "zigzag", (4, 4), one, masks.causal, torch.float64)
        for (_, (Y, dX, *_), *_), (_, (y, dx, *_), *_) in zip(together, alone, strict=True):
            np.testing.assert_allclose(Y[1, 2], y, rtol=1e-12)
            np.testing.assert_allclose(dX[1, 2], dx, rtol=1e-11, atol=1e-13)


# Bytes -------------------------------------------------------------------------------------------------


def sizes_of(case, p, layout):
    shards = [cases.LAYOUTS[layout](size, p) for size in (case.n, case.m)]
    return [[case.b * sum(map(len, shard)) for shard in each] for each in shards]


RULES = "none", "causal", "window"  # whoever sees whom, the same keys travel
BYTES = [
    (2, "contiguous", torch.float32),
    (3, "contiguous", torch.bfloat16),
    (3, "zigzag", torch.float64),
    (4, "zigzag", torch.float32),
    (4, "contiguous", torch.float64),
]


@pytest.mark.parametrize("mask", RULES)
@pytest.mark.parametrize(("p", "layout", "dtype"), BYTES)
def test_the_bytes_of_a_ring_are_the_formulas(workers, p, layout, dtype, mask):
    case = Case(b=2, h=4, g=2, n=13, m=11, mask=mask)
    _, keys = sizes_of(case, p, layout)
    word, total = dtype.itemsize, max(4, dtype.itemsize)
    widths = case.g, case.d_k, case.d_v
    answers = workers.run(p, cases.contract, "ring", layout, case, dtype)
    for rank, (*_, forward, whole) in enumerate(answers):
        m, after = case.b * case.m, keys[(rank + 1) % p]
        assert forward["sent"] == ring_bytes(m, after, *widths, word)
        assert forward["received"] == ring_bytes(m, keys[rank], *widths, word)
        back = ring_backward_bytes(m, after, keys[rank], *widths, word, total)
        assert whole["sent"] - forward["sent"] == back
        assert whole["agreed"] == forward["agreed"] == MESSAGE * (p - 1)


@pytest.mark.parametrize(("p", "layout", "dtype"), BYTES)
def test_in_pieces_a_ring_sends_the_same_bytes(workers, p, layout, dtype):
    case = Case(b=2, h=4, g=2, n=13, m=11, mask="causal")
    whole = workers.run(p, cases.contract, "ring", layout, case, dtype)
    cut = workers.run(p, cases.in_pieces, 2, 3, cases.contract, "ring", layout, case, dtype)
    for (*_, forward, both), (*_, cut_forward, cut_both) in zip(whole, cut, strict=True):
        for name in "sent", "received", "agreed":
            assert (cut_forward[name], cut_both[name]) == (forward[name], both[name])


def test_no_more_than_two_pieces_travel_at_a_time(workers):
    case = Case(b=1, h=4, g=2, n=16, m=16)
    how = cases.contract, "ring", "zigzag", case, torch.float32
    for *_, forward, whole in workers.run(4, cases.in_pieces, 2, 3, *how):
        piece = 2 * case.g * (case.d_k + case.d_v) * 4
        assert forward["most_in_flight"] == 2 * piece
        assert whole["most_in_flight"] == 4 * piece  # and their gradients


def test_no_more_than_two_shards_travel_at_a_time(workers):
    case = Case(b=1, h=4, g=2, n=16, m=16)
    for *_, forward, whole in workers.run(4, cases.contract, "ring", "zigzag", case, torch.float32):
        shard = 4 * case.g * (case.d_k + case.d_v) * 4
        assert forward["most_in_flight"] == 2 * shard
        assert whole["most_in_flight"] == 4 * shard  # and their gradients


@pytest.mark.parametrize("piece", [5, 3, 1])
def test_a_rank_of_a_ring_holds_the_words_of_the_formula(workers, piece):
    """Counted in the process before each tile: its own shard, and room for two pieces, of 5, 3 or 1 key."""
    case = Case(b=1, h=6, g=2, n=20, m=20)
    for held in workers.run(4, cases.in_pieces, piece, 60, cases.words_held, "ring", case):
        assert set(held) == {ring_words(5, 5, piece, case.h, case.g, case.d_k, case.d_v)}


def test_a_rank_of_all_to_all_holds_the_words_of_the_formula(workers):
    case = Case(b=1, h=8, g=4, n=20, m=20)
    for held in workers.run(4, cases.words_held, "all_to_all", case):
        assert held == [all_to_all_words(20, 5, 8, 2, 4, 1, case.d_k, case.d_v)]


@pytest.mark.parametrize("mask", RULES)
@pytest.mark.parametrize(("p", "layout", "dtype"), BYTES)
def test_the_bytes_of_all_to_all_are_the_formulas(workers, p, layout, dtype, mask):
    case = Case(b=2, h=10, g=5, n=13, m=13, mask=mask)
    tokens, _ = sizes_of(case, p, layout)
    groups = [len(block) for (block,) in cuts.contiguous(case.g, p)]
    answers = workers.run(p, cases.contract, "all_to_all", layout, case, dtype)
    for rank, (*_, forward, whole) in enumerate(answers):
        n, g = case.b * case.n, groups[rank]
        how = n, tokens[rank], case.h, 2 * g, case.g, g, case.d_k, case.d_v, dtype.itemsize
        assert forward["sent"] == all_to_all_bytes(*how, max(4, dtype.itemsize))
        back = all_to_all_backward_bytes(*how, max(4, dtype.itemsize))
        assert whole["sent"] - forward["sent"] == back
    assert sum(a[-1]["sent"] for a in answers) == sum(a[-1]["received"] for a in answers)


@pytest.mark.parametrize(("p", "dtype"), [(2, DTYPES[0]), (3, DTYPES[1]), (4, DTYPES[0])], ids=str)
def test_the_bytes_of_head_parallelism_are_those_of_two_sums(workers, p, dtype):
    n = 11
    answers = workers.run(p, cases.block, "head_parallel", "zigzag", (6, 6), drawn(6, 6, n), None, dtype)
    for *_, forward, whole in answers:
        once = all_reduce_bytes(n * D_MODEL, p, dtype.itemsize)
        assert forward["sent"] == forward["received"] == once
        assert whole["sent"] == whole["received"] == 2 * once


def test_a_tile_is_computed_while_the_next_one_is_on_its_way(workers):
    for events in workers.run(3, cases.order_of_events):
        assert events[2:] == [
            "start step 0 of ring", "tile", "wait step 0 of ring",
            "start step 1 of ring", "tile", "wait step 1 of ring",
            "tile",
        ]  # fmt: skip


def test_in_pieces_as_well(workers):
    for events in workers.run(2, cases.in_pieces, 2, 9, cases.order_of_events):
        first, second = ("step 0 of ring, piece 1 of 2", "step 0 of ring, piece 2 of 2")
        assert events[2:] == [
            f"start {first}", "tile", f"wait {first}", "tile",
            f"start {second}", "tile", f"wait {second}", "tile",
        ]  # fmt: skip


def test_gradients_come_home_while_the_next_piece_is_computed(workers):
    for events in workers.run(2, cases.in_pieces, 2, 9, cases.order_of_events, 8, True):
        first, second, home, last = (
            f"step {step} of ring backward, piece {i} of 2" for step in (0, 1) for i in (1, 2)
        )
        assert events == [
            f"start {first}", "tile", f"wait {first}", "tile", f"start {home}",
            f"start {second}", "tile", f"wait {home}", f"wait {second}", "tile", f"start {last}",
            f"wait {last}",
        ]  # fmt: skip


# What gloo lets pass, and our layer does not ------------------------------------------------------------


def test_positions_are_sent_and_not_memory(workers):
    """A view of heads, (B, T, H, D) with H before T, gives what its copy gives, to the bit."""
    for way in cases.WAYS:
        for one, other in workers.run(2, cases.in_disorder, way):
            np.testing.assert_array_equal(one, other)


def test_a_sum_adds_positions_and_the_librarys_adds_memory(workers):
    answers = workers.run(2, cases.sum_in_disorder)
    for ours, _, right in answers:
        np.testing.assert_array_equal(ours, right)
    assert any((theirs != right).any() for _, theirs, right in answers)


def test_a_shorter_message_is_an_error_before_it_is_sent(workers):
    """The library takes it, and leaves the old numbers behind it (`tests/test_workers.py`)."""
    change = [{}, {"more": -1}]
    for kind, said in workers.errors(2, cases.differing, "ring", each=change):
        assert "Q has 3 rows; wanted 4, as shards has them for this rank" in said, kind


def test_another_shape_of_as_many_numbers_is_an_error(workers):
    """The library adds them up (`tests/test_workers.py`)."""
    for _, said in workers.errors(2, cases.differing_block, each=[{"n": 4}, {"n": 5}]):
        assert said == "X is [5, 6] on rank 1 and [4, 6] on rank 0; wanted the same on every rank"


def test_everybody_may_send_first(workers):
    """A blocking send of 16 bytes waits for its receive, so a ring of these never ends. Ours does."""
    for *_, parts, forward, _ in workers.run(
        4, cases.contract, "ring", "contiguous", Case(n=4, m=4), DTYPES[0]
    ):
        assert forward["sent"] > 16
        assert np.isfinite(parts[0]).all()


def test_another_dtype_is_an_error(workers):
    for kind, said in workers.errors(2, cases.another_dtype):
        assert (kind, said[:13]) == ("ValueError", "a test sends ")
        assert said.endswith("torch.float64; wanted torch.float32")


# Ranks that mean different calls -------------------------------------------------------------------------

DIFFERENT = {
    "Q": {"d": 5},
    "K": {"g": 2},
    "dtype": {"dtype": torch.float64},
    "mask": {"mask": masks.causal},
    "shards": {"layout": "zigzag"},
    "scale": {"scale": 2.0},
    "softcap": {"softcap": 2.0},
    "sink": {"sink": torch.zeros(4)},
    "gradients": {"learns": True},
    "call": {"way": "all_to_all"},
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_rank_that_means_something_else_is_found_before_the_first_tile(workers, what):
    for kind, said in workers.errors(3, cases.differing, "ring", each=[{}, {}, DIFFERENT[what]]):
        assert kind == "ValueError"
        assert said.startswith(what)
        assert " on rank 2 and " in said
        assert said.endswith("; wanted the same on every rank")


def test_sinks_of_other_numbers_are_told_apart(workers):
    each = [{"sink": torch.arange(4.0)}, {"sink": torch.ones(4)}]
    for kind, said in workers.errors(2, cases.differing, "ring", each=each):
        assert (kind, said[:9]) == ("ValueError", "sink is [")
        assert said.endswith("; wanted the same on every rank")
    workers.run(2, cases.differing, "ring", each=each[:1] * 2)


def test_a_sink_or_a_cap_that_does_not_fit_is_refused(workers):
    for way in cases.WAYS:
        (_, said), _ = workers.errors(2, cases.differing, way, each=[{"sink": torch.ones(3)}, {}])
        assert said == "sink has shape (3,); wanted (4,), one for each head"
        (_, said), _ = workers.errors(2, cases.differing, way, each=[{"softcap": 0}, {}])
        assert said.startswith("softcap is 0; wanted ")
    (_, said), _ = workers.errors(2, cases.a_sink_of_no_head)
    assert said == "sink has shape (1,); wanted (0,), for this rank has no heads"


def test_a_block_whose_ranks_differ_is_found_as_well(workers):
    for what, change in {"mask": masks.causal, "scale": 2.0, "softcap": 2.0}.items():
        for kind, said in workers.errors(2, cases.differing_block, each=[{"n": 4}, {"n": 4, what: change}]):
            assert kind == "ValueError"
            assert re.fullmatch(
                rf"{what} is .+ on rank 1 and .+ on rank 0; wanted the same on every rank", said
            )
    (_, mine), (_, theirs) = workers.errors(2, cases.differing_block, each=[{"n": 4, "scale": "x"}, {"n": 4}])
    assert mine == "scale is 'x'; wanted a finite number"
    assert theirs == f"rank 0 does not take part in head_parallel: ValueError: {mine}"


def test_masks_that_look_alike_are_told_apart(workers):
    """Of a long list of documents a name shows the beginning alone."""
    ids = np.arange(100) // 10
    other = ids.copy()
    other[99] = 0
    assert repr(masks.documents(ids)) == repr(masks.documents(other))
    changes = [{"mask": masks.documents(ids)}, {"mask": masks.documents(other)}]
    for _, said in workers.errors(2, cases.differing, "ring", each=changes):
        assert said.startswith("mask is documents([0, 0, 0")
    workers.run(2, cases.differing, "ring", each=[{"mask": masks.documents(ids)}] * 2)


def test_a_rank_whose_arguments_are_refused_tells_the_others(workers):
    mine, theirs = workers.errors(2, cases.differing, "ring", each=[{"h": 3, "g": 2}, {}])
    assert mine == ("ValueError", "K has 2 heads; wanted a divisor of the 3 heads of Q")
    assert theirs[0].endswith("RankFailed")
    assert theirs[1] == f"rank 0 does not take part in ring: ValueError: {mine[1]}"


def test_an_array_is_no_rule_and_more_ranks_than_groups_are_refused(workers):
    for kind, said in workers.errors(2, cases.differing, "ring", {"mask": torch.ones(8, 8) > 0}):
        assert kind in ("TypeError", "selfattention.parallel.links.RankFailed")
        assert "mask is a Tensor; wanted a rule, which knows every rank's positions" in said
    for _, said in workers.errors(3, cases.differing, "all_to_all", {"g": 2}):
        assert "K has 2 heads for 3 ranks; wanted a head for every rank" in said


@pytest.mark.parametrize("way", cases.WAYS)
def test_a_second_derivative_is_refused(workers, way):
    for kind, said in workers.errors(2, cases.second_derivative, way):
        assert (kind, said[:32]) == ("RuntimeError", "trying to differentiate twice a ")


def test_a_mesh_is_a_group(workers):
    for one, *others in workers.run(2, cases.meshes):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_of_a_mesh_of_two_dimensions_one_is_wanted(workers):
    for _, said in workers.errors(4, cases.mesh_of_two_dimensions):
        assert said == "group is a mesh of dimensions ('dp', 'cp'); wanted one of them: mesh[name]"


def test_without_processes_there_is_no_group():
    with pytest.raises(TypeError, match=r"^group is None, and no processes have been joined; wanted"):
        Link()
    with pytest.raises(TypeError, match=r"^group is a str; wanted a ProcessGroup or a DeviceMesh"):
        Link.of("gloo")


SHARDS = {
    "has the tokens of 1 ranks; wanted those of 2": [[range(4)]],
    "wanted every position from 0 on in one range of one rank": [[range(2)], [range(3, 5)]],
    "wanted a sequence of ranges for every rank": [3, 4],
}


@pytest.mark.parametrize("said", SHARDS)
def test_shards_are_every_position_once(said):
    with pytest.raises((TypeError, ValueError), match=rf"^shards .*{said}"):
        cuts.checked("shards", SHARDS[said], 2)


@pytest.mark.parametrize("p", [1, 2, 3, 5])
@pytest.mark.parametrize("n", [0, 1, 4, 17])
def test_shards_are_those_of_the_formulas(n, p):
    """And the pairs that a causal rule shows in them are what their work is said to be."""
    for layout, work in ("contiguous", contiguous_work), ("zigzag", zigzag_work):
        shards = cases.LAYOUTS[layout](n, p)
        assert sorted(i for shard in shards for span in shard for i in span) == list(range(n))
        assert cuts.checked("shards", shards, p) == tuple(tuple(s for s in shard if s) for shard in shards)
        for rank, shard in enumerate(shards):
            assert sum(i + 1 for span in shard for i in span) == work(n, p, rank)
    starts = [span.start for (span,) in cuts.contiguous(n, p)]
    assert starts == [shard_start(n, p, rank) for rank in range(p)]


@pytest.mark.parametrize("layout", cases.LAYOUTS)
@pytest.mark.parametrize(("n", "p", "most"), [(0, 2, 3), (1, 3, 1), (17, 2, 4), (40, 3, 100), (64, 2, 8)])
def test_pieces_are_every_position_once(layout, n, p, most):
    shards = cuts.checked("shards", cases.LAYOUTS[layout](n, p), p)
    cut = cuts.pieces(shards, most)
    for rank, shard in enumerate(shards):
        together = [i for part in cut for span in part[rank] for i in span]
        assert sorted(together) == sorted(i for span in shard for i in span)
        assert max(cuts.tokens(part[rank]) for part in cut) <= most + len(shard) - 1
        rows = [i for span in shard for i in span]
        for part in cut:
            there = cuts.places_within(part[rank], shard)
            assert [rows[place] for place in there] == [list(span) for span in part[rank]]


def test_pieces_of_a_zigzag_are_the_same_work_for_all_ranks():
    """In every step. Cut one after the other they would not be: all see the first piece, some the last."""
    shards = cuts.zigzag(64, 4)
    for cut in cuts.pieces(shards, 4):
        for step in range(1, 4):
            work = [
                sum(
                    masks.causal.tile(rows, keys).sum()
                    for rows in shards[rank]
                    for keys in cut[(rank - step) % 4]
                )
                for rank in range(4)
            ]
            assert len(set(work)) == 1
