"""What is asked in the race: shapes, masks, inputs, and the answer in float64."""

from dataclasses import dataclass

import numpy as np

from selfattention import masks

WINDOW = 256  # a query sees itself and the 255 keys before it
DOCUMENT = 512  # tokens of each packed document
LENGTHS = (1024, 640, 384, 256, 192, 128, 128, 72)  # of a ragged batch: the mean is 353
ROWS = 512  # queries at a time in the float64 answer


@dataclass(frozen=True)
class Workload:
    """One question to all candidates. float32, standard normal inputs, the same for everyone."""

    name: str
    n: int
    m: int
    mask: str = "none"
    backward: bool = False
    b: int = 1
    h: int = 8
    g: int = 8
    d_k: int = 64
    d_v: int = 64

    @property
    def passes(self):
        return "forward+backward" if self.backward else "forward"

    def __str__(self):
        return f"{self.name}, {self.passes}, n = {self.n}"

    def inputs(self):
        """Q (b, h, n, d_k), K (b, g, m, d_k), V (b, g, m, d_v) and dO, the gradient that comes back."""
        rng = np.random.default_rng(0)
        b, h, g, n, m = self.b, self.h, self.g, self.n, self.m
        shapes = [(b, h, n, self.d_k), (b, g, m, self.d_k), (b, g, m, self.d_v), (b, h, n, self.d_v)]
        return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]

    def block_inputs(self):
        """X (b, n, d_model), then W_Q, W_K, W_V, W_O as (in, out), then their four b."""
        rng, d_model = np.random.default_rng(0), self.h * self.d_k
        shapes = [(self.b, self.n, d_model), *4 * [(d_model, d_model)], *4 * [(d_model,)]]
        X, *parameters = (rng.standard_normal(shape, dtype=np.float32) for shape in shapes)
        return X, *(parameter * np.float32(d_model**-0.5) for parameter in parameters)

    def visible(self, array=np.asarray):
        """(b, i, j) -> may query i of member b see key j? By definition, in NumPy's or torch's arrays."""
        lengths = array(LENGTHS)
        return {
            "none": lambda b, i, j: (i == i) & (j == j),
            "causal": lambda b, i, j: j <= i,
            "window": lambda b, i, j: (j <= i) & (i - j < WINDOW),
            "documents": lambda b, i, j: (j <= i) & (i // DOCUMENT == j // DOCUMENT),
            "padding": lambda b, i, j: (j < lengths[b]) & (i == i),
        }[self.mask]

    def rule(self):
        """The same as the package says it."""
        return {
            "none": None,
            "causal": masks.causal,
            "window": masks.causal & masks.window(WINDOW),
            "documents": masks.causal & masks.documents(np.arange(self.n) // DOCUMENT),
            "padding": masks.padding(LENGTHS),
        }[self.mask]

    def boolean(self):
        """The same as an array for those who want one: (n, m), or (b, 1, 1, m) for padding."""
        if self.mask == "padding":
            return self.visible()(np.arange(self.b)[:, None, None, None], 0, np.arange(self.m))
        return self.visible()(0, np.arange(self.n)[:, None], np.arange(self.m))

    def seen(self):
        """The share of all pairs of a query and a key that may see one another."""
        visible, j = self.visible(), np.arange(self.m)
        rows = (
            (b, np.arange(i, min(i + ROWS, self.n))[:, None])
            for b in range(self.b)
            for i in range(0, self.n, ROWS)
        )
        return sum(int(visible(b, i, j).sum()) for b, i in rows) / (self.b * self.n * self.m)

    def flops(self):
        """Multiplications and additions of the products, for pairs that see one another; no others."""
        scores = self.b * self.h * self.n * self.m * self.seen()
        forward, five = 2 * scores * (self.d_k + self.d_v), 2 * scores * (3 * self.d_k + 2 * self.d_v)
        projections = 8 * self.b * self.n * (self.h * self.d_k) ** 2 if self.name == "block" else 0
        return forward + projections + (five if self.backward else 0)

    def read(self):
        """Bytes that have to be read at least: Q, K and V once, in float32."""
        queries, keys = self.h * self.n * self.d_k, self.g * self.m * (self.d_k + self.d_v)
        return 4 * self.b * (queries + keys)

    def exact(self):
        """The answers in float64: O, or O, dQ, dK, dV."""
        return _exact_block(self) if self.name == "block" else _exact(self, *self.inputs())


def _exact(workload, *inputs):
    """By definition, head by head and a few queries at a time; shares no code with the package."""
    Q, K, V, dO = (array.astype(np.float64) for array in inputs)
    answers = O, dQ, dK, dV = np.empty_like(dO), np.empty_like(Q), np.zeros_like(K), np.zeros_like(V)
    visible, scale = workload.visible(), workload.d_k**-0.5
    for b, h in np.ndindex(Q.shape[:2]):
        group = b, h // (workload.h // workload.g)
        k, v = K[group], V[group]
        for start in range(0, workload.n, ROWS):
            i = np.arange(start, min(start + ROWS, workload.n))
            mine = b, h, i
            A = _softmax(Q[mine] @ k.T * scale, visible(b, i[:, None], np.arange(workload.m)))
            O[mine] = A @ v
            if workload.backward:
                dS = A * (dO[mine] @ v.T - (dO[mine] * O[mine]).sum(-1, keepdims=True)) * scale
                dQ[mine] = dS @ k
                dK[group] += dS.T @ Q[mine]
                dV[group] += A.T @ dO[mine]
    return answers if workload.backward else (O,)


def _exact_block(workload):
    """Y = Concat(heads) W_O + b_O."""
    X, *parameters = (array.astype(np.float64) for array in workload.block_inputs())
    W, biases = parameters[:4], parameters[4:]
    heads = [
        (X @ w + bias).reshape(*X.shape[:2], workload.h, -1).swapaxes(1, 2)
        for w, bias in zip(W[:3], biases[:3], strict=True)
    ]
    (O,) = _exact(workload, *heads, heads[0])
    return (O.swapaxes(1, 2).reshape(X.shape) @ W[3] + biases[3],)


def _softmax(S, visible):
    S = np.where(visible, S, -np.inf)
    E = np.exp(S - S.max(-1, keepdims=True))
    return E / E.sum(-1, keepdims=True)


def square(name, n, backward=False, **rest):
    return Workload(name, n, n, {"dense": "none"}.get(name, name), backward, **rest)


def others(windows):
    """Where masks and shapes are not the textbook's."""
    return [
        *(square("window", n) for n in windows),
        square("documents", 8 * DOCUMENT),
        square("padding", max(LENGTHS), b=len(LENGTHS)),
        Workload("grouped", 1024, 1024, "causal", h=32, g=8),
        Workload("mla", 1024, 1024, d_k=192, d_v=128),  # the widths of multi-head latent attention
        Workload("decoding", 1, 16384, h=32, g=8),
    ]


def small():
    """Short sequences: many, as encoders of text and of pictures have them, few, and next to nothing."""
    return [
        Workload("texts", 128, 128, b=16, h=12, g=12),
        Workload("texts, causal", 128, 128, "causal", b=16, h=12, g=12),
        Workload("pictures", 197, 197, b=8, h=12, g=12),
        Workload("picture", 197, 197, h=12, g=12),
        Workload("short", 64, 64),
        Workload("windows", 49, 49, b=64, h=3, g=3, d_k=32, d_v=32),
        Workload("call", 16, 16, h=1, g=1, d_k=16, d_v=16),
    ]


def widths():
    """Heads that are wider or narrower than 64."""
    narrow = [
        Workload("narrow", 9216, 9216, h=1, g=1, d_k=32, d_v=32, backward=both) for both in (False, True)
    ]
    return [Workload("wide", 2048, 2048, d_k=128, d_v=128), *narrow]


def blocks(sizes):
    return [Workload("block", n, n) for n in sizes]


def ladder():
    return [Workload("ladder", 1024, 1024)]


def full():
    """(threads, workload), all that `make bench` measures."""
    forward = [square(name, 2**p) for name in ("dense", "causal") for p in (7, 9, 10, 11, 12, 13)]
    both = [square(name, 2**p, backward=True) for name in ("dense", "causal") for p in (7, 9, 10, 11, 12)]
    both += [square("window", 4096, backward=True), square("documents", 4096, backward=True)]
    one = forward + both + others(windows=(2048, 4096, 8192)) + small() + widths()
    one += ladder() + blocks((512, 2048))
    # Two threads from 512 on: below that a call is over before the second has woken.
    two = [w for w in one if w.n >= 512 and w.name in ("dense", "causal")]
    return [*((1, w) for w in one), *((2, w) for w in two)]


def quick():
    """The same at a size or two: a few minutes."""
    dense = [square("dense", n) for n in (512, 1024, 2048)]
    causal = [square("causal", 1024), square("causal", 512, backward=True)]
    one = dense + causal + others(windows=(2048,)) + ladder() + blocks((512,))
    return [*((1, w) for w in one), (2, square("causal", 1024))]
