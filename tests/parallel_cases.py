"""What the workers of `parallel_workers` run: one rank's part of a case, given to it whole."""

import contextlib
import gc
import time
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from selfattention import masks
from selfattention.implementations import torch_direct
from selfattention.parallel import all_to_all as all_to_all_module
from selfattention.parallel import ring as ring_module
from selfattention.parallel import shards as cuts
from selfattention.parallel.all_to_all import all_to_all
from selfattention.parallel.blocks import by_tokens
from selfattention.parallel.dtensor_heads import Block, divided
from selfattention.parallel.head_parallel import head_parallel, heads_of
from selfattention.parallel.links import Link
from selfattention.parallel.ring import ring
from selfattention.parallel.sums import all_reduced

WAYS = {"ring": ring, "all_to_all": all_to_all}
NAMES = ["Y", "dX", "dW_Q", "dW_K", "dW_V", "dW_O"]
LAYOUTS = {"contiguous": cuts.contiguous, "zigzag": cuts.zigzag}


def counted(link):
    return {name: getattr(link, name) for name in ("sent", "received", "agreed", "most_in_flight", "waited")}


def numbers(tensors):
    return [None if x is None else x.detach().to(torch.float64).numpy() for x in tensors]


def rows(link, layout, n):
    """The shards, and the positions of this rank's rows in their order."""
    shards = LAYOUTS[layout](n, link.size)
    return shards, [i for span in shards[link.rank] for i in span]


@contextlib.contextmanager
def pieces_of(keys, rows):
    """A ring whose pieces have so many keys, and meet so many rows of all heads at a time."""
    usual = ring_module.KEYS, ring_module.ROWS, ring_module.QUERIES
    ring_module.KEYS, ring_module.ROWS, ring_module.QUERIES = keys, rows, rows
    try:
        yield
    finally:
        ring_module.KEYS, ring_module.ROWS, ring_module.QUERIES = usual


def in_pieces(link, keys, rows, case, *arguments):
    """Another of these cases, in such pieces."""
    with pieces_of(keys, rows):
        return case(link, *arguments)


def contract(link, way, layout, case, dtype, implementation="torch_tiled"):
    """O, L, dQ, dK, dV of this rank's rows and their positions; bytes forward, and after the way back."""
    Q, K, V, dO, bias = (None if x is None else torch.tensor(x, dtype=dtype) for x in case.inputs())
    shards, mine = rows(link, layout, case.n)
    key_shards, keys = rows(link, layout, case.m)
    Q, K, V = (x[:, :, i].clone().requires_grad_() for x, i in ((Q, mine), (K, keys), (V, keys)))
    how = {"shards": shards, "key_shards": key_shards, "mask": case.rule(), "implementation": implementation}
    O, L = WAYS[way](Q, K, V, group=link, bias=None if bias is None else bias[:, mine], **how)
    forward = counted(link)
    gradients = torch.autograd.grad(O, (Q, K, V), dO[:, :, mine])
    return mine, keys, numbers((O, L, *gradients)), forward, counted(link)


def block(link, way, layout, sizes, arrays, mask, dtype, implementation="torch_tiled"):
    """Y, dX and the gradients of the four matrices, of this rank's tokens or heads; bytes."""
    X, W_Q, W_K, W_V, W_O, dY = (torch.tensor(x, dtype=dtype) for x in arrays)
    h, g = sizes
    how = {"group": link, "mask": mask, "implementation": implementation}
    if way == "head_parallel":
        mine = list(range(X.shape[-2]))
        *matrices, h, g = heads_of(W_Q, W_K, W_V, W_O, h, g, rank=link.rank, p=link.size)
        leaves = [x.clone().requires_grad_() for x in (X, *matrices)]
        Y = head_parallel(*leaves, h, g, **how)
    else:
        shards, mine = rows(link, layout, X.shape[-2])
        leaves = [x.clone().requires_grad_() for x in (X[..., mine, :], W_Q, W_K, W_V, W_O)]
        Y = by_tokens(*leaves, h, g, attend=WAYS[way], shards=shards, **how)
    forward = counted(link)
    gradients = torch.autograd.grad(Y, leaves, dY[..., mine, :])
    return mine, numbers((Y, *gradients)), forward, counted(link)


