"""A tiny model of any architecture of transformers, from its configuration class, with loud random weights.

Nothing is downloaded: every size in the configuration is replaced by a small one, by its name; what belongs
to one architecture alone stands in `OWN`. Heads, groups, widths and lengths differ from each other, so that
none is taken for another.
"""

import inspect
import warnings
from typing import Any

import numpy as np

from selfattention.dialects.zoo.own import LONGER, SETTINGS
from selfattention.dialects.zoo.own import inputs as own_inputs

MOST = 30_000_000
"""Parameters of a tiny model."""

N, BATCH, WORDS = 11, 2, 61
"""Tokens, members of the batch, and the size of the vocabulary."""

WIDTH, HEADS, GROUPS, D, LAYERS = 48, 6, 3, 8, 2
PICTURE, PATCH = 16, 4

SIZES = (
    (WIDTH, "hidden_size d_model n_embd dim model_dim embed_dim embedding_size emb_dim width d_embed"),
    (WIDTH, "encoder_dim hidden_dim decoder_hidden_size encoder_hidden_size d_embedding"),
    (WIDTH, "encoder_embed_dim embedding_dim feature_projection_input_dim lru_width projection_dim"),
    (WIDTH, "qformer_hidden_size patch_embedding_size hidden_channels"),
    (HEADS, "num_attention_heads num_heads n_head n_heads encoder_attention_heads decoder_attention_heads"),
    (HEADS, "encoder_num_attention_heads decoder_num_attention_heads heads attention_heads"),
    (
        GROUPS,
        "num_key_value_heads num_kv_heads n_head_kv swa_num_key_value_heads encoder_num_key_value_heads",
    ),
    (GROUPS, "decoder_num_key_value_heads num_global_key_value_heads"),
    (D, "head_dim d_kv kv_channels attention_head_size qk_nope_head_dim linear_key_head_dim d_head"),
    (D, "linear_value_head_dim global_head_dim index_head_dim swa_head_dim attention_head_dim"),
    (4, "qk_rope_head_dim sliding_window window_size attention_window local_window_size sliding_window_size"),
    (4, "attention_chunk_size index_topk num_experts n_routed_experts num_local_experts moe_num_experts"),
    (4, "mamba_d_conv conv_kernel index_n_heads local_attention swa_window_size linear_num_key_heads"),
    (4, "linear_num_value_heads patch_size swa_window"),
    (6, "v_head_dim swa_v_head_dim"),
    (16, "q_lora_rank kv_lora_rank moe_intermediate_size shared_expert_intermediate_size o_lora_rank"),
    (2, "num_experts_per_tok moe_topk top_k num_experts_per_token moe_k moe_top_k"),
    (56, "intermediate_size ffn_dim d_ff n_inner d_inner encoder_ffn_dim decoder_ffn_dim mlp_dim"),
    (56, "ffn_hidden_size dim_feedforward ffn_size feed_forward_size decoder_intermediate_size"),
    (LAYERS, "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers depth"),
    (LAYERS, "num_encoder_layers num_decoder_layers encoder_num_hidden_layers decoder_num_hidden_layers"),
    (WORDS, "vocab_size entity_vocab_size src_vocab_size tgt_vocab_size n_words encoder_vocab_size"),
    (WORDS, "vocab_size_per_layer_input decoder_vocab_size"),
    (64, "max_position_embeddings n_positions n_ctx max_seq_len max_source_positions max_target_positions"),
    (64, "max_sequence_length max_length max_seq_length"),
    (PICTURE, "image_size img_size input_resolution"),
)
SMALL = {name: size for size, names in SIZES for name in names.split()}
"""A small size for each name of a size."""

TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}


class NoModel(Exception):
    """An architecture of which no tiny model could be made, and why."""


def architectures() -> dict[str, str]:
    """Every type of model that AutoModel knows, and its class; and settings that make another of one."""
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    first = {
        name: given if isinstance(given, str) else given[0] for name, given in MODEL_MAPPING_NAMES.items()
    }
    more = {name: first[_type(name)] for name in SETTINGS if name not in first}
    return dict(sorted((first | more).items()))


def _type(name):
    return name.split(" (")[0]


def parts(name: str) -> list[str]:
    """The types of the models of which this one is made; none, where it is one."""
    kind = config_class(name)
    if not kind.sub_configs:
        return []
    config = kind()
    made_of = {getattr(getattr(config, key, None), "model_type", "") for key in kind.sub_configs}
    return sorted(made_of & architectures().keys() - {name})


