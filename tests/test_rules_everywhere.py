"""Rules and arrays as masks of every implementation: one meaning, also on the edges of tiles and of sense."""

import functools

import numpy as np
import oracle
import pytest
import torch

from selfattention import masks
from selfattention.implementations import IMPLEMENTATIONS
from selfattention.masks import Rule, Says, Table

RNG = np.random.default_rng(0)


@pytest.fixture(params=IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
def implementation(request):
    if why := request.param.why_not():
        pytest.skip(why)
    return request.param


@pytest.fixture
def computing(implementation):
    """The same where something is computed."""
    if implementation.compiler == "numba":
        pytest.skip("compiles for seconds in each process: meets rules in test_implementations.py")
    return implementation


def arrays_for(implementation, *arrays):
    if implementation.library == "numpy":
        return arrays
    return [torch.tensor(array, device=implementation.device) for array in arrays]


def numpy(array):
    return array.detach().cpu().numpy() if isinstance(array, torch.Tensor) else array


def inputs(n, m, batch=(2,), h=2, g=1, d=4):
    """Q, K, V and dO, float32, the same every time."""
    rng = np.random.default_rng(0)
    shapes = [(*batch, heads, length, d) for heads, length in ((h, n), (g, m), (g, m), (h, n))]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def output(implementation, mask, *QKV):
    """O alone, as a NumPy array."""
    return numpy(implementation.load().attention(*arrays_for(implementation, *QKV), mask=mask)[0])


class Stripes(Rule):
    """A rule of one's own: keys at an even distance in head 0, at an odd one in head 1."""

    def __call__(self, i, j):
        return np.stack([(i - j) % 2 == 0, (i - j) % 2 == 1])


def sample(n, m):
    """Rules at home and abroad; each tile of each implementation has something to ask."""
    ids = np.arange(max(n, m)) // 37
    table = np.random.default_rng(1).random((2, 1, n, m)) < 0.3
    return {
        "documents, bottom-right": masks.bottom_right(masks.documents(ids[:m].astype(np.int8)), n, m),
        "table, bottom-right": masks.bottom_right(Table(table[0, 0, :m]), n, m)
        if n > m
        else Table(table[0, 0]),
        "table and padding": Table(table) & masks.padding(np.array([m - 1, 129], np.uint16)),
        "not these documents": ~masks.documents(ids) & masks.causal,
        "own, per head": Stripes() | masks.window(np.int32(3)),
        "longer than int64": masks.window(2**70) & masks.prefix(2**70) & masks.causal,
        "lengths of zero": masks.padding([0, m]) | masks.prefix(0),
        "window of one": masks.window(1) | masks.prefix(1),
        "window and sinks": masks.bottom_right(masks.causal & (masks.window(50) | masks.sinks(4)), n, m),
        "moved twice": masks.bottom_right(masks.bottom_right(masks.causal & masks.window(99), n, m), m, n),
    }


SIZES = [(300, 530), (300, 140)]  # more than a tile in each direction, ragged; and n > 2 m
SAMPLE = [(size, name) for size in SIZES for name in sample(*size)]
FOR_AN_INTERPRETER = ["documents, bottom-right", "table and padding", "own, per head", "window and sinks"]
SAMPLE += [((150, 70), name) for name in FOR_AN_INTERPRETER]


@functools.cache
def expected(size, name, softcap=None, sink=None):
    """By definition, from the mask spelt out."""
    Q, K, V, dO = map(torch.tensor, inputs(*size))
    visible = np.broadcast_to(sample(*size)[name].tile(range(size[0]), range(size[1])), (2, 2, *size))
    leaves = [x.double().requires_grad_() for x in (Q, K, V)]
    sink = None if sink is None else torch.tensor(sink)
    O, L = oracle.attention(*leaves, torch.tensor(visible), None, None, softcap, sink)
    return [numpy(x) for x in (O, L, *torch.autograd.grad(O, leaves, dO.double()))]


@pytest.mark.parametrize(("size", "name"), SAMPLE, ids=str)
def test_rules_mean_the_same_to_every_implementation(computing, size, name):
    """Output and gradients, on whole tiles and ragged ones, before the first position and behind the last."""
    if (computing.compiler == "triton" and computing.device == "cpu") != (size == (150, 70)):
        pytest.skip("Triton's interpreter takes its time, and gets two tiles for each head")
    module, rule = computing.load(), sample(*size)[name]
    Q, K, V, dO = arrays_for(computing, *inputs(*size))
    O, L = module.attention(Q, K, V, mask=rule)
    gradients = module.attention_backward(dO, Q, K, V, O, L, mask=rule)
    for came, wanted in zip((O, L, *gradients), expected(size, name), strict=True):
        np.testing.assert_allclose(numpy(came), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("size", "name"), SAMPLE, ids=str)
def test_behind_a_cap_and_beside_a_sink_rules_mean_the_same(computing, size, name):
    """A cap comes before the mask, and no mask hides a sink."""
    if (computing.compiler == "triton" and computing.device == "cpu") != (size == (150, 70)):
        pytest.skip("Triton's interpreter takes its time, and gets two tiles for each head")
    module, rule, sink = computing.load(), sample(*size)[name], (0.5, -1.0)
    Q, K, V, dO, sinks = arrays_for(computing, *inputs(*size), np.array(sink, np.float32))
    options = {"mask": rule, "softcap": 1.0, "sink": sinks}
    O, L = module.attention(Q, K, V, **options)
    gradients = module.attention_backward(dO, Q, K, V, O, L, **options)
    for came, wanted in zip((O, L, *gradients), expected(size, name, 1.0, sink), strict=True):
        np.testing.assert_allclose(numpy(came), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "name"), [(size, name) for size in SIZES for name in sample(*size)], ids=str
)
def test_the_plan_of_numba_is_the_rule(size, name, monkeypatch):
    """Cell by cell: what the compiled loops read instead of asking the rule."""
    if why := IMPLEMENTATIONS["numba_tiled"].why_not():
        pytest.skip(why)
    from selfattention.implementations import numba_blocks as blocks

    rule, width = sample(*size)[name], 32
    monkeypatch.setattr(blocks, "_cell_by_cell", blocks._cell_by_cell.py_func)  # no need to compile it
    wanted = rule.tile(range(size[0]), range(size[1]))
    for plan in blocks.plans_for(rule, *size, width):
        planned = np.empty(
            (plan.batch, plan.heads, plan.where.shape[1] * 64, plan.where.shape[2] * width), bool
        )
        for b, down, along in np.ndindex(plan.where.shape):
            at, cell = plan.where[b, down, along], np.s_[b, :, down * 64 :, along * width :]
            spelt = (
                plan.seen[at : at + plan.heads * 64 * width].reshape(-1, 64, width) if at >= 0 else at == -1
            )
            planned[cell][:, :64, :width] = spelt
        came = planned[..., : plan.stop - plan.first, : size[1]]
        np.testing.assert_array_equal(*np.broadcast_arrays(came, wanted[..., plan.first : plan.stop, :]))


