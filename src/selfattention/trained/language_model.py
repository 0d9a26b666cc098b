"""A language model run by this package: every attention of it through one of the implementations.

    X = T[tokens];   X ← X + attention(RMS(X)) W_O,  X ← X + SwiGLU(RMS(X))  in each layer;   S = RMS(X) Tᵀ

Touvron et al. 2023, section 2.2: no biases, keys and queries turned by their positions, heads in groups.
Nothing is computed here: the formulas are those of `selfattention.formulas`, without their checks, which
would read every weight for every token; what comes from outside is checked at the door.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from selfattention import masks
from selfattention.formulas import (
    concat_heads,
    frequencies,
    log_sum_exp,
    rms_norm,
    softmax,
    split_heads,
    swiglu,
)
from selfattention.implementations import IMPLEMENTATIONS, numpy_direct
from selfattention.implementations.contract import Attention
from selfattention.masks import Rule
from selfattention.signatures import unchecked
from selfattention.trained.cache import Cache, Rows, Store
from selfattention.trained.tokenizer import Tokenizer

MATRICES = "W_QKV", "W_O", "W_gate", "W_up", "W_down"


@dataclass(frozen=True)
class LanguageModel:
    """The weights by the book's letters, matrices (in, out), and what the numbers alone do not say.

    A matrix is whatever knows `X @ W`: see `with_matrices`. W_QKV holds W_Q, W_K and W_V side by side,
    h·d, g·d and g·d columns; `head` is Tᵀ.
    """

    T: np.ndarray  # (vocabulary, d_model): a row for each token
    head: Any  # (d_model, vocabulary)
    layers: tuple[dict[str, Any], ...]  # each g_1 W_QKV W_O g_2 W_gate W_up W_down
    g_N: np.ndarray  # (d_model): the gain of the last norm
    h: int
    g: int
    d: int
    base: float  # of the angles
    epsilon: float  # of the norms
    most: int  # positions it was trained on
    ends: frozenset[int]  # tokens that end an answer
    tokenizer: Tokenizer
    chat: Callable[..., str]  # a question as the model was taught to be asked

    def tokens(self, text: str) -> list[int]:
        """The text as the numbers of its tokens."""
        return self.tokenizer.encode(text)

    def text(self, tokens: Sequence[int]) -> str:
        """The tokens as text, those that are marks and no text left out."""
        return self.tokenizer.decode(list(map(int, tokens)))

    def cache(
        self,
        batch: tuple[int, ...] = (),
        dtype: DTypeLike = np.float32,
        *,
        capacity: int = 256,
        starts: Sequence[int] = (),
        rows: Callable[..., Store] = Rows,
    ) -> Cache:
        """An empty cache for a `batch` of texts, with room for `capacity` tokens each before it must grow."""
        K, V = (rows(len(self.layers), batch, self.g, capacity, self.d, dtype) for _ in "KV")
        return Cache(K, V, self.most, (len(self.layers), *batch, self.g, self.d), starts)

    def logits(
        self,
        tokens: ArrayLike,
        cache: Cache | None = None,
        rule: Rule = masks.causal,
        attention: Attention = numpy_direct.attention,
    ) -> np.ndarray:
        """S (…, n, vocabulary): for each of the tokens (…, n), a score for every token that may follow.

        With a cache, the tokens follow those that it has taken, and it takes them too. A rule counts
        positions from the start of each text. Raises ValueError, and changes no cache, where tokens are
        none, unknown, more than the model has positions, or of another batch than the cache.
        """
        return self.states(tokens, cache, rule, attention) @ self.head

    def states(
        self,
        tokens: ArrayLike,
        cache: Cache | None = None,
        rule: Rule = masks.causal,
        attention: Attention = numpy_direct.attention,
    ) -> np.ndarray:
        """X (…, n, d_model): what the head makes `logits` of, the last layer's rows after their norm."""
        known = self._known(tokens)
        *batch, n = known.shape
        if cache is None:
            cache = self.cache(tuple(batch), self.T.dtype, capacity=n)
        self._check(cache, known, rule)
        cache.reserve(n)
        return self._last_states(known, cache, rule, attention, n)

    def _last_states(self, tokens, cache, rule, attention, count):
        """X (…, count, d_model) of the last so many tokens (…, n): the last layer answers no others."""
        n = tokens.shape[-1]
        attend_to_all = cache.attending(attention, rule, n, self.T.dtype)

        def attend(layer, Q, K, V):
            O = attend_to_all(layer, Q, K, V)
            return O[..., -count:, :] if layer == len(self.layers) - 1 else O

        with unchecked():
            (X,) = deque(self.residuals(tokens, cache.positions(n), attend), maxlen=1)
            X = rms_norm(X, self.g_N, epsilon=self.epsilon).reshape(*tokens.shape[:-1], count, -1)
        cache.took(n)  # only now: whoever is stopped before has the cache as it was
        return X

    def residuals(
        self, tokens: np.ndarray, positions: np.ndarray, attend: Callable[..., np.ndarray]
    ) -> Iterator[np.ndarray]:
        """X, the texts' rows one below the other, as tokens (…, n) bring it and after each layer.

        `attend(layer, Q, K, V)` gives O of heads Q (…, h, n, d), K and V (…, g, n, d), Q and K turned; where
        it answers the last queries only, what follows has their rows only.
        """
        turns = self._turns(positions)
        X = self.T[tokens.ravel()]  # one product for all texts
        yield X
        for layer, W in enumerate(self.layers):
            N = rms_norm(X, W["g_1"], epsilon=self.epsilon)
            O = attend(layer, *self._heads((N @ W["W_QKV"]).reshape(*tokens.shape, -1), turns))
            X = _answered(X, O)
            X = X + concat_heads(O).reshape(len(X), -1) @ W["W_O"]
            N = rms_norm(X, W["g_2"], epsilon=self.epsilon)
            X = X + swiglu(N, W["W_gate"], W["W_up"], W["W_down"])
            yield X

    def _turns(self, positions):
        """e^{i p θ} (…, n, d/2) of the positions p: `rotary` is their product with pairs x + i y of columns.

        All layers turn by the same angles: cosines and sines are taken once.
        """
        angles = positions[..., None] * frequencies(self.d, base=self.base)
        return np.exp(1j * angles).astype(np.result_type(self.T.dtype, np.complex64))

    def _heads(self, wide, turns):
        """Q (…, h, n, d), K and V (…, g, n, d) of what lies side by side, Q and K turned."""
        heads = split_heads(wide, self.h + 2 * self.g)
        pairs = heads[..., : -self.g, :, :].view(turns.dtype)
        turned = np.multiply(pairs, turns, order="C").view(wide.dtype)
        return turned[..., : self.h, :, :], turned[..., self.h :, :, :], heads[..., -self.g :, :, :]

    def prefill(
        self,
        tokens: ArrayLike,
        cache: Cache,
        rule: Rule = masks.causal,
        attention: Attention = numpy_direct.attention,
        *,
        chunk: int = 256,
    ) -> np.ndarray:
        """Let the cache take all tokens (…, n), so many at once; gives the last one's X (…, 1, d_model).

        Nobody asks for what the last layer makes of the others, and so it is not made.
        """
        known = self._known(tokens)
        self._check(cache, known, rule)
        cache.reserve(known.shape[-1])  # all or none
        for start in range(0, known.shape[-1], chunk):
            X = self._last_states(known[..., start : start + chunk], cache, rule, attention, 1)
        return X

    def generate(
        self,
        tokens: ArrayLike,
        count: int,
        *,
        cache: Cache | None = None,
        rule: Rule = masks.causal,
        attention: Attention = numpy_direct.attention,
        temperature: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> Iterator[int]:
        """Up to `count` tokens that follow, one at a time, until one ends the answer.

        The likeliest each time, or with a temperature one drawn from softmax(S / temperature). The cache
        takes the tokens (n) and all that is given out but the last.
        """
        cache = self.cache(dtype=self.T.dtype) if cache is None else cache
        X = self.prefill(tokens, cache, rule, attention)
        for left in reversed(range(count)):
            token = chosen((X @ self.head)[-1], temperature, rng)
            if token in self.ends:
                return
            yield token
            if left:
                X = self.states([token], cache, rule, attention)

    def with_matrices(self, convert: Callable[[np.ndarray], Any]) -> "LanguageModel":
        """The same model with `convert(W)` for each matrix W (in, out), the head's included.

        What comes of it must know `X @ W`; where it is no array, by its `__rmatmul__`.
        """
        layers = tuple(
            {n: convert(W) if n in MATRICES else W for n, W in layer.items()} for layer in self.layers
        )
        return replace(self, head=convert(self.head), layers=layers)

    def astype(self, dtype: DTypeLike) -> "LanguageModel":
        """The same model, its numbers in another dtype."""
        layers = tuple({name: W.astype(dtype) for name, W in layer.items()} for layer in self.layers)
        T = self.T.astype(dtype)
        return replace(self, T=T, head=T.T, layers=layers, g_N=self.g_N.astype(dtype))

    def _known(self, tokens):
        """The tokens as an array, if there are any and all of them are in the vocabulary."""
        known = np.asarray(tokens)
        if known.size == 0:
            raise ValueError("tokens is empty; wanted one token or more")
        if known.dtype.kind not in "iu" or known.ndim < 1:
            raise TypeError(f"tokens is {tokens!r}; wanted integers, one for each token")
        unknown = known[(known < 0) | (known >= len(self.T))]
        if unknown.size:
            raise ValueError(f"tokens holds {unknown[0]}; wanted integers from 0 to {len(self.T) - 1}")
        return known

    def _check(self, cache, tokens, rule):
        if not isinstance(rule, Rule):
            raise TypeError(
                f"rule is a {type(rule).__name__}; wanted one of selfattention.masks, like causal"
            )
        if not isinstance(cache, Cache):
            raise TypeError(f"cache is a {type(cache).__name__}; wanted one that model.cache() has made")
        if tokens.shape[:-1] != cache.batch:
            raise ValueError(
                f"tokens has shape {tokens.shape}; wanted {(*cache.batch, 'n')}, the cache's batch"
            )
        if (came := cache.shape) != (wanted := (len(self.layers), *cache.batch, self.g, self.d)):
            raise ValueError(f"cache has layers, batch, groups and width {came}; wanted {wanted}")


def _answered(X, O):
    """Of the texts' rows X (texts · n, d_model) those whose queries O (…, h, count, d) answers, the last."""
    *texts, _, count, _ = O.shape
    return X.reshape(*texts, -1, X.shape[-1])[..., -count:, :].reshape(-1, X.shape[-1])


def chosen(S: np.ndarray, temperature: float = 0.0, rng: np.random.Generator | None = None) -> int:
    """A token by its scores S (vocabulary): the largest, or drawn from softmax(S / temperature).

    Raises ValueError where the temperature is negative, or there is one and no `rng`.
    """
    if not 0 <= temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; wanted a finite number, 0 or more")
    if temperature == 0:
        return int(S.argmax())
    if rng is None:
        raise ValueError("rng is None; wanted np.random.default_rng(seed) to draw from")
    return int(rng.choice(len(S), p=softmax(S.astype(np.float64) / temperature)))


def perplexity(S: np.ndarray, tokens: ArrayLike) -> float:
    """exp of the mean −ln p(token),  p = softmax(S): row i of S (n, vocabulary) is asked for token i."""
    S = np.asarray(S, dtype=np.float64)
    surprise = log_sum_exp(S) - S[np.arange(len(S)), np.asarray(tokens)]
    return float(np.exp(surprise.mean()))


def left_padded(texts: Sequence[Sequence[int]], filler: int = 0) -> tuple[np.ndarray, list[int]]:
    """Texts of several lengths as tokens (b, n) that end together, and at which column each begins.

    Raises ValueError where there is no text, or one without tokens.
    """
    if not all(map(len, texts)) or not len(texts):
        raise ValueError(
            f"texts has lengths {[*map(len, texts)]}; wanted one text or more, none of them empty"
        )
    n = max(map(len, texts))
    starts = [n - len(text) for text in texts]
    rows = [[filler] * start + list(text) for start, text in zip(starts, texts, strict=True)]
    return np.array(rows), starts


def attention_of(name: str) -> Attention:
    """The attention of an implementation, for NumPy arrays; one of torch's is handed tensors of the same.

    Raises ValueError where it is unknown or cannot run here, saying why.
    """
    if name not in IMPLEMENTATIONS:
        raise ValueError(f"implementation is {name!r}; wanted one of {', '.join(IMPLEMENTATIONS)}")
    implementation = IMPLEMENTATIONS[name]
    if reason := implementation.why_not():
        raise ValueError(f"implementation {name} cannot run here: {reason}")
    attention = implementation.load().attention
    return (
        attention if implementation.library == "numpy" else _through_torch(attention, implementation.device)
    )


def _through_torch(attention, device):
    import torch

    def on_arrays(Q, K, V, **rest):
        with torch.no_grad():
            O, L = attention(
                *(torch.from_numpy(np.ascontiguousarray(A)).to(device) for A in (Q, K, V)), **rest
            )
        return O.numpy(force=True), L.numpy(force=True)

    return on_arrays