def config_class(name: str) -> type:
    """The class of an architecture's configuration."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    return CONFIG_MAPPING[_type(name)]


def tiny(name: str, dtype: str = "float64") -> Any:
    """The model, in evaluation, with loud random weights."""
    import torch
    import transformers

    kind = getattr(transformers, architectures()[name])
    config = tiny_config(name)
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in kind(config).parameters())
    if size > MOST:
        raise NoModel(f"it has {size} parameters, with every size made small that has a known name")
    torch.manual_seed(0)
    model = kind(tiny_config(name)).to(getattr(torch, dtype)).eval()
    loud(model)
    return model


def tiny_config(name: str) -> Any:
    """The configuration, its sizes replaced; of layers of several types, one of each."""
    kind = config_class(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = kind(**_small(kind) | SETTINGS.get(name, {}))
    config._attn_implementation = config._experts_implementation = "eager"
    return config


def _small(kind):
    """Small sizes for every argument of a configuration class that is a size, and for those inside it."""
    known = inspect.signature(kind.__init__).parameters
    usual = kind()
    given = {key: SMALL[key] for key in known if key in SMALL and _is_size(known[key].default)}
    if "kv_lora_rank" in known and "num_key_value_heads" in known:
        given["num_key_value_heads"] = HEADS  # out of latent keys every head makes its own
    given |= {key: value for key, value in TOKENS.items() if key in known and known[key].default is not None}
    types = list(dict.fromkeys(getattr(usual, "layer_types", None) or ()))
    if "layer_types" in known and len(types) > 1:
        given |= {"layer_types": types, "num_hidden_layers": len(types)}
    for key in kind.sub_configs:
        if (inner := getattr(usual, key, None)) is not None:
            given[key] = type(inner)(**_small(type(inner)))
    return given


def _is_size(default):
    """Lists, and what is off, stay as they are."""
    return (isinstance(default, int) and not isinstance(default, bool)) or default is None


def loud(model: Any) -> None:
    """Random numbers for every parameter, so large that softmax has something to choose from."""
    import torch

    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=numbers, dtype=torch.float64)
            if parameter.dim() > 1:
                fan_in = max(1, parameter[0].numel())
                parameter.copy_(noise * (1.5 / fan_in**0.5))
            else:
                parameter.add_(0.3 * noise)


def inputs(name: str, model: Any, seed: int) -> dict[str, Any]:
    """Arguments of `forward` that are of one shape, and other numbers for another seed."""
    import torch

    numbers = np.random.default_rng(seed)
    takes = inspect.signature(model.forward).parameters
    words = torch.tensor(numbers.integers(3, WORDS, (BATCH, LONGER.get(name, N))))
    given: dict[str, Any] = {}
    main = model.main_input_name
    if main == "pixel_values":
        channels = getattr(model.config, "num_channels", 3)
        given[main] = torch.tensor(numbers.normal(size=(BATCH, channels, PICTURE, PICTURE)))
    elif main == "input_features":
        bands = next(
            (
                getattr(model.config, key)
                for key in ("num_mel_bins", "input_feat_per_channel", "feature_size")
                if hasattr(model.config, key)
            ),
            80,
        )
        given[main] = torch.tensor(numbers.normal(size=(BATCH, N, bands)))
    elif main == "input_values":
        given[main] = torch.tensor(numbers.normal(size=(BATCH, 4000)))
    else:
        given["input_ids"] = words
    if "grid_thw" in takes:
        numbers_of_a_patch = 3 * getattr(model.config, "temporal_patch_size", 1) * PATCH**2
        given = {"grid_thw": torch.tensor([[1, 4, 4], [1, 4, 4]])}
        given["hidden_states" if "hidden_states" in takes else main] = torch.tensor(
            numbers.normal(size=(32, numbers_of_a_patch))
        )
    if "decoder_input_ids" in takes:
        given["decoder_input_ids"] = torch.tensor(numbers.integers(3, WORDS, (BATCH, 7)))
    if "use_cache" in takes:
        given["use_cache"] = False
    dtype = next(model.parameters()).dtype
    given |= own_inputs(name, model.config, numbers)
    return {key: _in(value, dtype) for key, value in given.items() if value is not None}


def _in(value, dtype):
    return value.to(dtype) if hasattr(value, "is_floating_point") and value.is_floating_point() else value