def with_dtensor(link, sizes, arrays, mask):
    """The same by hand and by DTensor: Y, dX and this rank's dW_Q and dW_O of both."""
    X, W_Q, W_K, W_V, W_O, dY = (torch.tensor(x) for x in arrays)
    h, g = sizes
    *matrices, own_h, own_g = heads_of(W_Q, W_K, W_V, W_O, h, g, rank=link.rank, p=link.size)
    leaves = [x.clone().requires_grad_() for x in (X, *matrices)]
    Y = head_parallel(*leaves, own_h, own_g, group=link, mask=mask)
    by_hand = [Y, *torch.autograd.grad(Y, leaves, dY)]
    mesh = DeviceMesh.from_group(link.group, "cpu", mesh=list(range(link.size)))
    layers = divided(Block(W_Q, W_K, W_V, W_O, W_Q.shape[1] // h, W_V.shape[1] // g), mesh)
    X = X.clone().requires_grad_()
    Y = layers(X, mask)
    Y.backward(dY)
    theirs = [layer.weight.grad.to_local().T for layer in (layers.q, layers.k, layers.v, layers.o)]
    return numbers(by_hand), numbers((Y, X.grad, *theirs))


def learned_bias(link, way):
    """With a bias that is learned and a loss of O and L both: all gradients of this rank's rows."""
    rng = torch.Generator().manual_seed(0)
    n, h, g = 13, 6, 6 if way == "all_to_all" else 2
    shapes = [(2, h, n, 3), (2, g, n, 3), (2, g, n, 5), (h, n, n), (2, h, n, 5), (2, h, n)]
    Q, K, V, bias, dO, dL = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes)
    shards, mine = rows(link, "zigzag", n)
    leaves = [x[..., mine, :].clone().requires_grad_() for x in (Q, K, V, bias)]
    O, L = WAYS[way](*leaves[:3], group=link, shards=shards, bias=leaves[3])
    ours = [O, L, *torch.autograd.grad((O, L), leaves, (dO[..., mine, :], dL[..., mine]))]
    wanted = [x.clone().requires_grad_() for x in (Q, K, V, bias)]
    every = torch.arange(h) // (h // g)
    S = torch.einsum("bhid,bhjd->bhij", wanted[0], wanted[1][:, every]) * 3**-0.5 + wanted[3]
    O, L = torch.softmax(S, -1) @ wanted[2][:, every], torch.logsumexp(S, -1)
    theirs = [O, L, *torch.autograd.grad((O, L), wanted, (dO, dL))]
    theirs = [
        x[..., mine] if x.dim() == 3 and x.shape[-1] == n and i == 1 else x[..., mine, :]
        for i, x in enumerate(theirs)
    ]
    return numbers(ours), numbers(theirs)


def one_head(link):
    """A ring of arrays of two axes, with a bias and gradients; and one process."""
    rng = torch.Generator().manual_seed(0)
    shapes = [(9, 3), (9, 3), (9, 5), (9, 9), (9, 5)]
    *arrays, dO = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes)
    shards, mine = rows(link, "zigzag", 9)
    leaves = [x[mine].clone().requires_grad_() for x in arrays]
    O, L = ring(*leaves[:3], group=link, shards=shards, bias=leaves[3], mask=masks.causal)
    ours = [O, L, *torch.autograd.grad(O, leaves, dO[mine])]
    wanted = [x.clone().requires_grad_() for x in arrays]
    O, L = torch_direct.attention(*wanted[:3], bias=wanted[3], mask=masks.causal)
    theirs = [O, L, *torch.autograd.grad(O, wanted, dO)]
    return numbers(ours), numbers(x[mine] for x in theirs)


def cap_and_sink(link, way):
    """With a cap and a learned sink, a loss of O and L, and a query that sees nobody; and by one process."""
    rng = torch.Generator().manual_seed(0)
    n, h, g = 13, 6, 6 if way == "all_to_all" else 2
    shapes = [(2, h, n, 3), (2, g, n, 3), (2, g, n, 5), (h,), (2, h, n, 5), (2, h, n)]
    Q, K, V, sink, dO, dL = (torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes)
    sink[:2] = torch.tensor([-torch.inf, 200.0])  # none, and one that is nearly all of it
    how = {"mask": masks.causal & ~masks.prefix(1), "softcap": 0.8}
    wanted = [x.clone().requires_grad_() for x in (Q, K, V, sink)]
    O, L = torch_direct.attention(*wanted[:3], sink=wanted[3], **how)
    seen = L.isfinite()
    theirs = [O, L, *torch.autograd.grad((O, L), wanted, (dO, dL * seen))]
    shards, mine = rows(link, "zigzag", n)
    leaves = [*(x[..., mine, :].clone().requires_grad_() for x in (Q, K, V)), sink.clone().requires_grad_()]
    O, L = WAYS[way](*leaves[:3], group=link, shards=shards, sink=leaves[3], **how)
    ours = [O, L, *torch.autograd.grad((O, L), leaves, (dO[..., mine, :], (dL * seen)[..., mine]))]
    own = [x[..., mine] if i == 1 else x if i == 5 else x[..., mine, :] for i, x in enumerate(theirs)]
    return numbers(ours), numbers(own)


