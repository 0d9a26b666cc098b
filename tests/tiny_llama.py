"""A language model small enough for float64 and for every case: random weights, and words for tokens."""

import numpy as np

from selfattention.trained.language_model import LanguageModel

WORDS = ("<end>", "a", "b", "c", "d", "é", "f", "g", "h", "i", "j")
H, G, D, D_MODEL, D_FF, LAYERS = 6, 2, 4, 13, 7, 3


class Words:
    """A token for each letter of WORDS; '<end>' is a mark."""

    def encode(self, text):
        return [WORDS.index(word) for word in text.split()]

    def decode(self, tokens):
        return " ".join(WORDS[token] for token in tokens if token)


def tiny(seed=0, dtype=np.float64, most=64):
    """The model; what its weights are, the seed says."""
    rng = np.random.default_rng(seed)

    def weights(*shape):
        return (rng.normal(size=shape) / shape[0] ** 0.5).astype(dtype)

    T = 2 * weights(len(WORDS), D_MODEL)
    layers = tuple(
        {
            "g_1": 1 + weights(D_MODEL),
            "W_QKV": 3 * weights(D_MODEL, (H + 2 * G) * D),
            "W_O": weights(H * D, D_MODEL),
            "g_2": 1 + weights(D_MODEL),
            "W_gate": weights(D_MODEL, D_FF),
            "W_up": weights(D_MODEL, D_FF),
            "W_down": weights(D_FF, D_MODEL),
        }
        for _ in range(LAYERS)
    )
    return LanguageModel(
        T=T,
        head=T.T,
        layers=layers,
        g_N=1 + weights(D_MODEL),
        h=H,
        g=G,
        d=D,
        base=100.0,
        epsilon=1e-5,
        most=most,
        ends=frozenset({0}),
        tokenizer=Words(),
        chat=lambda question, again=False: f"{'<end> ' if again else ''}j {question} i",
    )
