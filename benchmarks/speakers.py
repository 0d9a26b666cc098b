"""Who takes part in the race of decoding: the language model of chapter 15, ours and transformers'.

One process each, asked as `worker` says. What is asked: `decode`, one token behind n others; `prefill`, n
tokens at once; `products`, every matrix of the model once, with n rows. The text is a story, over and over.
"""

import time
from functools import partial
from importlib import import_module

import machine
import numpy as np
import worker

from selfattention.implementations import IMPLEMENTATIONS
from selfattention.trained import smollm2

ROOM = 16  # tokens that a cache has room for behind its context
AT_A_TIME = 2**26  # numbers of which the weights' bytes are read: 256 MiB, more than most caches hold


class Speaker:
    """What all answer. Each knows how to `start`, what its `matrices` are, to `take` tokens and go `back`."""

    def load(self):
        self.start()
        return {"weights": self.weights}

    def prepare(self, workload, n, exact=None):
        self.n, self.run, self.reset = n, *getattr(self, workload)(n)
        logits = self.run(0)
        self.reset()
        return {"seconds": self.time(1)["cpu"], "error": None if exact is None else error(logits, exact)}

    def decode(self, n):
        text = story(self.tokens, n + ROOM)
        self.empty(n + ROOM)
        self.take(text[:n])
        return (lambda step: self.take(text[n + step : n + step + 1])), partial(self.back, n)

    def prefill(self, n):
        text = story(self.tokens, n)
        self.empty(n)
        return (lambda step: (self.back(0), self.take(text))[1]), partial(self.back, 0)

    def products(self, n):
        X = {W.shape[0]: self.rows(n, W.shape[0]) for W in self.matrices}
        return (lambda step: [X[W.shape[0]] @ W for W in self.matrices]), lambda: None

    def rows(self, n, width):
        return np.random.default_rng(0).standard_normal((n, width), np.float32)

    def time(self, repeats):
        """Seconds of one call; one before the clock starts, as in the race."""
        self.run(0)
        self.reset()
        cpu, wall = time.process_time(), time.perf_counter()
        for step in range(repeats):
            self.run(step)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        self.reset()
        return {"cpu": cpu / repeats, "wall": wall / repeats}

    def memory(self):
        """What the whole process holds, and what it must: weights, and a cache for the tokens so far."""
        return {
            "rss_mb": machine.resident_megabytes(),
            "held_mb": round((self.weights + self.cached) / 1e6, 1),
        }


def story(tokens, n):
    """The first n tokens of the story, told as often as it takes."""
    told = tokens(smollm2.story())
    return (told * -(-n // len(told)))[:n]


def error(logits, exact):
    """max abs difference from the logits in float64."""
    return float(f"{np.abs(logits - np.load(exact)).max():.3g}")


class Ours(Speaker):
    """The package's model, with an implementation's attention and a module's products."""

    def __init__(self, implementation, module=None, convert="Floats"):
        self.implementation, self.module, self.convert = implementation, module, convert

    def start(self):
        self.attention = IMPLEMENTATIONS[self.implementation].load().attention
        self.model = smollm2.load()
        if self.module:
            convert = getattr(import_module(f"selfattention.implementations.{self.module}"), self.convert)
            self.model = self.model.with_matrices(getattr(convert, "of", convert))
        self.tokens = self.model.tokens
        every_layer = [W for layer in self.model.layers for W in layer.values()]
        self.matrices = [W for W in every_layer if len(W.shape) == 2] + [self.model.head]
        self.weights = sum(W.nbytes for W in self.matrices)

    def empty(self, n):
        self.cache = self.model.cache(capacity=n)
        self.cached = self.cache.nbytes

    def take(self, tokens):
        X = self.model.prefill(tokens, self.cache, attention=self.attention, chunk=len(tokens))
        return (X @ self.model.head)[-1]

    def back(self, n):
        self.cache.places, self.cache.taken = self.cache.places[:n], n


class Transformers(Speaker):
    """LlamaForCausalLM on the same float32 weights; `how` it attends, "sdpa" or "eager"."""

    def __init__(self, how):
        self.how = how

    def start(self):
        import torch
        from llama import llama
        from transformers import DynamicCache

        torch.set_grad_enabled(False)
        model = smollm2.load()
        self.tokens, self.net = model.tokens, llama(model, self.how)
        self.new_cache, self.as_tensor = partial(DynamicCache, config=self.net.config), torch.tensor
        weights = [W.data for W in self.net.parameters() if W.ndim == 2]  # the head's once, tied
        self.matrices, self.weights = [W.T for W in weights], sum(W.nbytes for W in weights)

    def rows(self, n, width):
        return self.as_tensor(super().rows(n, width))

    def empty(self, n):
        self.cache = self.new_cache()

    def take(self, tokens):
        said = self.net(self.as_tensor([tokens]), cache=self.cache, use_cache=True, logits_to_keep=1)
        self.cached = sum(layer.keys.nbytes + layer.values.nbytes for layer in self.cache.layers)
        return said.logits[0, -1].numpy()

    def back(self, n):
        if n == 0:
            self.cache = self.new_cache()
        else:
            self.cache.crop(n - self.cache.get_seq_length())


class Reading(Speaker):
    """No model: as many bytes read as a token must read, weights and, behind n tokens, keys and values."""

    def __init__(self, weight_bytes):
        self.weight_bytes = weight_bytes

    def start(self):
        model = smollm2.load()
        numbers = sum(W.size for layer in model.layers for W in layer.values()) + model.T.size
        self.weights, self.cached = self.weight_bytes * numbers, 0
        self.per_token = model.cache(capacity=1).nbytes

    def decode(self, n):
        numbers = (self.weights + n * self.per_token) // 4
        self.array, (whole, rest) = np.ones(min(numbers, AT_A_TIME), np.float32), divmod(numbers, AT_A_TIME)
        parts = [self.array] * whole + [self.array[:rest]]
        return (lambda step: [part @ part for part in parts] and np.zeros(0)), lambda: None


class Exact(Speaker):
    """The package's model in float64, formula by formula: what the others' logits are compared with."""

    def answers(self, folder, jobs):
        model = smollm2.load().astype(np.float64)
        for workload, n in jobs:
            text = story(model.tokens, n + (workload == "decode"))
            cache = model.cache(dtype=np.float64, capacity=len(text))
            np.save(f"{folder}/{workload}-{n}.npy", (model.prefill(text, cache) @ model.head)[-1])
        return {}


SPEAKERS = {
    "transformers sdpa": partial(Transformers, "sdpa"),  # the yardstick
    "transformers eager": partial(Transformers, "eager"),
    "numpy_direct": partial(Ours, "numpy_direct", "numpy_products"),
    "numpy_direct, X @ W": partial(Ours, "numpy_direct"),
    "numba_tiled": partial(Ours, "numba_tiled", "numba_products"),
    "numba_tiled, int8": partial(Ours, "numba_tiled", "numba_products", "EightBits"),
    "reading": partial(Reading, 4),
    "reading, int8": partial(Reading, 1),
    "exact": Exact,
}


if __name__ == "__main__":
    worker.main(lambda name: SPEAKERS[name]())