# Tiles that nobody visits


def tiles_of_loops(module, rule, n, m):
    """Of numpy_tiled, and of torch_tiled."""
    if hasattr(module, "_visible"):  # numpy_tiled
        return sum(len(rows) * len(columns) for rows, columns, _ in module._visible(rule, n, m))
    Q, K = torch.zeros(1, 1, n, 1), torch.zeros(1, 1, m, 1)
    tiles = module._tiles(rule, Q, K)
    return sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns, _ in tiles)


def tiles_of_a_plan(blocks, rule, n, m):
    return sum(64 * 32 * int((p.where != blocks.NOBODY).sum()) for p in blocks.plans_for(rule, n, m, 32))


def tiles_of_ranges(rules, rule, n, m):
    """Those of the forward pass and of the gradients of keys, the larger number."""
    (tree, operands), tall, wide = rules.lowered(rule, 1, 1, n, m), 128, 64
    forward, backward = (
        ranges(tree, operands, n, m, tall, wide)[0].T for ranges in (rules.key_blocks, rules.query_blocks)
    )
    visited = [
        -(-(end - begin - (gap_end - gap)) // step)
        for (begin, _, _, end, gap, gap_end), step in ((forward, wide), (backward, tall))
    ]
    return tall * wide * max(int(tiles.sum()) for tiles in visited)


@pytest.fixture
def pairs_visited(request, monkeypatch):
    """How many pairs lie in the tiles that an implementation visits, as a function of rule, n and m."""
    if why := IMPLEMENTATIONS[request.param].why_not():
        pytest.skip(why)
    module = IMPLEMENTATIONS[request.param].load()
    if request.param == "triton_fused":
        from selfattention.implementations import triton_rules

        return functools.partial(tiles_of_ranges, triton_rules)
    if request.param == "numba_tiled":
        from selfattention.implementations import numba_blocks as blocks

        monkeypatch.setattr(blocks, "_cell_by_cell", blocks._cell_by_cell.py_func)  # no need to compile it
        return functools.partial(tiles_of_a_plan, blocks)
    return functools.partial(tiles_of_loops, module)


TILED = ["numpy_tiled", "torch_tiled", "numba_tiled", "triton_fused"]


@pytest.mark.parametrize("pairs_visited", TILED, indirect=True)
@pytest.mark.parametrize(("n", "m"), [(8192, 8192), (512, 4096), (1, 8192)])
def test_between_the_sinks_and_the_window_no_tile_is_visited(pairs_visited, n, m):
    """As many as for the window and for the sinks, each alone; for all that is causal, many more."""
    window, sinks = masks.causal & masks.window(64), masks.causal & masks.sinks(4)
    both, *alone, causal = (
        pairs_visited(masks.bottom_right(rule, n, m), n, m)
        for rule in (masks.causal & (masks.window(64) | masks.sinks(4)), window, sinks, masks.causal)
    )
    assert max(alone) < both <= sum(alone)
    assert causal > 3 * both


# Leading axes


def by_one(mask, Q, K, V):
    """O (…, h, n, d), every member of the batch and every head by itself, under booleans (…, h, n, m)."""
    mask, O = np.broadcast_to(mask, (*Q.shape[:-1], K.shape[-2])), np.empty_like(Q)
    for at in np.ndindex(Q.shape[:-2]):
        group = (*at[:-1], at[-1] // (Q.shape[-3] // K.shape[-3])) if at else at
        q, k, v = (torch.tensor(x)[None, None] for x in (Q[at], K[group], V[group]))
        O[at] = oracle.attention(q, k, v, torch.tensor(mask[at])[None, None], None)[0][0, 0]
    return O


TABLE = RNG.random((3, 3, 5, 7)) < 0.5


@pytest.mark.parametrize("wrap", [Table, np.array], ids=["rule", "array"])
@pytest.mark.parametrize(
    "array",
    [TABLE[0, 0], TABLE[0], TABLE[:, :1], TABLE[:1], TABLE],
    ids=["n m", "h n m", "b 1 n m", "1 h n m", "b h n m"],
)
def test_three_axes_are_heads_where_heads_and_members_are_equally_many(computing, array, wrap):
    Q, K, V, _ = inputs(5, 7, batch=(3,), h=3, g=3)
    np.testing.assert_allclose(
        output(computing, wrap(array), Q, K, V), by_one(array, Q, K, V), rtol=1e-5, atol=1e-6
    )


def test_rules_of_a_batch_and_of_heads_where_they_are_equally_many(computing):
    Q, K, V, _ = inputs(5, 7, batch=(3,), h=3)
    rule = masks.padding([2, 7, 0]) & ~Table(TABLE[0])
    visible = (np.arange(7) < np.array([2, 7, 0])[:, None, None, None]) & ~TABLE[0]
    np.testing.assert_allclose(
        output(computing, rule, Q, K, V), by_one(visible, Q, K, V), rtol=1e-5, atol=1e-6
    )


def test_several_axes_of_a_batch(computing):
    """An array broadcasts as NumPy's do; a rule counts the members of all axes, the last one fastest."""
    Q, K, V, _ = inputs(5, 7, batch=(2, 3), h=2)
    lengths = np.arange(6)
    visible = np.arange(7) < lengths.reshape(2, 3, 1, 1, 1)
    wanted = by_one(visible, Q, K, V)
    for mask in masks.padding(lengths), visible, Table(visible.reshape(6, 1, 1, 7).repeat(5, 2)):
        np.testing.assert_allclose(output(computing, mask, Q, K, V), wanted, rtol=1e-5, atol=1e-6)
    per_second = TABLE[:, :1]  # (3, 1, n, m): the second axis of the batch
    np.testing.assert_allclose(
        output(computing, per_second, Q, K, V), by_one(per_second, Q, K, V), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"^mask speaks of a batch of 3; wanted 6"):
        output(computing, Table(per_second), Q, K, V)


@pytest.mark.parametrize("axes", [2, 3])
def test_no_axis_of_a_batch(computing, axes):
    """Q (n, d) is one head, Q (h, n, d) is h heads: three axes of a mask are heads there as well."""
    Q, K, V = (x[0] if axes == 3 else x[0, 0] for x in inputs(5, 7, h=3, g=3)[:3])
    array = TABLE[0] if axes == 3 else TABLE[0, :1]
    for mask in array, Table(array), Table(array[None]), Table(array) & masks.padding([7]):
        np.testing.assert_allclose(
            output(computing, mask, Q, K, V).reshape(-1, 5, 4),
            by_one(array, *(x.reshape(-1, *x.shape[-2:]) for x in (Q, K, V))),
            rtol=1e-5,
            atol=1e-6,
        )
    with pytest.raises(ValueError, match=r"^mask speaks of a batch of 2; wanted 1"):
        output(computing, masks.padding([7, 7]), Q, K, V)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (Table(TABLE[:2, 0]), r"mask speaks of 2 heads; wanted 4; a batch has axes \(b, 1, n, m\)"),
        (TABLE[:2, 0], r"mask has shape \(2, 5, 7\); wanted one that broadcasts to \(2, 4, 5, 7\)"),
        (masks.padding([1, 2, 3]), "mask speaks of a batch of 3; wanted 2"),
        (masks.padding([]), "mask speaks of a batch of 0; wanted 2"),
        (Table(TABLE[None, :2]), r"mask answers with shape \(1, 2, 3, 2, 2\); wanted \(b, h, n, m\) at most"),
        (masks.documents(range(6)), r"mask ends before query 4 or key 6: it is documents\(\[0, 1"),
        (Table(TABLE[0, 0, :4]), r"mask ends before query 4 or key 6: it is Table\(4 × 7\)"),
        (Table(TABLE[0, 0, :, :6]), "mask ends before query 4 or key 6"),
        (masks.causal & ~Table(TABLE[0, 0, :, :6]), r"mask ends before .*: it is causal & ~Table\(5 × 6\)"),
        (masks.bottom_right(masks.documents(range(6)), 4, 6), "mask ends before query 4 or key 6"),
        (
            masks.padding([1, 2]) & masks.padding([1, 2, 3]),
            r"mask padding\(\[1, 2\]\) & padding.* joins answers",
        ),
    ],
    ids=repr,
)
def test_a_mask_that_does_not_fit_is_named(implementation, mask, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        output(implementation, mask, *inputs(5, 7, h=4)[:3])


def test_a_rule_may_know_just_enough(computing):
    """The last query is the last position, the last key too; and as much on either side."""
    Q, K, V, _ = inputs(5, 7)
    for rule in masks.documents(np.zeros(7, int)), Table(np.ones((5, 7), bool)):
        np.testing.assert_array_equal(output(computing, rule, Q, K, V), output(computing, None, Q, K, V))


# Nothing at all


@pytest.mark.parametrize(
    ("n", "m", "batch", "rule"),
    [
        (0, 0, (2,), masks.documents([])),
        (0, 0, (2,), Table(np.zeros((0, 0), bool))),
        (3, 0, (2,), Table(np.zeros((3, 0), bool))),
        (0, 3, (2,), Table(np.zeros((2, 1, 0, 3), bool))),
        (3, 0, (2,), masks.bottom_right(masks.documents([]), 3, 0)),
        (3, 0, (2,), masks.padding([0, 0])),
        (3, 0, (2,), masks.documents([1, 1, 2]) & ~masks.causal),
        (3, 0, (2,), Stripes() | masks.window(1)),
        (0, 3, (2,), Stripes() & masks.prefix(0)),
        (3, 5, (0,), masks.padding([])),
        (3, 5, (0,), masks.padding(np.zeros(0, np.uint8)) & masks.causal),
        (3, 5, (0,), ~masks.padding([]) | masks.prefix(2)),
        (3, 5, (0,), masks.causal),
        (3, 5, (0,), Table(np.zeros((0, 2, 3, 5), bool))),
        (3, 5, (2, 0), masks.padding([])),
        (3, 5, (), masks.padding([0])),
    ],
    ids=repr,
)
def test_nothing_at_all(computing, n, m, batch, rule):
    """No queries, keys, positions or members: arrays of the right shapes, and nobody saw anything."""
    module, arrays = computing.load(), arrays_for(computing, *inputs(n, m, batch))
    Q, K, V, dO = arrays
    O, L = module.attention(Q, K, V, mask=rule)
    gradients = module.attention_backward(dO, Q, K, V, O, L, mask=rule)
    for came, like in zip((O, *gradients), (Q, Q, K, V), strict=True):
        assert came.shape == like.shape
        assert (numpy(came) == 0).all()
    assert np.isneginf(numpy(L)).all()
    assert L.shape == Q.shape[:-1]


# What is no mask


def own(answer):
    """A rule that answers what it is told to."""
    return type("Own", (Rule,), {"__call__": lambda self, i, j: answer(i, j)})()


@pytest.mark.parametrize(
    "wrap", [lambda r: r, lambda r: ~r, lambda r: masks.causal & r, lambda r: r | masks.causal]
)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda i, j: (j <= i) * 1, TypeError),
        (lambda i, j: (j <= i) * 1.0, TypeError),
        (lambda i, j: True, TypeError),
        (lambda i, j: (j <= 3)[None], ValueError),
        (lambda i, j: i <= 3, ValueError),
        (lambda i, j: (j <= i).T, ValueError),
        (lambda i, j: np.where((i < 2) & (j < 2), 1, j <= i) if i.min() < 2 else j <= i, TypeError),
    ],
    ids=["integers", "floats", "True", "a row", "a column", "sideways", "integers at first"],
)
def test_answers_that_are_no_masks_are_refused(implementation, answer, error, wrap):
    with pytest.raises(error, match=r"^mask Own answers with"):
        output(implementation, wrap(own(answer)), *inputs(5, 7)[:3])


