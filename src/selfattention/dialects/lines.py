"""What to write where a library reads a call otherwise: for each reading wanted, lines that bring it about.

A line is Python over the names of a call: Q, K, V, mask, bias, causal, scale, window, softcap, dropout and so
on, True in a mask = may see; n and m count queries and keys, h and g their heads. Lines that set O, A or L,
the output, the weights or the log-sum-exp, come after the call, the others before it. Which of them helps
depends on what the library says without it: `moving` runs a line before it gives it.
"""

from selfattention.dialects.questions.mask_types import HIDES, SHOWS

TOP_LEFT = "mask, causal = np.tri(n, m, dtype=bool), False"
BOTTOM_RIGHT = "mask, causal = np.tri(n, m, m - n, dtype=bool), False"
NO_TRIANGLE = "causal = False"
BOTH = "mask, causal = mask & np.tri(n, m, dtype=bool), False"
TRUE_SCALE = "scale = Q.shape[-1] ** -0.5"
SCORES = "S = Q @ K.swapaxes(-1, -2) * Q.shape[-1] ** -0.5"

ADDED = "mask, bias = None, mask.astype(Q.dtype)"

Lines = dict[str, tuple[str, ...]]


EMPTY = {"zeros": "0", "NaN": "np.nan", "mean of all keys": "V.mean(-2, keepdims=True)"}


def _where_seen(seen: str, *readings: str) -> Lines:
    """These readings of a row that sees nobody, `seen` being True where a query sees a key."""
    seen = f"({seen})" if " " in seen else seen
    where = f"O = np.where({seen}.any(-1, keepdims=True), O, {{}})"
    return {reading: (where.format(EMPTY[reading]),) for reading in readings or EMPTY}


def _of_a_mask(after: Lines) -> Lines:
    """The same where a boolean mask says it; a library that adds booleans gets a number instead."""
    added = {"zeros": "-np.inf", "mean of all keys": "np.finfo(np.float32).min"}
    lines = {
        reading: (*lines, *(f"mask = np.where(mask, 0.0, {added[k]})" for k in (reading,) if k in added))
        for reading, lines in after.items()
    }
    return lines | {
        "as if unmasked": ("mask = mask | ~mask.any(-1, keepdims=True)",),
        "added to the scores": (ADDED,),
    }


def _kept() -> Lines:
    """Readings of a mask of ones and zeros in the place of a boolean one."""
    return {
        SHOWS: ("mask = mask != 0", "mask = mask == 0"),
        HIDES: ("mask = mask == 0", "mask = mask != 0"),
        "added to the scores": (ADDED,),
    }


FINITE = "bias > np.finfo(bias.dtype).min"
SEEN_BY_BOTH = "mask & np.tri(n, m, dtype=bool)"