def block_with_cap_and_sink(link, way):
    """Y and the gradients of X and the sink, of heads that have a cap and a sink; by one process."""
    rng = torch.Generator().manual_seed(0)
    n, h, g, d = 7, 6, 3, 2
    shapes = [(n, 5), (5, h * d), (5, g * d), (5, g * d), (h * d, 5), (h,), (n, 5)]
    X, W_Q, W_K, W_V, W_O, sink, dY = (
        torch.randn(*shape, generator=rng, dtype=torch.float64) for shape in shapes
    )
    wanted = [x.clone().requires_grad_() for x in (X, sink)]
    Q, K, V = ((wanted[0] @ W).unflatten(-1, (-1, d)).transpose(-3, -2) for W in (W_Q, W_K, W_V))
    O, _ = torch_direct.attention(Q, K, V, softcap=0.8, sink=wanted[1])
    Y = O.transpose(-3, -2).flatten(-2) @ W_O
    theirs = [Y, *torch.autograd.grad(Y, wanted, dY)]
    if way == "head_parallel":
        *own, h, g = heads_of(W_Q, W_K, W_V, W_O, h, g, rank=link.rank, p=link.size)
        (groups,) = cuts.contiguous(3, link.size)[link.rank]
        heads = slice(2 * groups.start, 2 * groups.stop)
        leaves = [X.clone().requires_grad_(), sink[heads].clone().requires_grad_()]
        Y = head_parallel(leaves[0], *own, h, g, group=link, softcap=0.8, sink=leaves[1])
        theirs[2], mine = theirs[2][heads], slice(None)
    else:
        shards, mine = rows(link, "zigzag", n)
        leaves = [X[mine].clone().requires_grad_(), sink.clone().requires_grad_()]
        matrices = W_Q, W_K, W_V, W_O
        how = {"attend": WAYS[way], "group": link, "shards": shards, "softcap": 0.8, "sink": leaves[1]}
        Y = by_tokens(leaves[0], *matrices, h, g, **how)
        theirs = [theirs[0][mine], theirs[1][mine], theirs[2]]
    return numbers([Y, *torch.autograd.grad(Y, leaves, dY[mine])]), numbers(theirs)


def a_sink_of_no_head(link):
    """A rank without heads, and a sink of one."""
    X, wide, high = torch.ones(3, 5), torch.ones(5, 0), torch.ones(0, 5)
    head_parallel(X, wide, wide, wide, high, 0, 0, group=link, sink=torch.ones(1))


def sinks_that_are_none(link, way):
    """O and L with sinks of −∞, NaN and ∞, one for each of three heads; the same by one process."""
    rng = torch.Generator().manual_seed(0)
    Q, K, V = (torch.randn(3, 7, 4, generator=rng, dtype=torch.float64) for _ in range(3))
    sink = torch.tensor([-torch.inf, torch.nan, torch.inf])
    shards, mine = rows(link, "contiguous", 7)
    O, L = WAYS[way](*(x[:, mine] for x in (Q, K, V)), group=link, shards=shards, sink=sink)
    o, l = torch_direct.attention(Q, K, V, sink=sink)
    return numbers((O, L)), numbers((o[:, mine], l[:, mine]))


def large_values(link):
    """O of values near the largest number, of both signs: and the largest that there is."""
    limit = torch.finfo(torch.float32).max
    shards, mine = rows(link, "contiguous", 8)
    V = (limit * torch.tensor([1.0, -1.0]).repeat(4))[:, None]
    Q = torch.zeros(1, len(mine), 2)
    same, _ = ring(Q, Q, V.abs()[mine][None], group=link, shards=shards)
    mixed, _ = ring(Q, Q, V[mine][None], group=link, shards=shards)
    return (same / limit).numpy(), (mixed / limit).numpy()