def test_a_rule_of_ones_own_that_ends_is_named(implementation):
    with pytest.raises(ValueError, match=r"^mask ends before query 4 or key 6: it is Own, index 4 is out of"):
        output(implementation, own(lambda i, j: np.tri(4, 7, dtype=bool)[i, j]), *inputs(5, 7)[:3])


@pytest.mark.parametrize(
    ("mask", "came"),
    [
        (masks.window, "function"),
        (Says.NOBODY, "Says"),
        ([[True]], "list"),
        (True, "bool"),
    ],
)
def test_what_is_no_mask_is_named(implementation, mask, came):
    with pytest.raises(TypeError, match=rf"^mask is a {came}; wanted a rule or an array of booleans"):
        output(implementation, mask, *inputs(5, 7)[:3])


def test_a_masked_array_is_no_mask(implementation):
    with pytest.raises(TypeError, match=r"^mask is a masked array; wanted mask\.filled"):
        output(implementation, np.ma.array(np.ones((5, 7), bool), mask=True), *inputs(5, 7)[:3])


class Tensors(Rule):
    """A rule of one's own that asks torch."""

    def __call__(self, i, j):
        return torch.as_tensor(i + 2 * j) % 3 != 0


def test_a_rule_that_answers_with_tensors(computing):
    """Where tensors are computed with, alone and beside a rule that answers in arrays; else it is named."""
    QKV, mask = inputs(5, 7)[:3], (np.arange(5)[:, None] + 2 * np.arange(7)) % 3 != 0
    both = Tensors() & masks.causal
    right = output(computing, mask & np.tri(5, 7, dtype=bool), *QKV)
    np.testing.assert_array_equal(output(computing, both, *QKV), right)
    if computing.library == "numpy":
        for rule in Tensors(), ~Tensors():
            with pytest.raises(
                TypeError, match=r"^mask ~?Tensors answers with a torch Tensor beside a NumPy"
            ):
                output(computing, rule, *QKV)
    else:
        np.testing.assert_array_equal(output(computing, ~Tensors(), *QKV), output(computing, ~mask, *QKV))


