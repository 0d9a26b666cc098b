"""The trained weights: pinned, complete, and converted as the book writes them."""

import io
import zipfile
from hashlib import sha256

import numpy as np
import pytest
import torch

from selfattention.trained import rxnmapper

SHAPES = {  # the checkpoint's own names and shapes, (out, in)
    "albert.embeddings.word_embeddings.weight": (591, 128),
    "albert.embeddings.position_embeddings.weight": (512, 128),
    "albert.embeddings.token_type_embeddings.weight": (2, 128),
    "albert.embeddings.LayerNorm.weight": (128,),
    "albert.embeddings.LayerNorm.bias": (128,),
    "albert.encoder.embedding_hidden_mapping_in.weight": (256, 128),
    "albert.encoder.embedding_hidden_mapping_in.bias": (256,),
    "predictions.dense.weight": (128, 256),
    "predictions.dense.bias": (128,),
    "predictions.LayerNorm.weight": (128,),
    "predictions.LayerNorm.bias": (128,),
    "predictions.bias": (591,),
} | {
    rxnmapper.LAYER + name: shape
    for name, shape in {
        "attention.query.weight": (256, 256),
        "attention.query.bias": (256,),
        "attention.key.weight": (256, 256),
        "attention.key.bias": (256,),
        "attention.value.weight": (256, 256),
        "attention.value.bias": (256,),
        "attention.dense.weight": (256, 256),
        "attention.dense.bias": (256,),
        "attention.LayerNorm.weight": (256,),
        "attention.LayerNorm.bias": (256,),
        "ffn.weight": (512, 256),
        "ffn.bias": (512,),
        "ffn_output.weight": (256, 512),
        "ffn_output.bias": (256,),
        "full_layer_layer_norm.weight": (256,),
        "full_layer_layer_norm.bias": (256,),
    }.items()
}


@pytest.fixture
def wheel(tmp_path, rng, monkeypatch):
    """A wheel of the same names and shapes, its numbers random, and its path; nothing pinned."""
    state = {
        name: torch.tensor(rng.normal(size=shape), dtype=torch.float32) for name, shape in SHAPES.items()
    }
    checkpoint = io.BytesIO()
    torch.save(state, checkpoint)
    path = tmp_path / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(rxnmapper.FOLDER + "pytorch_model.bin", checkpoint.getvalue())
        archive.writestr(rxnmapper.FOLDER + "vocab.txt", "\n".join(f"t{i}" for i in range(591)))
    monkeypatch.setattr(rxnmapper, "WHEEL_SHA256", sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(rxnmapper, "_check", lambda *names: None)
    return path, {name: tensor.numpy() for name, tensor in state.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_weights_are_all_there(dtype):
    model = rxnmapper.load(dtype)
    assert len(model.vocabulary) == len(set(model.vocabulary)) == 591
    assert (model.T.shape, model.P.shape, model.s.shape) == ((591, 128), (512, 128), (128,))
    arrays = [
        model.T,
        model.P,
        model.s,
        *model.embedding.values(),
        *model.layer.values(),
        *model.predictor.values(),
    ]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    assert all(np.isfinite(array).all() and not array.flags.writeable for array in arrays)
    assert model.layer["W_Q"].shape == model.layer["W_O"].shape == (257, 256)
    assert sum(array.size for array in arrays) == 735_439


def test_another_file_is_refused(monkeypatch, tmp_path):
    content = bytearray(rxnmapper.WEIGHTS.read_bytes())
    content[-1000] ^= 1
    (tmp_path / "rxnmapper.npz").write_bytes(content)
    monkeypatch.setattr(rxnmapper, "WEIGHTS", tmp_path / "rxnmapper.npz")
    with pytest.raises(ValueError, match=rf"SHA-256 [0-9a-f]{{64}}; wanted {rxnmapper.WEIGHTS_SHA256}"):
        rxnmapper.load()


def test_another_wheel_is_refused(tmp_path):
    (tmp_path / "other.whl").write_bytes(b"not the wheel")
    with pytest.raises(ValueError, match=f"wanted {rxnmapper.WHEEL_SHA256}"):
        rxnmapper.convert(tmp_path / "other.whl", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_conversion_turns_matrices_and_puts_biases_under_them(wheel, tmp_path, monkeypatch):
    path, state = wheel
    rxnmapper.convert(path, tmp_path / "out.npz")
    monkeypatch.setattr(rxnmapper, "WEIGHTS", tmp_path / "out.npz")
    model = rxnmapper.load()
    assert model.vocabulary[590] == "t590"
    places = {"W_Q": "attention.query", "W_K": "attention.key", "W_V": "attention.value"}
    places |= {"W_O": "attention.dense", "W_1": "ffn", "W_2": "ffn_output"}
    for letter, place in places.items():
        np.testing.assert_array_equal(model.layer[letter][:-1].T, state[f"{rxnmapper.LAYER}{place}.weight"])
        np.testing.assert_array_equal(model.layer[letter][-1], state[f"{rxnmapper.LAYER}{place}.bias"])
    for letter, place in {"1": "attention.LayerNorm", "2": "full_layer_layer_norm"}.items():
        np.testing.assert_array_equal(model.layer[f"g_{letter}"], state[f"{rxnmapper.LAYER}{place}.weight"])
        np.testing.assert_array_equal(model.layer[f"b_{letter}"], state[f"{rxnmapper.LAYER}{place}.bias"])
    np.testing.assert_array_equal(model.s, state["albert.embeddings.token_type_embeddings.weight"][0])
    np.testing.assert_array_equal(model.predictor["W_M"][:-1].T, state["predictions.dense.weight"])
    np.testing.assert_array_equal(model.predictor["b_T"], state["predictions.bias"])


def test_conversion_gives_the_same_bytes_each_time(wheel, tmp_path):
    path, _ = wheel
    for name in ("first.npz", "second.npz"):
        rxnmapper.convert(path, tmp_path / name)
    assert (tmp_path / "first.npz").read_bytes() == (tmp_path / "second.npz").read_bytes()


def test_embed_adds_a_token_its_place_and_the_segment():
    model = rxnmapper.load(np.float64)
    E = model.embed(("[CLS]", "C", "C"))
    np.testing.assert_array_equal(E[2], model.T[model.vocabulary.index("C")] + model.P[2] + model.s)
    np.testing.assert_allclose(E[2] - E[1], model.P[2] - model.P[1], atol=1e-15)


def test_an_unknown_token_is_named():
    with pytest.raises(ValueError, match=r"'\[XeF6\]' is not in the vocabulary of 591 tokens"):
        rxnmapper.load().embed(("[CLS]", "C", "[XeF6]", "[SEP]"))


def test_a_sequence_longer_than_the_positions_is_refused():
    with pytest.raises(ValueError, match="513 tokens came; the model has 512 positions"):
        rxnmapper.load().embed(["C"] * 513)


def test_the_licence_is_beside_the_weights():
    licence = rxnmapper.WEIGHTS.parent / "rxnmapper-LICENSE.txt"
    assert licence.read_text("utf-8").startswith("Copyright 2020 RXN4Chemistry team.")