def not_finite(link, way, where, value):
    """O, dQ, dK and dV with a NaN or infinity in a key, a value or dO; the last keys are seen by nobody."""
    rng = torch.Generator().manual_seed(0)
    n = 12
    Q, K, V, dO = (torch.randn(1, 4, n, 3, generator=rng, dtype=torch.float64) for _ in range(4))
    {"K": K, "V": V, "dO": dO}[where][0, 1, 7] = value
    rule = masks.causal & masks.prefix(9)
    leaves = [x.clone().requires_grad_() for x in (Q, K, V)]
    O, _ = torch_direct.attention(*leaves, mask=rule)
    theirs = [O, *torch.autograd.grad(O, leaves, dO)]
    shards, mine = rows(link, "zigzag", n)
    leaves = [x[..., mine, :].clone().requires_grad_() for x in (Q, K, V)]
    O, _ = WAYS[way](*leaves, group=link, shards=shards, mask=rule)
    ours = [O, *torch.autograd.grad(O, leaves, dO[..., mine, :])]
    return numbers(ours), numbers([x[..., mine, :] for x in theirs])


def in_disorder(link, way):
    """Q, K and V as views whose memory lies in another order; and the same, laid out."""
    rng = torch.Generator().manual_seed(0)
    n = 8
    shards, mine = rows(link, "contiguous", n)
    wide = [torch.randn(2, n, 4, 3, generator=rng)[:, mine] for _ in range(3)]
    views = [x.clone().transpose(1, 2) for x in wide]
    assert not any(x.is_contiguous() for x in views)
    one, _ = WAYS[way](*views, group=link, shards=shards)
    other, _ = WAYS[way](*(x.contiguous() for x in views), group=link, shards=shards)
    return numbers((one, other))


def sum_in_disorder(link):
    """A view with swapped axes on rank 0 alone, summed by us and by the library."""
    mine = torch.arange(24.0).reshape(2, 3, 4) + 100 * link.rank
    array = mine.transpose(1, 2).contiguous().transpose(1, 2) if link.rank == 0 else mine.clone()
    ours = all_reduced(link, link.call(), "the array", array)
    theirs = array.clone(memory_format=torch.preserve_format)
    dist.all_reduce(theirs, group=link.group)
    return numbers((ours, theirs, 2 * torch.arange(24.0).reshape(2, 3, 4) + 100))


def another_dtype(link):
    array = torch.ones(4)
    link.start("a test", link.call(), {1 - link.rank: array.double()}, {}, array)


def differing(link, way, change):
    """A call in which one rank has something else; `change` is a dictionary, another on each rank."""
    n = change.get("n", 8)
    h, g, d = change.get("h", 4), change.get("g", 4), change.get("d", 3)
    shards = LAYOUTS[change.get("layout", "contiguous")](n, link.size)
    length = len([i for span in shards[link.rank] for i in span]) + change.get("more", 0)
    dtype = change.get("dtype", torch.float32)
    Q, K, V = (torch.ones(2, heads, length, d, dtype=dtype) for heads in (h, g, g))
    Q.requires_grad_(change.get("learns", False))
    how = {name: change[name] for name in ("mask", "scale", "softcap", "sink") if name in change}
    WAYS[change.get("way", way)](Q, K, V, group=link, shards=shards, **how)


def differing_block(link, change):
    X, W = torch.ones(change["n"], 6), torch.ones(6, 3)
    head_parallel(X, W, W, W, W.T, 1, 1, group=link, **{name: change[name] for name in change if name != "n"})


class Recorded(Link):
    """A link that writes down when messages begin and when they are waited for."""

    def start(self, step, *arguments):
        self.events.append(f"start {step}")
        moving = super().start(step, *arguments)
        wait = moving.wait

        def waited():
            self.events.append(f"wait {step}")
            return wait()

        moving.wait = waited
        return moving


def order_of_events(link, n=8, backward=False):
    """What a ring does one after the other: messages begun, tiles computed, messages waited for."""
    link = Recorded(link.group)
    link.events = []
    shards, mine = rows(link, "contiguous", n)
    Q, K, V = (torch.ones(2, len(mine), 3, requires_grad=backward) for _ in range(3))
    usual = ring_module._Tile.of

    def of(self, *arguments):
        link.events.append("tile")
        return usual(self, *arguments)

    ring_module._Tile.of = of
    try:
        O, _ = ring(Q, K, V, group=link, shards=shards)
        if backward:
            link.events.clear()
            O.sum().backward()
    finally:
        ring_module._Tile.of = usual
    return link.events


def alive():
    """The bytes of all tensors of this process, a storage once, without what `gc.freeze` has put aside."""
    gc.collect()
    held = [thing.untyped_storage() for thing in gc.get_objects() if type(thing) is torch.Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in held}.values())


