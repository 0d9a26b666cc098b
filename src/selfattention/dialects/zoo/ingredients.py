"""What an attention call adds to the formula, by name; and the same call through our contract.

A call comes with its numbers (`traced.Call`), and a second one of the same model on another input: what
differs in mask or bias between the two was made from the input. A mask is named by trial: the first rule of
`selfattention.masks` that gives it. The contract then computes the call from the names alone where there are
any, and from arrays where there are none.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from selfattention import masks
from selfattention.dialects.zoo.traced import Call
from selfattention.implementations.numpy_direct import attention

HIDDEN = -5000.0
"""What is added below this is a mask: the smallest in use is −10⁴, and no score of ours comes near."""
SMALL = 1e-5
"""Of the largest score: what is added and is less is rounding."""

Row = dict[str, Any]


def row(call: Call, other: Call) -> Row:
    """The ingredients of a call, and the largest error of the contract's output, relative to the largest |O|.

    Absent is what is as in the formula. "empty" counts rows that may see nobody: what a family gives there
    belongs to no formula, and they are not compared.
    """
    _, h, n, d = call.Q.shape
    m, d_v = call.V.shape[-2:]
    g = groups(call.K, call.V)
    said: Row = {"h": h, "g": g, "n": n, "m": m, "d_k": d, "d_v": d_v}
    allowed, bias = mask_and_bias(call)
    of_input = call.added.shape == other.added.shape and _differ(mask_and_bias(other), (allowed, bias))
    mask, text = named_mask(allowed)
    if text:
        said["mask"] = text
    if text == "table" and of_input and (mask_and_bias(other)[0] != allowed).any():
        said["mask_of_input"] = True
    if bias is not None:
        said["bias"] = "from the input" if call.terms or of_input else named_bias(bias[0], d)
        if call.learned and not (call.terms or of_input):
            said["learned"] = True
    sink = None
    if call.sink is not None:
        sink = call.sink[0, :, 0]
        said["sink"] = "from the input" if (call.sink != sink[:, None]).any() else "learned"
    elif call.gated is not None:
        sink, call = _as_sink(call)
        said["sink"] = "learned, as a gate"
    Q = call.Q
    if call.factor is not None:
        Q, said["factor"] = Q * call.factor[..., None], True
    said |= {"scale": call.scale, "in_Q": call.in_Q, "softcap": call.softcap}
    gates = () if call.gated is None else ("gate",)  # the gate is the sink, and no other
    said |= {"inside": call.inside, "after": [one for one in call.after if one not in gates]}
    shown = allowed if mask is None and text else mask
    given = {"mask": shown, "bias": bias, "scale": call.scale, "softcap": call.softcap, "sink": sink}
    O, _ = attention(Q, call.K[:, :: h // g], call.V[:, :: h // g], **given)
    sees = allowed.any(-1)
    if not sees.all():
        said["empty"] = int((~sees).sum())
    said["error"] = float(np.abs(O - call.O)[sees].max() / np.abs(call.O[sees]).max())
    return said


def _as_sink(call):
    """A gate σ(L − s) of the output is a sink s: the score, one for each head, and the call with O gated.

    The gate is O's quotient, where O is largest; s is read where the gate is nearest to a half, for others
    are 1 in the last digit. That it is one number for each head, the error tells.
    """
    at = np.abs(call.O).argmax(-1)[..., None]
    gate = np.take_along_axis(call.gated / call.O, at, -1)[..., 0]
    S = np.where(call.added > HIDDEN, call.Q @ call.K.swapaxes(-1, -2) * call.scale + call.added, -np.inf)
    c = S.max(-1)
    L = c + np.log(np.exp(S - c[..., None]).sum(-1))
    by_head = np.moveaxis(np.stack([gate, L]), 2, 1).reshape(2, gate.shape[1], -1)
    row = np.abs(by_head[0] - 0.5).argmin(-1)[:, None]
    gate, L = np.take_along_axis(by_head, row[None], -1)[..., 0]
    return L - np.log(gate / (1 - gate)), replace(call, O=call.gated)


def _differ(first, second):
    (allowed, bias), (other, its) = first, second
    if (allowed != other).any() or (bias is None) != (its is None):
        return True
    return bias is not None and not np.allclose(bias, its, atol=1e-6)


def groups(K: np.ndarray, V: np.ndarray) -> int:
    """How many different heads the keys and values have: 1 or a divisor of h."""
    h = K.shape[1]
    return next(
        g
        for g in range(1, h + 1)
        if h % g == 0 and all((X == np.repeat(X[:, :: h // g], h // g, 1)).all() for X in (K, V))
    )


def mask_and_bias(call: Call) -> tuple[np.ndarray, np.ndarray | None]:
    """Who may see whom (b, h, n, m), and what is added where somebody may, or None."""
    allowed = call.added > HIDDEN
    bias = np.where(allowed, call.added, 0)
    scores = call.scale * np.abs(call.Q).max() * np.abs(call.K).max() * call.Q.shape[-1]
    return allowed, bias if np.abs(bias).max() > SMALL * max(1, scores) else None


def named_mask(allowed: np.ndarray) -> tuple[masks.Rule | None, str]:
    """The rule and how one writes it: (None, "") for no mask, (None, "table") where no rule fits."""
    first = allowed[0, 0]
    if (allowed == first).all():
        n, m = first.shape
        for text in rules(n, m):
            rule = written(text, n, m)
            if (rule.tile(range(n), range(m)) == first).all():
                return (None, "") if text == "everybody" else (rule, text)
    return None, "table"


def rules(n: int, m: int) -> Iterator[str]:
    """The rules that are tried, as one writes them, the simplest first; of large tables the first few."""
    yield from ("everybody", "causal", "bottom_right(causal, n, m)")
    yield from (f"prefix({p})" for p in range(1, m))
    if n != m or n > 64:
        return
    for w in range(1, n):
        yield from (f"causal & window({w})", f"window({w})")
    for c in range(2, n):
        yield from (f"causal & documents(i // {c})", f"documents(i // {c})", f"causal | prefix({c})")
    for back in range(n):
        yield from (f"Band({-ahead}, {back})" for ahead in range(n))
    for c in range(1, n):
        yield from (f"causal & (window({w}) | sinks({c}))" for w in range(1, n))


def written(text: str, n: int, m: int) -> masks.Rule:
    """The rule that a text of `rules` writes."""
    return eval(text, vars(masks) | {"n": n, "m": m, "i": np.arange(max(n, m))})


def named_bias(bias: np.ndarray, d: int) -> str:
    """What kind of table (h, n, m) a bias is; where it hides, it holds zeros.

    ALiBi is said as one writes it, with `slopes` (h, 1, 1): those of `alibi_slopes`, times a number.
    """
    h, n, m = bias.shape
    i, j = np.arange(n)[:, None], np.arange(m)
    places = {"j": j + 0 * i, "(j - j[-1])": j - (m - 1) + 0 * i, "(j - i[:, None])": j - i}
    for text, distance in places.items():
        far = (bias != 0) * distance
        slopes = (bias * far).sum((1, 2)) / np.maximum(1, (far**2).sum((1, 2)))
        if np.allclose(slopes[:, None, None] * far, bias, rtol=5e-3, atol=1e-6):  # some round to bfloat16
            times = np.median(slopes / alibi_slopes(h))
            sizes = {"": 1, " / d_k**0.5": d**-0.5, " * 2 / d_k**0.5": 2 * d**-0.5}
            size = next(
                (words for words, number in sizes.items() if abs(times - number) < 5e-3), f" * {times:.4g}"
            )
            return f"slopes * {text}{size}"
    if all(_one(bias[:, i - j == k]) for k in range(1 - m, n)):
        return "a number for each head and distance"
    return "a table"


def _one(numbers):
    """Are all numbers of a head that are not hidden the same?"""
    return all(np.ptp(head[head != 0]) < 1e-6 if (head != 0).any() else True for head in numbers)


def alibi_slopes(h: int) -> np.ndarray:
    """2^(−8k/h) for k = 1 … h; else those of the next power below, and every second of the next.

    Press, Smith and Lewis (2022), and the code that came with it.
    """
    p = 2 ** int(np.log2(h))
    slopes = 2.0 ** (-8 / p * np.arange(1, p + 1))
    more = 2.0 ** (-4 / p * np.arange(1, 2 * (h - p), 2))
    return np.concatenate([slopes, more])
