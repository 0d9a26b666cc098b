"""What each mistake costs the trained model of chapter 09: atoms that its head no longer finds.

    python -m selfattention.mutants.prices

runs every mutant of a forward function in all layers, on all reactions, and writes
data/prices.json (about two minutes). `load` reads the file; tests run part of it again.
"""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

from selfattention import formulas
from selfattention.formulas import append_ones, concat_heads, layer_norm, split_heads
from selfattention.mutants import Mutant, mutants, right
from selfattention.trained import reactions, rxnmapper

PRICES = files("selfattention") / "data" / "prices.json"
LAYER, HEAD = 10, 5  # counted from 0: RXNMapper's published choice
PADDING = 8  # masks are priced with this many [PAD] behind each reaction, hidden from everybody


def with_attention(attention):
    """`multi_head_attention` around another attention of one head."""

    def multi_head(X, W_Q, W_K, W_V, W_O, h):
        return concat_heads(attention(*(split_heads(X @ W, h) for W in (W_Q, W_K, W_V)))) @ W_O

    return multi_head


def with_softmax(softmax):
    """`multi_head_attention` around another softmax."""
    return with_attention(lambda Q, K, V: softmax(formulas.scaled_scores(Q, K)) @ V)


def with_masked_attention(masked_attention):
    """`multi_head_attention` that may not look at the padding behind a text."""

    def attention(Q, K, V):
        n = K.shape[-2]
        visible = np.broadcast_to(np.arange(n) < n - PADDING, (n, n))
        return masked_attention(Q, K, V, visible)

    return with_attention(attention)


# For each function that can be priced: how a candidate for it becomes a `multi_head_attention`.
IN_PLACE = {
    "softmax": with_softmax,
    "attention": with_attention,
    "multi_head_attention": lambda multi_head: multi_head,
    "masked_attention": with_masked_attention,
}


class Affine(np.ndarray):
    """A matrix that brings its bias along: X @ W is X W + b, whatever was done to W before."""

    made_for_formulas = True  # which refuse other subclasses

    def __new__(cls, W, b):
        matrix = np.asarray(W).view(cls)
        matrix.b = b
        return matrix

    def __array_finalize__(self, parent):
        self.b = getattr(parent, "b", None)

    def __rmatmul__(self, X):
        W = np.asarray(self)
        return X @ W + self.b.reshape(*W.shape[:-2], 1, W.shape[-1])


def matrices(model):
    """W_Q, W_K, W_V, W_O of the trained layer, each with its bias."""
    return [Affine(W[:-1], W[-1]) for W in (model.layer[name] for name in ("W_Q", "W_K", "W_V", "W_O"))]


def states(model, E, multi_head, depth):
    """X (…, n, d_model) after `depth` layers whose heads are `multi_head`."""
    first, layer = model.embedding, model.layer
    X = append_ones(layer_norm(E, first["g_E"], first["b_E"])) @ first["W_E"]
    for _ in range(depth):
        Z = layer_norm(X + multi_head(X, *matrices(model), model.h), layer["g_1"], layer["b_1"])
        X = layer_norm(Z + formulas.feed_forward(Z, layer["W_1"], layer["W_2"]), layer["g_2"], layer["b_2"])
    return X


def widened(W, h, n):
    """W (h·d, h·d) with n more rows and columns of zeros in each head: (h·(d + n), h·(d + n)).

    √d_k is √(d + n) now; the factor, once in W_Q and once in W_K, leaves the scores as they were.
    """
    d = len(W) // h
    pad = ((0, 0), (0, n))
    wide = np.pad(np.asarray(W).reshape(h, d, h, d), pad * 2).reshape(h * (d + n), h * (d + n))
    bias = np.pad(W.b.reshape(h, d), pad).ravel()
    factor = (1 + n / d) ** 0.25
    return Affine(factor * wide, factor * bias)


def arrivals(multi_head, X, W_Q, W_K, h):
    """(…, h, n, n): what each token's output holds of each token's value, in each head.

    Each head gets n more columns. There every token carries its own row of the identity, its
    name; queries and keys do not see the names, and values are nothing else. The right function
    gives its weights A.
    """
    n, d = X.shape[-2], X.shape[-1] // h
    names = np.broadcast_to(np.eye(n), (*X.shape[:-2], h, n, n))
    named = concat_heads(np.concatenate([split_heads(X, h), names], axis=-1))
    only_names = np.diag(np.tile(np.arange(d + n) >= d, h).astype(X.dtype))
    same = np.eye(h * (d + n))
    Y = multi_head(named, widened(W_Q, h, n), widened(W_K, h, n), only_names, same, h)
    return split_heads(Y, h)[..., d:]


def read(model, tokens, multi_head):
    """(n, n): what the head of chapter 09 reads of the tokens, with `multi_head` in all layers.

    Raises ValueError where the shapes do not fit or the numbers are not finite.
    """
    with np.errstate(all="ignore"):
        X = states(model, model.embed(tokens)[None], multi_head, LAYER)
        return arrivals(multi_head, X, *matrices(model)[:2], model.h)[0, HEAD]


def atoms_found(model, cases, target, function):
    """How many atoms of each reaction the head finds with `function` in the place of the `target`.

    Raises ValueError as `read` does.
    """
    padding = ("[PAD]",) * PADDING * (target == "masked_attention")
    weights = [read(model, (*case.tokens, *padding), IN_PLACE[target](function)) for case in cases]
    return [int(case.atoms_right(case.points_at(A))) for case, A in zip(cases, weights, strict=True)]


def price(model, cases, target, function):
    """`atoms_found`, or the error's own words where the model refuses to run."""
    try:
        return atoms_found(model, cases, target, function)
    except ValueError as error:
        return str(error).splitlines()[0]


def priced():
    """Every (target, function) that is priced: for each target the right one, then its mutants."""
    return [
        (target, mutant)
        for target in IN_PLACE
        for mutant in [Mutant(target, right(target)), *mutants(target)]
    ]


def load():
    """{target: {function's name: atoms found per reaction, or why it did not run}}."""
    return json.loads(PRICES.read_text("utf-8"))


def main():
    model, cases = rxnmapper.load(np.float64), reactions.load()
    prices = {target: {} for target in IN_PLACE}
    for count, (target, mutant) in enumerate(todo := priced(), start=1):
        name = mutant.function.__name__
        prices[target][name] = price(model, cases, target, mutant.function)
        print(f"\r{count}/{len(todo)}  {target}.{name}\033[K", end="", file=sys.stderr)
    rows = (
        f'  "{target}": {{\n'
        + ",\n".join(f'    "{name}": {json.dumps(found, ensure_ascii=False)}' for name, found in row.items())
        + "\n  }"
        for target, row in prices.items()
    )
    Path(str(PRICES)).write_text("{\n" + ",\n".join(rows) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
