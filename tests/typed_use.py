"""What somebody who uses the package may write: it runs, and a strict type checker accepts it.

Each `ignore` stands at a mistake that the checker must see: where it does not, the comment is an error.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

import numpy as np
import torch

import selfattention
from selfattention import check, formulas, masks
from selfattention.exercises.diagnosis import Exercise, Verdict
from selfattention.extras import advice
from selfattention.formulas import multi_head_attention, softmax
from selfattention.implementations import IMPLEMENTATIONS, numpy_direct
from selfattention.implementations.learned_sink import sink_backward
from selfattention.masks import Rule, Says, causal
from selfattention.modules import MultiHeadAttention
from selfattention.mutants import mutants
from selfattention.mutants.kill_matrix import kill_matrix


# Formulas: NumPy in, NumPy out.
def drawn() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 4, 3))


Q = drawn()
A = softmax(Q)
assert_type(A, np.ndarray)
assert_type(formulas.attention(Q, Q, Q), np.ndarray)
W = np.eye(3, 6)
assert multi_head_attention(Q, W, W, W, W.T, 2).shape == (1, 4, 3)


def misused_formula() -> None:
    softmax("scores")  # pyright: ignore[reportArgumentType]
    formulas.attention(Q, Q)  # pyright: ignore[reportCallIssue]
    softmax(Q).upper()  # pyright: ignore


# Masks: rules, their algebra, and a rule of one's own.
class Even(Rule):
    """Every second key."""

    def __call__(self, i: np.ndarray, j: np.ndarray) -> np.ndarray:
        return (i - j) % 2 == 0

    def says(self, rows: range, columns: range) -> Says:
        return Says.SOMEBODY


rule = causal & masks.window(3) | ~masks.prefix(2) & masks.documents([0, 0, 1, 1]) & Even()
assert_type(rule, Rule)
assert_type(masks.bottom_right(causal & (masks.window(3) | masks.sinks(1)), 2, 4), Rule)
assert_type(masks.padding([3]).tile(range(4), range(4)), np.ndarray)
assert_type(rule.says(range(2), range(2)), Says)

# Implementations: arrays of the library that came in, by name or by module.
module = IMPLEMENTATIONS["numpy_tiled"].load()
O, L = module.attention(Q, Q, Q, mask=rule, bias=np.zeros((4, 4)), scale=0.5)
assert_type(O, np.ndarray)
capped, L_sink = module.attention(Q, Q, Q, softcap=50, sink=np.zeros(1))
assert_type(
    module.attention_backward(capped, Q, Q, Q, capped, L_sink, softcap=50, sink=np.zeros(1))[0], np.ndarray
)
assert_type(sink_backward(capped, capped, L_sink, sink=np.zeros(1)), np.ndarray)
dQ, dK, dV = module.attention_backward(O, Q, Q, Q, O, L, mask=np.tri(4, dtype=bool))
assert_type((dQ, dK, dV), tuple[np.ndarray, np.ndarray, np.ndarray])
assert_type(numpy_direct.attention(Q, Q, Q), tuple[np.ndarray, np.ndarray])
assert_type(IMPLEMENTATIONS["numba_tiled"].why_not(), str | None)
X = torch.zeros(1, 4, 6)
assert_type(IMPLEMENTATIONS["torch_tiled"].load().attention(X, X, X), tuple[torch.Tensor, torch.Tensor])


assert_type(selfattention.attention(Q, Q, Q, mask=rule, softcap=50), tuple[np.ndarray, np.ndarray])
assert_type(selfattention.attention(X, X, X), tuple[torch.Tensor, torch.Tensor])
assert_type(
    selfattention.attention_backward(O, Q, Q, Q, O, L, mask=rule), tuple[np.ndarray, np.ndarray, np.ndarray]
)
assert_type(selfattention.fastest(X, X, X).name, str)
assert_type(selfattention.fastest_backward(Q, Q, Q).passed_over.get("numba_tiled"), str | None)


def misused_implementation() -> None:
    selfattention.attention(Q, Q, Q, rule)  # pyright: ignore[reportCallIssue]
    module.attention(Q, Q, Q, rule)  # pyright: ignore[reportCallIssue]
    module.attend(Q, Q, Q)  # pyright: ignore


# Modules.
layer = MultiHeadAttention(6, 2)
assert_type(layer.weights(X), torch.Tensor)
assert_type(MultiHeadAttention.from_torch(torch.nn.MultiheadAttention(6, 2)), MultiHeadAttention)

# The door to the exercises, the mistakes, and what is missing.
assert_type(check.two_key_weight, Exercise)
assert_type(check.two_key_weight(...), Verdict)
assert_type(mutants("softmax")[0].name, str)
assert mutants("softmax")[0].function(Q).shape == Q.shape
assert_type(kill_matrix("softmax"), np.ndarray)
assert_type(advice("torch"), str)
