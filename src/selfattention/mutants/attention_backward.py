"""Wrong `attention_backward(dO, Q, K, V) -> (dQ, dK, dV)`."""

from selfattention.formulas import scaled_scores, softmax


def _gradients(dO, Q, K, V, softmax_backward=None, root=None):
    """The right gradients, but for the two parts that a mutant replaces."""
    A, dA = softmax(scaled_scores(Q, K)), dO @ V.swapaxes(-1, -2)
    dS = (softmax_backward or _right)(A, dA) / (Q.shape[-1] ** 0.5 if root is None else root)
    return dS @ K, dS.swapaxes(-1, -2) @ Q, A.swapaxes(-1, -2) @ dO


def _right(A, dA):
    return A * (dA - (A * dA).sum(-1, keepdims=True))


def delta_forgotten(dO, Q, K, V):
    """The δ term left out: dS = A ∘ dA. Chapter 12."""
    return _gradients(dO, Q, K, V, lambda A, dA: A * dA)


def scale_forgotten(dO, Q, K, V):
    """1/√d_k left out on the way back. Chapter 12."""
    return _gradients(dO, Q, K, V, root=1.0)


def softmax_skipped(dO, Q, K, V):
    """dS = dA: the softmax skipped on the way back. Chapter 12."""
    return _gradients(dO, Q, K, V, lambda A, dA: dA)


def diagonal_of_the_jacobian(dO, Q, K, V):
    """dS = A ∘ (1 − A) ∘ dA: a sigmoid's derivative instead of the softmax's. Chapter 12."""
    return _gradients(dO, Q, K, V, lambda A, dA: A * (1 - A) * dA)


def queries_and_keys_exchanged(dO, Q, K, V):
    """dQ and dK returned in the wrong order. Chapter 12."""
    dQ, dK, dV = _gradients(dO, Q, K, V)
    return dK, dQ, dV


def weights_not_transposed(dO, Q, K, V):
    """dV = A dO instead of Aᵀ dO: no error where n = m. Chapter 12."""
    dQ, dK, _ = _gradients(dO, Q, K, V)
    return dQ, dK, softmax(scaled_scores(Q, K)) @ dO
