"""What a model multiplies around its softmax, read from the operations that PyTorch runs.

While a model runs, every operation is noted with what came in and what went out. A softmax whose input comes
from a product of two matrices, and whose output goes into another product, is an attention call: the first
product's factors are Q and Kᵀ, the second's are A and V. What lies between product and softmax is followed
operation by operation: numbers that multiply are the scale, tanh is a cap, a column that is put beside the
scores is a sink; what is left of the softmax's input after that is the mask and the bias.

Which row of which product is which row of the scores is found out by sending numbered entries the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

RESHAPED = {
    *("view", "_unsafe_view", "reshape", "clone", "expand", "unsqueeze", "squeeze", "permute", "transpose"),
    *("t", "alias", "detach", "slice", "select", "contiguous", "unflatten", "lift_fresh", "_reshape_alias"),
}
"""Operations that move entries, and change none."""
UNCHANGED = {
    "_to_copy",
    "masked_fill",
    "masked_fill_",
    "maximum",
    "clamp",
    "clamp_",
    "where",
    "dropout",
    "copy_",
}
HARMLESS = {"_to_copy", "masked_fill", "masked_fill_", "mul", "where", "add"}
"""What may follow the softmax; whether it changed a weight that counts, the numbers tell."""
PRODUCTS = {"bmm", "baddbmm", "mm"}
LINEAR = PRODUCTS | {"addmm", "convolution", "embedding", "_grouped_mm"}
SOFTMAX = {"_softmax", "_safe_softmax"}
NORMS = {"rsqrt", "native_layer_norm", "_fused_rms_norm", "linalg_vector_norm", "native_group_norm"}
ANGLES = {"cos", "sin", "polar"}
GATES = {"sigmoid", "silu", "softplus"}


@dataclass(eq=False)
class Step:
    """One operation: its name, its arguments, the steps its tensors come from, and what came out.

    A tensor that no operation made is a step without a name.
    """

    name: str
    arguments: tuple = ()
    options: dict = field(default_factory=dict)
    function: Any = None
    came_from: list = field(default_factory=list)
    went_to: list = field(default_factory=list)
    out: Any = None
    kept: tuple = ()  # what a product or a softmax took, as it was
    gave: Any = None  # and what came of it


NAN = "an output that is NaN"


class NotRead(Exception):
    """A softmax around which something stands that is not followed, and what."""


def steps_of(run: Callable[[], Any]) -> list[Step]:
    """Every operation of `run()`, in order."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    steps, known = [], {}

    def source(tensor):
        return known.setdefault(id(tensor), Step("", out=tensor))

    class Noted(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kwargs = kwargs or {}
            name = function.overloadpacket.__name__
            came = [source(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
            step = Step(name, args, kwargs, function, came)
            if name in PRODUCTS:
                step.kept = tuple(
                    leaf.detach().clone() for leaf in tree_leaves(args) if torch.is_tensor(leaf)
                )
            if name in SOFTMAX:
                step.kept = (args[0].detach().clone(),)
            out = function(*args, **kwargs)
            tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
            for tensor in tensors:
                known[id(tensor)] = step
            step.out = tensors[0] if tensors else None
            if name in PRODUCTS | SOFTMAX:
                step.gave = step.out.detach().clone()
            for other in came:
                other.went_to.append(step)
            steps.append(step)
            return out

    sdpa = torch.nn.attention
    with torch.no_grad(), sdpa.sdpa_kernel(sdpa.SDPBackend.MATH), Noted():
        run()
    return steps


@dataclass
class Call:
    """One attention call: Q (b, h, n, d_k), K (b, h, m, d_k), V (b, h, m, d_v), O (b, h, n, d_v) as arrays.

    The softmax was taken of C tanh(scale · QKᵀ / C) + `added`, without a cap of scale · QKᵀ + `added`, and of
    the sink beside it. `gated` is O after a gate that is made from its row's log-sum-exp. `factor` (b, h, n)
    multiplies the scores. `in_Q` are the numbers that Q and K had been multiplied with before; `inside` and
    `after` say what else was done to them and to O. `terms`: something is added that is a product itself.
    """

    Q: np.ndarray
    K: np.ndarray
    V: np.ndarray
    O: np.ndarray
    scale: float
    added: np.ndarray
    softcap: float | None = None
    sink: np.ndarray | None = None
    gated: np.ndarray | None = None
    factor: np.ndarray | None = None
    in_Q: float = 1.0
    terms: bool = False
    learned: bool = False
    inside: str = ""
    after: tuple[str, ...] = ()


def calls(steps: list[Step]) -> tuple[list[Call], list[str]]:
    """The attention calls in order, and of every softmax of a product that was not read, why."""
    found, why = [], []
    for step in steps:
        if step.name in SOFTMAX and _is_over_keys(step) and _leads_to_products(step.came_from[0]):
            try:
                found.append(_call(step))
            except NotRead as reason:
                why.append(str(reason))
    return found, why


def _is_over_keys(step):
    return step.arguments[1] % step.out.dim() == step.out.dim() - 1 and step.out.dim() > 2


def _leads_to_products(step, depth=40):
    """Does a step come from a product of two things that both depend on the input?"""
    if depth == 0:
        return False
    if step.name in PRODUCTS:
        return not any(_is_parameter(factor) for factor in step.came_from[-2:])
    if step.name in LINEAR or step.name in SOFTMAX:
        return False
    return any(_leads_to_products(before, depth - 1) for before in step.came_from)


def _is_parameter(step):
    import torch

    while step.name in RESHAPED | {"_to_copy"}:
        step = step.came_from[0]
    return isinstance(step.out, torch.nn.Parameter)


@dataclass
class _Way:
    """From a product of queries and keys to a softmax: the steps, in order, and what they were."""

    product: Step
    steps: list
    scale: float = 1.0
    cap: float | None = None
    sink: Any = None
    factor: Any = None
    terms: bool = False
    learned: bool = False


def _way(softmax):
    """Back from a softmax to its product, reading numbers on the way."""
    step, way, after_cap = softmax.came_from[0], _Way(None, []), 1.0
    capped = False
    while step.name not in PRODUCTS:
        if step.name in ("mul", "mul_", "div", "div_"):
            by = _multiplier(step)
            if isinstance(by, float):
                way.scale *= by
            else:
                way.factor = by if way.factor is None else way.factor * by
        elif step.name in ("tanh", "tanh_"):
            capped, after_cap, way.scale = True, way.scale, 1.0
        elif step.name == "cat":
            way.sink = step
        elif step.name in ("add", "add_", "sub", "sub_", "rsub"):
            others = [other for other in step.came_from if other is not _main(step)]
            for other in others:
                if not _is_maximum(other):
                    way.terms |= _leads_to_products(other)
                    way.learned |= _has_parameter(other)
        elif step.name not in RESHAPED | UNCHANGED:
            raise NotRead(step.name or "an input")
        way.steps.append(step)
        step = _main(step)
    if step.name == "baddbmm":
        beta, alpha = step.options.get("beta", 1), step.options.get("alpha", 1)
        way.scale *= alpha
        way.learned |= bool(beta) and _has_parameter(step.came_from[0])
    if capped:
        way.cap, way.scale = after_cap, way.scale * after_cap
    way.product, way.steps = step, way.steps[::-1]
    return way


def _main(step):
    """Of the tensors that a step takes, the one that leads back to the scores: the first that does."""
    for before in step.came_from:
        if _leads_to_products(before) and not _is_maximum(before):
            return before
    raise NotRead(step.name or "an input")


def _is_maximum(step):
    while step.name in RESHAPED:
        step = step.came_from[0]
    return step.name in ("amax", "max")


def _has_parameter(step, depth=25):
    """Is it made from something that is learned, by less than a layer?"""
    if _is_parameter(step):
        return True
    if depth == 0 or (step.name in LINEAR and step.name != "embedding"):
        return False
    return any(_has_parameter(before, depth - 1) for before in step.came_from)


def _multiplier(step):
    """What a step multiplies the scores by: a number, or an array that is the same for every key."""
    import torch

    main = _main(step).out
    others = [argument for argument in step.arguments[:2] if argument is not main]
    if len(others) != 1:
        raise NotRead("a square of scores")
    by = others[0]
    if not torch.is_tensor(by) or by.numel() == 1:
        return 1 / float(by) if step.name.startswith("div") else float(by)
    if step.arguments[0] is not main and step.name.startswith("div"):
        raise NotRead("a number divided by scores")
    by = by.double().numpy()
    if by.shape[-1] != 1:
        if not np.isin(by, (0, 1)).all():
            raise NotRead("a product with numbers for each key")
        return 1.0  # a mask, to which something large and negative is added later
    return 1 / by if step.name.startswith("div") else by


def _call(softmax):
    way = _way(softmax)
    X = _unrounded(softmax)
    n, width = X.shape[-2:]
    left, right = (factor.double().numpy() for factor in way.product.kept[-2:])
    where = _sent(way.product.out, way.steps, X.shape)
    sink, m = None, width
    if way.sink is not None:
        m = width - 1
        if (where[..., :m] < 0).any() or (where[..., m] >= 0).any():
            raise NotRead("scores joined of several products")
        sink = X[..., m]
    where = where[..., :m]
    if where.size == 0 or (where < 0).any():
        raise NotRead("scores of several products")
    lead = X.shape[:-2]
    rows, columns = way.product.out.shape[-2:]
    batch, row, column = where // (rows * columns), where // columns % rows, where % columns
    if (row[..., :, :1] == row).all() and (column[..., :1, :] == column).all():
        Q = left.reshape(-1, *left.shape[-2:])[batch[..., 0], row[..., 0]]
        K = right.reshape(-1, *right.shape[-2:]).swapaxes(-1, -2)[batch[..., 0, :], column[..., 0, :]]
        asks, offers = way.product.came_from[-2:]
    elif (column[..., :, :1] == column).all() and (row[..., :1, :] == row).all():
        Q = right.reshape(-1, *right.shape[-2:]).swapaxes(-1, -2)[batch[..., 0], column[..., 0]]
        K = left.reshape(-1, *left.shape[-2:])[batch[..., 0, :], row[..., 0, :]]
        offers, asks = way.product.came_from[-2:]
    else:
        raise NotRead("scores whose rows are no queries")
    V, O, ending = _values(softmax, m)
    factor = None if way.factor is None else np.broadcast_to(way.factor, (*lead, n, 1))
    S = Q @ K.swapaxes(-1, -2) * way.scale * (1 if factor is None else factor)
    if way.cap is not None:
        S = way.cap * np.tanh(S / way.cap)
    added = X[..., :m] - S
    shape = (-1, lead[-1], n)
    return Call(
        Q.reshape(*shape, Q.shape[-1]),
        K.reshape(-1, lead[-1], m, K.shape[-1]),
        V.reshape(-1, lead[-1], m, V.shape[-1]),
        O.reshape(*shape, O.shape[-1]),
        scale=way.scale,
        added=added.reshape(*shape, m),
        softcap=way.cap,
        sink=None if sink is None else sink.reshape(-1, lead[-1], n),
        factor=None if factor is None else factor.reshape(*shape),
        gated=_gated(ending, O.shape),
        in_Q=_scalars(asks) * _scalars(offers),
        terms=way.terms,
        learned=way.learned,
        inside=_inside(asks) or _inside(offers),
        after=_after(ending),
    )


def _unrounded(softmax):
    """The softmax's input before it was cut to fewer digits, or shifted by its row's maximum."""
    X, step = softmax.kept[0].double(), softmax.came_from[0]
    while step.name in RESHAPED | {"_to_copy"} and step.came_from[0].out.shape == X.shape:
        step = step.came_from[0]
    if step.name == "sub" and any(_is_maximum(other) for other in step.came_from):
        return step.came_from[0].out.double().numpy()
    wide = step.out.double()
    same = wide.shape == X.shape and ((wide - X).abs() <= 1e-5 * (1 + X.abs()))[X.abs() < 1e4].all()
    return (wide if same else X).numpy()


def _sent(start, steps, shape):
    """Which entry of `start` each entry of `shape` is, sent through the steps; −1 where it is none."""
    import torch

    sent = torch.arange(start.numel()).reshape(start.shape)
    for step in steps:
        if step.name in RESHAPED:
            sent = step.function(sent, *step.arguments[1:], **step.options)
        elif step.name == "cat":
            main = _main(step).out
            parts = [sent if part is main else torch.full(part.shape, -1) for part in step.arguments[0]]
            sent = torch.cat(parts, *step.arguments[1:])
        elif sent.shape != step.out.shape:
            sent = sent.expand(step.out.shape)
    return sent.expand(shape).numpy()


def _values(softmax, m):
    """V and O, in the order of the softmax's rows, and the product that made O."""
    for product, steps in _ways_on(softmax):
        A = softmax.out
        sent = _sent(A, steps, steps[-1].out.shape if steps else A.shape)
        lead, (n, width) = A.shape[:-2], A.shape[-2:]
        left, right = product.kept[-2:]
        first = (steps[-1] if steps else softmax) is product.came_from[-2]
        if not first:
            sent, left, right = sent.swapaxes(-1, -2), right.mT, left.mT
        if sent.shape != tuple(left.shape) or sent.shape[-1] != m:
            continue
        if product.gave.isnan().any():
            raise NotRead(NAN)
        out = product.gave if first else product.gave.mT
        O = np.full((*lead, n, out.shape[-1]), np.nan)
        V = np.full((*lead, m, out.shape[-1]), np.nan)
        sent3 = sent.reshape(-1, *sent.shape[-2:])
        values = right.reshape(-1, *right.shape[-2:]).double().numpy()
        answers = out.reshape(-1, *out.shape[-2:]).double().numpy()
        heads, place = sent3 // (n * width), sent3 // width % n
        if not (np.diff(sent3, axis=-1) == 1).all():
            continue
        O3, V3 = O.reshape(-1, n, out.shape[-1]), V.reshape(-1, m, out.shape[-1])
        for b in range(len(sent3)):
            O3[heads[b, :, 0], place[b, :, 0]] = answers[b]
            V3[heads[b, :, 0]] = values[b]
        if not np.isnan(O).any():
            return V, O, product
    raise NotRead("weights that meet no values")


def _ways_on(softmax):
    """Every product that the weights go into, and the steps on the way."""
    ways, waiting = [], [(softmax, [])]
    while waiting:
        step, steps = waiting.pop(0)
        for after in step.went_to:
            if after.name in ("bmm", "baddbmm"):
                ways.append((after, steps))
            elif after.name in RESHAPED | HARMLESS and len(steps) < 12:
                waiting.append((after, [*steps, after]))
    return ways


def _scalars(step):
    """The numbers that multiply queries or keys on their way from the layer that made them."""
    number = 1.0
    for _ in range(60):
        if step.name in LINEAR or not step.came_from:
            return number
        if step.name in ("mul", "mul_", "div", "div_"):
            by = [a for a in step.arguments[:2] if not hasattr(a, "shape") or a.numel() == 1]
            if by:
                number *= 1 / float(by[0]) if step.name.startswith("div") else float(by[0])
        step = step.came_from[0]
    return number


def _inside(step):
    """Norm and RoPE between the layer that made the queries and their product, in that order."""
    before = _between(step)
    norms = [one for one in before if _is_norm(one)]
    turns = [one for one in before if _is_turn(one)]
    if norms and turns:
        first = any(norm in _between(turn) for turn in turns for norm in norms)
        return "norm, RoPE" if first else "RoPE, norm"
    return "norm" if norms else "RoPE" if turns else ""


def _between(step):
    """All that a step comes from, back to the nearest layers."""
    found, waiting = {}, [step]
    while waiting:
        step = waiting.pop()
        if step not in found and step.name not in LINEAR:
            found[step] = None
            waiting += step.came_from
    return found


def _is_norm(step):
    return step.name in NORMS or (
        step.name == "pow" and isinstance(step.arguments[1], float) and step.arguments[1] == -0.5
    )


def _is_turn(step):
    """Are a vector's halves or pairs exchanged and one negated, or is it multiplied by a cosine?"""
    if step.name in ("neg", "view_as_complex"):
        return True
    return step.name in ("mul", "mul_") and any(_is_angle(factor) for factor in step.came_from)


def _is_angle(step):
    while step.came_from and step.name in RESHAPED | {"_to_copy", "mul", "cat", "index", "stack"}:
        step = step.came_from[0]
    return step.name in ANGLES


def _after(product):
    """What happens to the output before the next layer: a gate, a norm."""
    names, waiting, seen = set(), [(product, 0)], set()
    while waiting:
        step, depth = waiting.pop(0)
        for after in step.went_to:
            if id(after) in seen or after.name in LINEAR or depth > 15:
                continue
            seen.add(id(after))
            if _is_norm(after):
                names.add("norm")
            if after.name in ("mul", "mul_") and any(_is_gate(other) for other in after.came_from):
                names.add("gate")
            waiting.append((after, depth + 1))
    return tuple(sorted(names))


def _gated(product, shape):
    """The output after a gate of its rows' log-sum-exp, where there is one of the same layout."""
    for step in (after for before in product.went_to for after in (before, *before.went_to)):
        if step.name == "mul" and tuple(step.out.shape) == shape:
            between = [one.name for factor in step.came_from for one in _between(factor)]
            if "logsumexp" in between and "sigmoid" in between:
                return step.out.double().numpy()
    return None


def _is_gate(step):
    while step.name in RESHAPED | {"_to_copy"}:
        step = step.came_from[0]
    return step.name in GATES