LINES: dict[str, Lines] = {
    "empty-row": _of_a_mask(_where_seen("mask")),
    "empty-row-by-minus-infinity": _where_seen("bias > -np.inf", "zeros", "NaN"),
    "empty-row-by-lowest-float": _where_seen(FINITE, "zeros", "mean of all keys")
    | {"as if unmasked": (f"bias = np.where(({FINITE}).any(-1, keepdims=True), bias, 0)",)},
    "empty-row-by-padding-and-causal": {
        reading: (f"seen = {SEEN_BY_BOTH}\n{lines[0]}", f"{BOTH}\n{_where_seen('mask')[reading][0]}")
        for reading, lines in _where_seen("seen").items()
    }
    | {
        "causal wins in that row": (
            f"seen = {SEEN_BY_BOTH}\n"
            "mask, causal = np.where(seen.any(-1, keepdims=True), seen, np.tri(n, m, dtype=bool)), False",
        ),
        "the mask is ignored": (TOP_LEFT,),
        "causal is ignored": (NO_TRIANGLE,),
    },
    "sample-of-padding": _of_a_mask(_where_seen("mask")),
    "weights-of-an-empty-row": {
        "zeros": ("A = np.where(mask.any(-1, keepdims=True), A, 0)",),
        "NaN": ("A = np.where(mask.any(-1, keepdims=True), A, np.nan)",),
        "mean of all keys": ("A = np.where(mask.any(-1, keepdims=True), A, 1 / m)",),
    },
    "gradients-with-an-empty-row": {
        "the empty row sends nothing back": ("mask = mask | ~mask.any(-1, keepdims=True)",)
    },
    "log-sum-exp-of-an-empty-row": {
        reading: (f"L = np.where(mask.any(-1), L, {number})",)
        for reading, number in {
            "−∞": "-np.inf",
            "0": "0",
            "0.7 times the lowest float32": "0.7 * np.finfo(np.float32).min",
        }.items()
    },
    "causal-fewer-queries": {
        "top left": (TOP_LEFT,),
        "bottom right": (BOTTOM_RIGHT,),
        "every key": (NO_TRIANGLE,),
    },
    "causal-more-queries": {
        "top left": (TOP_LEFT,),
        "bottom right, the mean of all keys": (
            f"{BOTTOM_RIGHT}\n{_where_seen('mask')['mean of all keys'][0]}",
        ),
        "every key": (NO_TRIANGLE,),
    },
    "causal-one-query": {"key 0": (TOP_LEFT,), "every key": (NO_TRIANGLE,)},
    "causal-with-a-cache": {
        "the cache counts": ("mask, causal = np.tri(n, m, past, dtype=bool), False",),
        "it does not": (TOP_LEFT,),
    },
    "mask-and-causal": {
        "both hold": (BOTH,),
        "the mask only": (NO_TRIANGLE,),
        "causal only": (TOP_LEFT,),
    },
    "bias-and-causal": {
        "both hold": ("bias, causal = np.where(np.tri(n, m, dtype=bool), bias, -np.inf), False",),
        "the bias only": (NO_TRIANGLE,),
        "causal only": ("bias = None",),
    },
    "mask-of-booleans": {
        SHOWS: ("mask = ~mask", "mask = np.where(mask, 0.0, -np.inf)"),
        HIDES: ("mask = ~mask", "mask = np.where(mask, -np.inf, 0.0)"),
        "added to the scores": (ADDED,),
    },
    "mask-of-float-ones": _kept(),
    "mask-of-integers": _kept(),
    "mask-of-bytes": _kept(),
    "mask-of-zero-and-minus-infinity": {
        "added to the scores": ("mask, bias = None, mask",),
        "0 is hidden, −∞ is seen": ("mask = mask != 0", "mask = mask == 0"),
    },
    "grouped-heads": {
        "head i reads group i // 2": ("K, V = (np.repeat(X, h // g, axis=1) for X in (K, V))",),
        "head i reads group i mod 2": ("K, V = (np.tile(X, (1, h // g, 1, 1)) for X in (K, V))",),
    },
    "mask-of-two-axes": {
        "(queries, keys)": ("mask = mask[None, None]",),
        "(batch, keys)": ("mask = mask[:, None, None]",),
    },
    "mask-of-three-axes": {
        "(heads, queries, keys)": ("mask = mask[None]",),
        "(batch, queries, keys)": ("mask = mask[:, None]",),
    },
    "axes": dict.fromkeys(
        ("heads first", "positions first"),
        ("Q, K, V = (X.swapaxes(1, 2) for X in (Q, K, V))\nO = O.swapaxes(1, 2)",),
    ),
    "axes-of-three": dict.fromkeys(
        ("positions second", "positions first"),
        ("Q, K, V = (X.swapaxes(0, 1) for X in (Q, K, V))\nO = O.swapaxes(0, 1)",),
    ),
    "weights-per-head": {"mean over heads": ("A = A.mean(1)",)},
    "nan-in-a-hidden-key": {
        "nothing": (
            "K = np.where(mask.any(-2)[..., None], K, 0)",
            "K = np.where((bias > -np.inf).any(-2)[..., None], K, 0)",
        )
    },
    "nan-in-a-hidden-value": {
        "nothing": (
            "V = np.where(mask.any(-2)[..., None], V, 0)",
            "V = np.where((bias > -np.inf).any(-2)[..., None], V, 0)",
        )
    },
    "scale-by-default": {"1/√d_k": (TRUE_SCALE,), "1": ("scale = 1.0",)},
    "scale-with-wide-values": {"1/√d_k": (TRUE_SCALE,), "1": ("scale = 1.0",)},
    "scale-of-zero": {"0": ("Q = 0 * Q",), "taken for none": (TRUE_SCALE,)},
    "softcap-and-bias": {
        "the bias is added after the cap": (
            f"{SCORES}\nscale, softcap, bias = 0.0, None, softcap * np.tanh(S / softcap) + bias",
        ),
        "the bias is capped": (
            f"{SCORES}\nscale, softcap, bias = 0.0, None, softcap * np.tanh((S + bias) / softcap)",
        ),
    },
    "softcap-and-mask": {
        "hidden keys stay hidden": (
            f"{SCORES}\ncapped = np.where(mask, softcap * np.tanh(S / softcap), -np.inf)\n"
            "scale, softcap, mask, bias = 0.0, None, None, capped",
        ),
    },
    "no-keys": {
        "zeros": ("O = np.zeros((*Q.shape[:-1], V.shape[-1]))",),
        "no rows": ("O = O[..., :0, :]",),
    },
    "window-of-two": {
        "two keys, its own among them": ("window = window - 1",),
        "three keys, its own among them": ("window = window + 1",),
    },
    "window-without-causal": {
        "one key to each side": (
            "window = window - 1",
            "mask, window = np.abs(np.arange(n)[:, None] - np.arange(m)) < window, None",
        ),
        "two keys to each side": (
            "window = window + 1",
            "mask, window = np.abs(np.arange(n)[:, None] - np.arange(m)) <= window, None",
        ),
        "its own, two before and all behind": ("mask, window = np.tri(m, n, window, dtype=bool).T, None",),
    },
    "half-beyond-its-range": {"right": ("Q, scale = Q * Q.shape[-1] ** -0.5, 1.0",)},
    "half-many-keys": {"1": ("Q, K, V = (X.astype(np.float32) for X in (Q, K, V))",)},
    "dropout-unsaid": {
        "nothing is dropped": ("dropout = 0.0",),
        "weights are dropped": ("training = True",),
    },
    "storage-of-weights": {
        "in, out": (
            "W = W.T",
            "W = W[: len(W) // 3].T",
            "W = W.reshape(len(W), -1)",
        ),
        "out, in": ("W = W.T", "W = W[: len(W) // 3]", "W = W.reshape(len(W), -1).T"),
        "in, heads, d": (
            "W = W.reshape(len(W), h, -1)",
            "W = W.T.reshape(len(W), h, -1)",
            "W = W[: len(W) // 3].T.reshape(len(W) // 3, h, -1)",
        ),
    },
}
