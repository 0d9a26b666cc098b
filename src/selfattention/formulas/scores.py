"""How alike are a query and a key? Chapter: notebooks/03_scores.

Every measure has one signature, `score(Q, K, **its parameters)`, and returns S (…, n, m).
"""

import numpy as np
from jaxtyping import Float

from selfattention.formulas.context import weighted_sum
from selfattention.formulas.softmax import softmax
from selfattention.notation import Keys, Outputs, Queries, Scores, Values
from selfattention.signatures import checked, positive, scalars

# Two measures bring weights of their own, and let queries be wider or narrower than keys.
WideQueries = Float[np.ndarray, "*#batch n d_q"]
QueryToHidden = Float[np.ndarray, "*#batch d_q d_hidden"]
KeyToHidden = Float[np.ndarray, "*#batch d_k d_hidden"]
HiddenToScore = Float[np.ndarray, "*#batch d_hidden"]
QueryToKey = Float[np.ndarray, "*#batch d_q d_k"]


@checked
def dot_scores(Q: Queries, K: Keys) -> Scores:
    """Eq. dot-scores:  S_ij = q_i · k_j,  that is  S = Q Kᵀ.

    Q (…, n, d_k), K (…, m, d_k) give S (…, n, m). Source: Luong et al. 2015, "dot".
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return Q @ K.swapaxes(-1, -2)


@checked
def cosine_scores(Q: Queries, K: Keys) -> Scores:
    """Eq. cosine-scores:  S_ij = q_i · k_j / (‖q_i‖ ‖k_j‖),  between −1 and 1.

    Q (…, n, d_k), K (…, m, d_k) give S (…, n, m); rounding may pass ±1 by a few eps.
    Raises ValueError, naming the argument, for a row of zeros: it points nowhere.
    Source: Graves et al. 2014, section 3.3.1.
    """
    return _directions("Q", Q) @ _directions("K", K).swapaxes(-1, -2)


def _directions(name, rows):
    """The rows divided by their lengths."""
    largest = np.abs(rows).max(-1, keepdims=True)
    if not largest.all():
        where = tuple(int(i) for i in np.argwhere(largest == 0)[0][:-1])
        raise ValueError(f"{name} is all zeros at {where}; wanted vectors that have a direction")
    rows = rows / largest  # no square of these under- or overflows
    return rows / np.sqrt((rows * rows).sum(-1, keepdims=True))


@checked
def bilinear_scores(Q: WideQueries, K: Keys, *, W: QueryToKey) -> Scores:
    """Eq. bilinear-scores:  S_ij = q_i W k_jᵀ,  that is  S = Q W Kᵀ.

    Q (…, n, d_q), K (…, m, d_k), W (…, d_q, d_k) give S (…, n, m).
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Luong et al. 2015, "general".
    """
    return Q @ W @ K.swapaxes(-1, -2)


@checked
def additive_scores(
    Q: WideQueries, K: Keys, *, W_1: QueryToHidden, W_2: KeyToHidden, w: HiddenToScore
) -> Scores:
    """Eq. additive-scores:  S_ij = tanh(q_i W_1 + k_j W_2) · w.

    Q (…, n, d_q), K (…, m, d_k), W_1 (…, d_q, d_hidden), W_2 (…, d_k, d_hidden) and
    w (…, d_hidden) give S (…, n, m). Holds n · m · d_hidden numbers on the way.
    Raises ValueError or TypeError, naming the argument that does not fit.
    Source: Bahdanau et al. 2015, appendix A.1.2.
    """
    from_Q, from_K = _or_nan(Q @ W_1), _or_nan(K @ W_2)
    hidden = np.tanh(from_Q[..., :, None, :] + from_K[..., None, :, :])
    return np.einsum("...nmh,...h->...nm", hidden, w)


def _or_nan(sums):
    """NaN for what is not finite, so that it is found out: of ∞, which may be 0, tanh says 1."""
    return np.where(np.abs(sums) < np.inf, sums, np.nan)


@checked
@scalars(tau=positive)
def gaussian_scores(Q: Queries, K: Keys, *, tau: float) -> Scores:
    """Eq. gaussian-scores:  S_ij = −‖q_i − k_j‖² / (2τ),  the log of a Gaussian.

    Q (…, n, d_k), K (…, m, d_k) give S (…, n, m). tau is the kernel's variance, the
    square of its width, in squared units of Q and K.
    Raises ValueError where tau is not a positive, finite number.
    Subtracts first and squares then: ‖q‖² − 2 q·k + ‖k‖² is one matrix product, but
    cancels to nothing where q and k are close to each other and far from zero.
    Source: Nadaraya 1964; Watson 1964.
    """
    apart = Q[..., :, None, :] - K[..., None, :, :]
    return (apart * apart).sum(-1) / (-2 * tau)


@checked
def nadaraya_watson(Q: Queries, K: Keys, V: Values, *, tau: float) -> Outputs:
    """Eq. nadaraya-watson:  O = softmax(S) V,  S_ij = −‖q_i − k_j‖² / (2τ).

    Kernel regression: K (…, m, d_k) are inputs and V (…, m, d_v) outputs that were
    observed, Q (…, n, d_k) the inputs to predict for; gives O (…, n, d_v).
    Raises ValueError where tau, the kernel's variance, is not positive and finite.
    Source: Nadaraya 1964; Watson 1964.
    """
    return weighted_sum(softmax(gaussian_scores(Q, K, tau=tau)), V)


@checked
def leave_one_out(K: Keys, V: Values, *, tau: float) -> Values:
    """Eq. leave-one-out:  O = softmax(S) V,  S_ij = −‖k_i − k_j‖² / (2τ),  S_ii = −∞.

    Predicts each observation from all others: K (…, m, d_k), V (…, m, d_v) give O
    (…, m, d_v). One observation alone has no others; its prediction is zero.
    Raises ValueError where tau, the kernel's variance, is not positive and finite.
    Source: Stone 1974.
    """
    S = gaussian_scores(K, K, tau=tau)
    itself = np.eye(S.shape[-1], dtype=bool)
    return weighted_sum(softmax(np.where(itself, -np.inf, S)), V)