def words_held(link, way, case):
    """How many numbers a rank holds, its rows included: in the second step of a ring, or at the end."""
    shards, mine = rows(link, "contiguous", case.n)
    peaks = []
    gc.collect()
    gc.freeze()  # what is there already is neither counted nor walked through, at every tile
    Q, K, V = (torch.tensor(x[:, :, mine]) for x in case.inputs()[:3])
    place, name = (ring_module._Tile, "of") if way == "ring" else (all_to_all_module._Swap, "to_tokens")
    usual = getattr(place, name)

    def looked_at(*arguments):
        answer = usual(*arguments)
        peaks.append(alive() // 8)
        return answer

    setattr(place, name, looked_at)
    try:
        WAYS[way](Q, K, V, group=link, shards=shards)
    finally:
        setattr(place, name, usual)
        gc.unfreeze()
    return peaks


class Slow(Link):
    """A link of a rank that takes its time before every message."""

    seconds = 0.3

    def start(self, step, *arguments):
        time.sleep(self.seconds)
        return super().start(step, *arguments)


def with_a_slow_rank(link, case, slow):
    """The contract's case in a ring, where one rank is slow; seconds waited."""
    link = Slow(link.group) if link.rank == slow else link
    return contract(link, "ring", "zigzag", case, torch.float64)


class Pausing(Link):
    """A link that says where it is and stops there, until somebody ends its process."""

    def start(self, step, *arguments):
        if step == self.at:
            self.here.touch()
            time.sleep(3600)
        return super().start(step, *arguments)


def paused(link, way, rank, step, here):
    """A call of several steps forward and back, of which one rank stops at `step`."""
    if link.rank == rank:
        link = Pausing(link.group)
        link.at, link.here = step, here
    n = 16
    shards, mine = rows(link, "zigzag", n)
    Q, K, V = (torch.ones(4, len(mine), 3, requires_grad=True) for _ in range(3))
    O, _ = WAYS[way](Q, K, V, group=link, shards=shards)
    O.sum().backward()


def failing(link, rank, n=8, tile=1):
    """A ring in which one rank raises in one of its tiles."""
    shards, mine = rows(link, "contiguous", n)
    Q, K, V = (torch.ones(4, len(mine), 3) for _ in range(3))
    merge = ring_module._State.merge

    counted = iter(range(1, 1000))

    def broken(self, *arguments):
        if next(counted) == tile:
            raise MemoryError("no room for a tile")
        return merge(self, *arguments)

    if link.rank == rank:
        ring_module._State.merge = broken
    try:
        ring(Q, K, V, group=link, shards=shards)
    finally:
        ring_module._State.merge = merge


def without_one(link, absent):
    """A call to which one rank of the world does not come, in a group that waits four seconds."""
    link = Link(dist.new_group(timeout=timedelta(seconds=4)))
    if link.rank != absent:
        Q, K, V = torch.ones(3, 4, 1, 3)
        ring(Q, K, V, group=link, shards=cuts.contiguous(link.size, link.size))


def second_derivative(link, way):
    """The messages of a way back know nothing of a way back of their own."""
    shards, mine = rows(link, "contiguous", 4)
    Q = torch.ones(2, len(mine), 3, requires_grad=True)
    O, _ = WAYS[way](Q, Q, Q, group=link, shards=shards)
    (dQ,) = torch.autograd.grad((O * O).sum(), Q, create_graph=True)
    dQ.sum().backward()


def meshes(link):
    """The same call by a mesh of one dimension, by its group and by a link; and a mesh of two."""
    n = 8
    shards, mine = rows(link, "contiguous", n)
    Q, K, V = (torch.arange(4.0 * len(mine) * 3).reshape(4, len(mine), 3) / 10 for _ in range(3))
    mesh = DeviceMesh.from_group(link.group, "cpu", mesh=list(range(link.size)), mesh_dim_names=("cp",))
    answers = [ring(Q, K, V, group=group, shards=shards)[0] for group in (mesh, link.group, link)]
    return numbers(answers)


def mesh_of_two_dimensions(link):
    """A call by one dimension of a mesh of 2 × 2, and by the mesh as a whole."""
    mesh = DeviceMesh("cpu", [[0, 1], [2, 3]], mesh_dim_names=("dp", "cp"))
    rows = torch.ones(3, 4, 1, 3)
    O, _ = ring(*rows, group=mesh["cp"], shards=cuts.contiguous(2, 2))
    assert torch.equal(O, rows[0])
    ring(*rows, group=mesh, shards=cuts.contiguous(2, 2))