# Between forward and backward


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name, made in IMPLEMENTATIONS.items()
        for kind in ("mask", "mask of NumPy", "Table", "padding", "documents")[
            : 5 if made.compiler is None else 1
        ]
        if made.library == "torch"
    ],
)
def test_a_mask_refilled_before_the_backward_pass_changes_no_gradient(name, kind):
    implementation = IMPLEMENTATIONS[name]
    if why := implementation.why_not():
        pytest.skip(why)
    array, make = {
        "mask": (torch.ones(5, 5, device=implementation.device).tril().bool(), lambda a: a),
        "mask of NumPy": (np.tri(5, dtype=bool), lambda a: a),
        "Table": (np.tri(5, dtype=bool), Table),
        "padding": (np.array([2, 3]), masks.padding),
        "documents": (np.array([0, 0, 1, 1, 1]), masks.documents),
    }[kind]
    leaves = [x.requires_grad_() for x in arrays_for(implementation, *inputs(5, 5)[:3])]
    O, _ = implementation.load().attention(*leaves, mask=make(array))
    right = torch.autograd.grad(O.square().sum(), leaves, retain_graph=True)
    array[:] = 1 - array[0] * 1 if kind in ("padding", "documents") else True
    for came, wanted in zip(torch.autograd.grad(O.square().sum(), leaves), right, strict=True):
        torch.testing.assert_close(came, wanted, rtol=0, atol=0)
