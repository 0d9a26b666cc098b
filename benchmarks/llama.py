"""transformers' Llama with the weights of our language model: witness in tests/witness, peer in the race."""

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def llama(model, how="sdpa"):
    """transformers' model with our weights, on the same memory but for W_Q and W_K.

    It turns columns c and c + d/2 together, which stand side by side in ours. `how` it attends: "sdpa"
    or "eager".
    """
    d_model, d_ff = model.layers[0]["W_up"].shape
    config = LlamaConfig(
        vocab_size=len(model.T),
        hidden_size=d_model,
        intermediate_size=d_ff,
        num_hidden_layers=len(model.layers),
        num_attention_heads=model.h,
        num_key_value_heads=model.g,
        head_dim=model.d,
        max_position_embeddings=model.most,
        rms_norm_eps=model.epsilon,
        rope_parameters={"rope_type": "default", "rope_theta": model.base},
        tie_word_embeddings=True,
        attn_implementation=how,
    )
    with torch.device("meta"):  # nothing is drawn at random, only to be thrown away
        net = LlamaForCausalLM(config)
    state = {"model.embed_tokens.weight": model.T, "lm_head.weight": model.T, "model.norm.weight": model.g_N}
    for number, W in enumerate(model.layers):
        state |= {f"model.layers.{number}.{name}.weight": A for name, A in renamed(W, model).items()}
    net.load_state_dict({name: torch.from_numpy(A) for name, A in state.items()}, assign=True)
    net.tie_weights()
    net.model.rotary_emb = type(net.model.rotary_emb)(config)  # its angles are in no state
    return net.eval()


def renamed(W, model):
    """A layer's weights, (out, in), by transformers' names."""
    Q, K, V = np.split(W["W_QKV"].T, np.cumsum([model.h * model.d, model.g * model.d]))
    return {
        "input_layernorm": W["g_1"],
        "self_attn.q_proj": in_halves(Q, model.d),
        "self_attn.k_proj": in_halves(K, model.d),
        "self_attn.v_proj": V,
        "self_attn.o_proj": W["W_O"].T,
        "post_attention_layernorm": W["g_2"],
        "mlp.gate_proj": W["W_gate"].T,
        "mlp.up_proj": W["W_up"].T,
        "mlp.down_proj": W["W_down"].T,
    }


def in_halves(W, d):
    """Each head's outputs 0, 1, 2 … as 0, 2, 4 … 1, 3, 5 …"""
    return W.reshape(-1, d // 2, 2, W.shape[1]).swapaxes(1, 2).reshape(W.shape)
