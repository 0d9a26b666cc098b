"""What single architectures need beside small sizes: settings, and inputs that are not one of three kinds.

Where a released model switches something on that its configuration class leaves off by default (DeBERTa's
relative attention, BEiT's relative bias), it is on here too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": 16}
TIME_SERIES = {"prediction_length": 5, "context_length": 9, "lags_sequence": [1, 2], "num_time_features": 1}
MAMBA = {"mamba_n_heads": 6, "mamba_d_state": 8, "mamba_d_head": 16, "mamba_chunk_size": 8}
SWIN = {"embed_dim": 12, "depths": (2, 2), "num_heads": (2, 4), "window_size": 2, "image_size": 32}
VIDEO = {"num_frames": 4, "tubelet_size": 2}

SETTINGS: dict[str, dict[str, Any]] = {
    "audio-spectrogram-transformer": {"max_length": 32, "num_mel_bins": 16, "frequency_stride": 4,
                                      "time_stride": 4},
    "autoformer": TIME_SERIES,
    "axk1": {"n_group": 1, "topk_group": 1},
    "bailing_hybrid": {"n_group": 1, "topk_group": 1, "layer_types": ["linear_attention", "full_attention"]},
    "bamba": MAMBA | {"attn_layer_indices": [1]},
    "beit": {"use_relative_position_bias": True},
    "big_bird": {"block_size": 4, "num_random_blocks": 1, "max_position_embeddings": 128},
    "bigbird_pegasus": {"block_size": 4, "num_random_blocks": 1, "max_position_embeddings": 128},
    "bros": {"hidden_size": 192},
    "bit": {"num_groups": 4},
    "codegen": {"rotary_dim": 4},
    "convnext": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "convnextv2": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "cosmos3_edge_text": {"rope_parameters": MROPE},
    "cvt": {"embed_dim": (12, 24, 48), "depth": (1, 2, 3), "num_heads": (1, 2, 4)},
    "data2vec-vision": {"use_relative_position_bias": True},
    "deberta": DISENTANGLED,
    "deberta-v2": DISENTANGLED,
    "diffllama": {"num_attention_heads": 4, "num_key_value_heads": 2},
    "dinov3_vit": {"num_attention_heads": 4},
    "donut-swin": SWIN,
    "dots1": {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1},
    "esm": {"vocab_size": 61, "position_embedding_type": "rotary", "pad_token_id": 0},
    "esmc": {"num_key_value_heads": 6},
    "falcon (alibi=True)": {"alibi": True, "multi_query": False, "num_kv_heads": 6},
    "gemma3n_text": {"num_kv_shared_layers": 0, "hidden_size_per_layer_input": 8, "laurel_rank": 8,
                     "layer_types": ["sliding_attention", "full_attention"]},
    "gemma4_text": {"global_head_dim": 16},
    "gemma4_unified_text": {"global_head_dim": 16},
    "embedding_gemma2_text": {"global_head_dim": 16},
    "glm4v_moe_text": {"rope_parameters": MROPE | {"mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}},
    "glm4v_text": {"rope_parameters": MROPE | {"partial_rotary_factor": 1.0}},
    "glm5_next_text": {"num_key_value_heads": 6, "qk_rope_head_dim": 0, "index_topk": 4, "index_kpool": 2,
                       "num_attention_heads": 6},
    "glm_image_text": {"rope_parameters": MROPE | {"partial_rotary_factor": 1.0}},
    "glm_ocr_text": {"rope_parameters": MROPE | {"partial_rotary_factor": 1.0}},
    "glpn": {"image_size": 64, "hidden_sizes": (8, 16, 20, 32), "decoder_hidden_size": 8},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 4},
    "granite_speech5_encoder": {"context_size": 8},
    "granitemoehybrid": MAMBA | {"layer_types": ["mamba", "attention"]},
    "hiera": {"embed_dim": 8, "image_size": (64, 64), "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 4),
              "masked_unit_size": (8, 8), "num_query_pool": 2},
    "hunyuan_vl_text": {"rope_parameters": MROPE},
    "hy_v4_vl_text": {"rope_parameters": MROPE | {"mrope_section": [1, 1, 0]}},
    "informer": TIME_SERIES,
    "inkling_text": {"swa_num_attention_heads": 6},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"], "num_attention_heads": 6,
                    "linear_num_heads": 2, "linear_head_dim": 8},
    "layoutlmv3": {"coordinate_size": 8, "shape_size": 8, "input_size": 16, "visual_embed": False},
    "levit": {"hidden_sizes": (16, 24, 32), "num_attention_heads": (2, 3, 4), "depths": (1, 1, 1),
              "key_dim": (4, 4, 4), "image_size": 64, "patch_size": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"zero_expert_num": 2, "expert_ffn_hidden_size": 16, "num_key_value_heads": 6,
                      "moe_topk": 2, "head_dim": 4},
    "mamba2": {"num_heads": 6, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "maskformer-swin": SWIN,
    "mgp-str": {"image_size": (16, 32), "max_token_length": 5},
    "minimax": {"layer_types": ["linear_attention", "full_attention"]},
    "mobilebert": {"embedding_size": 16, "intra_bottleneck_size": 48, "true_hidden_size": 48},
    "mobilevit": {"image_size": 64},
    "moonshine": {"encoder_num_key_value_heads": 6, "decoder_num_key_value_heads": 6},
    "mra": {"block_per_row": 1, "max_position_embeddings": 64},
    "neomme": {"head_dim": 16},
    "nemotron_h": {"layers_block_type": ["mamba", "attention"], "mamba_num_heads": 6, "mamba_head_dim": 16,
                   "n_groups": 1, "ssm_state_size": 8, "use_mamba_kernels": False},
    "nystromformer": {"segment_means_seq_len": 12, "num_landmarks": 4, "conv_kernel_size": 3},
    "olmo_hybrid": {"layer_types": ["linear_attention", "full_attention"]},
    "patchtsmixer": {"context_length": 16, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2},
    "patchtst": {"context_length": 16, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2},
    "pegasus_x": {"block_size": 4, "num_global_tokens": 3, "max_position_embeddings": 64},
    "prophetnet": {"num_encoder_attention_heads": 6, "num_decoder_attention_heads": 6},
    "perceiver": {"d_latents": 16, "num_latents": 5, "d_model": 24, "num_self_attends_per_block": 2,
                  "num_self_attention_heads": 4, "num_cross_attention_heads": 4},
    "qwen2_5_vl_vision": {"window_size": 16},
    "pvt": {"hidden_sizes": (8, 16, 20, 32), "depths": (1, 1, 1, 1), "image_size": 64,
            "num_attention_heads": (1, 2, 5, 8), "sequence_reduction_ratios": (4, 2, 1, 1)},
    "pvt_v2": {"hidden_sizes": (8, 16, 20, 32), "depths": (1, 1, 1, 1), "image_size": 64},
    "qwen2_5_vl_text": {"rope_parameters": MROPE},
    "qwen2_vl_text": {"rope_parameters": MROPE},
    "recurrent_gemma": {"block_types": ("recurrent", "attention"), "attention_window_size": 4},
    "reformer": {"axial_pos_embds": False, "local_attn_chunk_length": 4, "lsh_attn_chunk_length": 4,
                 "attn_layers": ["local", "lsh"], "num_buckets": 4, "max_position_embeddings": 64},
    "roc_bert": {"pronunciation_embed_dim": 8, "shape_embed_dim": 8, "pronunciation_vocab_size": 61,
                 "shape_vocab_size": 61},
    "segformer": {"hidden_sizes": (8, 16, 20, 32), "depths": (1, 1, 1, 1), "decoder_hidden_size": 16},
    "sew-d": {"position_biased_input": False, "squeeze_factor": 2} | DISENTANGLED,
    "swin": SWIN,
    "swin2sr": SWIN | {"num_heads": (2, 2), "window_size": 4, "image_size": 16, "patch_size": 1},
    "swinv2": SWIN | {"pretrained_window_sizes": (0, 0)},
    "time_series_transformer": TIME_SERIES,
    "timesfm": {"patch_length": 4, "context_length": 16, "head_dim": 8},
    "timesformer": {"num_frames": 3},
    "videomae": VIDEO,
    "vitdet": {"use_relative_position_embeddings": True},
    "vits": {"upsample_initial_channel": 16, "flow_size": 16, "posterior_encoder_num_wavenet_layers": 1,
             "prior_encoder_num_wavenet_layers": 1, "use_stochastic_duration_prediction": False},
    "vivit": {"num_frames": 4, "tubelet_size": (2, 4, 4)},
    "vjepa2": {"frames_per_clip": 4, "crop_size": 16, "pred_hidden_size": 24, "pred_num_attention_heads": 4,
               "pred_num_hidden_layers": 1, "hidden_size": 48},
    "wav2vec2-bert": {"feature_projection_input_dim": 16},
    "whisper": {"max_source_positions": 16},
    "xmod": {"default_language": "en_XX"},
    "zamba2": {"num_hidden_layers": 2, "layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 6,
               "mamba_d_state": 8, "chunk_size": 8, "mamba_headdim": 16, "adapter_rank": 4},
    "zaya": {"num_experts_per_tok": 1, "num_attention_heads": 6, "num_key_value_heads": 3},
}  # fmt: skip

LONGER = {"big_bird": 64, "bigbird_pegasus": 64, "longformer": 16, "led": 16, "reformer": 16, "mra": 64,
          "yoso": 16, "pegasus_x": 16, "longt5": 16, "nystromformer": 12}  # fmt: skip
"""Tokens, where eleven would not show what is done with many."""


NOT_THIS_FORMULA = {
    "big_bird": "blocks of scores from several products, joined before one softmax",
    "bigbird_pegasus": "blocks of scores from several products, joined before one softmax, in the encoder",
    "fnet": "a Fourier transform in attention's place",
    "led": "a band of scores, cut out of products of chunks, in the encoder",
    "longformer": "a band of scores, cut out of products of chunks",
    "mra": "blocks of several resolutions; their kernel gives zeros where there is no GPU",
    "nystromformer": "three softmaxes, multiplied with one another",
    "pegasus_x": "scores of two products, joined before one softmax, in the encoder",
    "reformer": "hashed and sorted keys, weights exp(S − L) of their chunks",
    "yoso": "the probability that two hashes agree, in softmax's place",
}
"""What some architectures have where the formula has its softmax."""


class Random:
    """Random tensors of given shapes, of one generator."""

    def __init__(self, numbers: np.random.Generator):
        self.numbers = numbers

    def floats(self, *shape: int) -> Any:
        """Normal numbers."""
        import torch

        return torch.tensor(self.numbers.normal(size=shape))

    def boxes(self, *shape: int) -> Any:
        """Where words stand on a page: left, top, right, bottom."""
        import torch

        corners = self.numbers.integers(0, 500, (*shape, 2))
        return torch.tensor(np.concatenate([corners, corners + 100], -1))


def _picture(size, wide=None):
    return lambda some, config: {"pixel_values": some.floats(2, 3, size, wide or size)}


def _video(some, config):
    return {"pixel_values": some.floats(2, config.num_frames, 3, 16, 16)}


def _page(some, config):
    return {"bbox": some.boxes(2, 11)}


def _spectrum(frames):
    return lambda some, config: {"input_features": some.floats(2, config.num_mel_bins, frames)}


def _series(some, config):
    past = config.context_length + max(config.lags_sequence)
    return {
        "input_ids": None,
        "past_values": some.floats(2, past),
        "past_time_features": some.floats(2, past, 1),
        "past_observed_mask": some.floats(2, past) * 0 + 1,
        "future_values": some.floats(2, 5),
        "future_time_features": some.floats(2, 5, 1),
    }


def _patched_series(some, config):
    return {"input_ids": None, "past_values": some.floats(2, 16, 2)}


def _timesfm(some, config):
    past = some.floats(2, 16)
    return {
        "input_ids": None,
        "past_values": past,
        "past_values_padding": past * 0,
        "freq": (past[:, :1] * 0).long(),
    }


def _decisions(some, config):
    one = some.floats(2, 4, 1)
    return {
        "input_ids": None,
        "states": some.floats(2, 4, config.state_dim),
        "actions": some.floats(2, 4, config.act_dim),
        "rewards": one,
        "returns_to_go": some.floats(2, 4, 1),
        "timesteps": (one[..., 0] * 0).long().cumsum(1),
    }


def _siglip2(some, config):
    patches = some.floats(2, 16, 48)
    return {
        "pixel_values": patches,
        "pixel_attention_mask": (patches[..., 0] * 0 + 1).long(),
        "spatial_shapes": (patches[:, 0, :2] * 0 + 4).long(),
    }


INPUTS: dict[str, Callable[[Random, Any], dict[str, Any]]] = {
    **dict.fromkeys(("autoformer", "informer", "time_series_transformer"), _series),
    **dict.fromkeys(("patchtsmixer", "patchtst"), _patched_series),
    **dict.fromkeys(("timesformer", "videomae", "vivit"), _video),
    **dict.fromkeys(("layoutlmv3", "lilt", "layoutlm"), _page),
    **dict.fromkeys(("qwen2_audio_encoder", "voxtral_encoder", "glmasr_encoder"), _spectrum(128)),
    **dict.fromkeys(("idefics3_vision", "smolvlm_vision", "vilt"), _picture(16)),
    **dict.fromkeys(("swin", "swinv2", "donut-swin", "maskformer-swin"), _picture(32)),
    **dict.fromkeys(
        ("cvt", "glpn", "hiera", "levit", "mobilevit", "mobilevitv2", "pvt", "pvt_v2"), _picture(64)
    ),
    "segformer": _picture(64),
    "mgp-str": _picture(16, 32),
    "whisper": _spectrum(32),
    "timesfm": _timesfm,
    "decision_transformer": _decisions,
    "siglip2_vision_model": _siglip2,
    "audio-spectrogram-transformer": lambda some, config: {"input_values": some.floats(2, 32, 16)},
    "blip_2_qformer": lambda some, config: {
        "input_ids": None,
        "query_embeds": some.floats(2, 5, 48),
        "encoder_hidden_states": some.floats(2, 7, 48),
    },
    "bros": lambda some, config: {"bbox": some.floats(2, 11, 8)},
    "lasr_encoder": lambda some, config: {"input_features": some.floats(2, 64, config.num_mel_bins)},
    "lxmert": lambda some, config: {
        "visual_feats": some.floats(2, 5, config.visual_feat_dim),
        "visual_pos": some.floats(2, 5, 4),
    },
    "perceiver": lambda some, config: {"input_ids": None, "inputs": some.floats(2, 9, 24)},
    "speecht5": lambda some, config: {
        "input_values": some.floats(2, 11, 48),
        "decoder_input_values": some.floats(2, 7, 48),
    },
    "udop": lambda some, config: {"bbox": some.boxes(2, 11) / 1000},
    "vjepa2": lambda some, config: {"pixel_values_videos": some.floats(2, 4, 3, 16, 16)},
    "wav2vec2-bert": lambda some, config: {"input_features": some.floats(2, 11, 16)},
}
"""Arguments of `forward` that are not one of three kinds, by architecture."""


def inputs(name: str, config: Any, numbers: np.random.Generator) -> dict[str, Any]:
    """More arguments of `forward`, or others; none for most."""
    return INPUTS[name](Random(numbers), config) if name in INPUTS else {}
