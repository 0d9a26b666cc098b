"""Layers as strangers write them: one skeleton, and in each what a convention or a mistake changes."""

import math

import torch
from torch import nn
from torch.nn import functional as F


class Separate(nn.Module):
    """Four linear layers, with biases; queries, keys, values and a mask."""

    def __init__(self, d_model, n_heads, dropout=0.1):
        super().__init__()
        self.n_heads = n_heads
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(d_model, d_model) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def split(self, x):
        return x.view(*x.shape[:2], self.n_heads, -1).transpose(1, 2)

    def merge(self, heads):
        b, h, n, d = heads.shape
        return heads.transpose(1, 2).reshape(b, n, h * d)

    def scaled(self, scores, d_k):
        return scores / math.sqrt(d_k)

    def weights(self, scores):
        return self.dropout(scores.softmax(-1))

    def forward(self, query, key, value, mask=None):
        q, k, v = self.split(self.W_q(query)), self.split(self.W_k(key)), self.split(self.W_v(value))
        scores = self.scaled(q @ k.transpose(-1, -2), q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(mask == 0, -1e9)
        return self.W_o(self.merge(self.weights(scores) @ v))


class ValuesFirst(Separate):
    """The order of its arguments is another one."""

    def forward(self, value, key, query, mask):
        return super().forward(query, key, value, mask)


class Unscaled(Separate):
    def scaled(self, scores, d_k):
        return scores


class ByTheWholeWidth(Separate):
    def scaled(self, scores, d_k):
        return scores / math.sqrt(d_k * self.n_heads)


class WithoutTranspose(Separate):
    def split(self, x):
        return x.reshape(len(x), self.n_heads, x.shape[1], -1)

    def merge(self, heads):
        return heads.reshape(len(heads), heads.shape[2], -1)


class OverTheQueries(Separate):
    def weights(self, scores):
        return self.dropout(scores.softmax(-2))


class AlwaysDropping(Separate):
    """`F.dropout` has training=True unless it is told."""

    def weights(self, scores):
        return F.dropout(scores.softmax(-1), self.dropout.p)


class UnscaledOverTheQueries(Unscaled, OverTheQueries):
    pass


class MaskForgotten(Separate):
    def forward(self, query, key, value, mask=None):
        return super().forward(query, key, value)


class ValuesAreKeys(Separate):
    def forward(self, query, key, value, mask=None):
        return super().forward(query, key, key, mask)


class Settings:
    n_embd, n_head, bias, block_size = 24, 3, False, 32


class Packed(nn.Module):
    """GPT's: a configuration, one matrix for three, a triangle in a buffer."""

    def __init__(self, config):
        super().__init__()
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.n_head = config.n_head
        self.register_buffer("tril", torch.tril(torch.ones(config.block_size, config.block_size)))

    def parts(self, x):
        b, n, _ = x.shape
        return (part.view(b, n, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).chunk(3, -1))

    def hidden(self, scores):
        n = scores.shape[-1]
        return scores.masked_fill(self.tril[:n, :n] == 0, -torch.inf)

    def forward(self, x):
        q, k, v = self.parts(x)
        scores = self.hidden(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]))
        y = scores.softmax(-1) @ v
        return self.c_proj(y.transpose(1, 2).reshape(x.shape))


class Interleaved(Packed):
    """(heads, 3, d) instead of (3, heads, d)."""

    def parts(self, x):
        b, n, _ = x.shape
        return self.c_attn(x).view(b, n, self.n_head, 3, -1).permute(3, 0, 2, 1, 4)


class ZerosHidden(Packed):
    """The triangle multiplied, and what is 0 then hidden: an orthogonal key with the future."""

    def hidden(self, scores):
        n = scores.shape[-1]
        scores = scores * self.tril[:n, :n]
        return scores.masked_fill(scores == 0, -torch.inf)


class Bare(nn.Module):
    """Parameters without a layer around them, either way round; a dictionary comes back."""

    def __init__(self, d_model, h):
        super().__init__()
        self.h = h
        self.Wq, self.Wk, self.Wv, self.Wo = (nn.Parameter(torch.randn(d_model, d_model)) for _ in range(4))

    def forward(self, x, padding_mask=None):
        b, n, d = x.shape
        q, k, v = ((x @ W).view(b, n, self.h, -1).transpose(1, 2) for W in (self.Wq, self.Wk, self.Wv))
        scores = q @ k.mT / math.sqrt(d // self.h)
        if padding_mask is not None:
            scores = scores.masked_fill(padding_mask[:, None, None], -torch.inf)
        A = scores.softmax(-1)
        return {"weights": A, "output": (A @ v).transpose(1, 2).reshape(b, n, d) @ self.Wo.T}


class OneHead(nn.Module):
    def __init__(self, d_model, head_size):
        super().__init__()
        self.key, self.query, self.value = (nn.Linear(d_model, head_size, bias=False) for _ in range(3))

    def forward(self, x):
        q, k = self.query(x), self.key(x)
        return (q @ k.mT / math.sqrt(k.shape[-1])).softmax(-1) @ self.value(x)


class ListOfHeads(nn.Module):
    """A module for every head."""

    def __init__(self, d_model, num_heads):
        super().__init__()
        self.heads = nn.ModuleList([OneHead(d_model, d_model // num_heads) for _ in range(num_heads)])
        self.proj = nn.Linear(d_model, d_model)

    def forward(self, x):
        return self.proj(torch.cat([head(x) for head in self.heads], -1))


class Grouped(nn.Module):
    """Six heads of queries, two of keys."""

    def __init__(self, dim):
        super().__init__()
        self.num_heads, self.num_kv_heads = 6, 2
        self.q_proj, self.o_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.k_proj, self.v_proj = nn.Linear(dim, dim // 3), nn.Linear(dim, dim // 3)

    def forward(self, hidden_states):
        b, n, d = hidden_states.shape
        q, k, v = (
            p(hidden_states).view(b, n, -1, d // 6).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        o = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        return self.o_proj(o.transpose(1, 2).reshape(b, n, d)), None


class Block(Separate):
    """A residual connection, and a norm behind it."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.norm = nn.LayerNorm(d_model)

    def forward(self, x):
        return self.norm(x + super().forward(x, x, x))


class SharedByHeads(nn.Module):
    """Tokens are cut first, and one small matrix serves every head's slice."""

    def __init__(self, embed_size, heads):
        super().__init__()
        self.heads, d = heads, embed_size // heads
        self.values, self.keys, self.queries = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.fc_out = nn.Linear(embed_size, embed_size)

    def forward(self, x):
        parts = x.view(*x.shape[:2], self.heads, -1)
        q, k, v = self.queries(parts), self.keys(parts), self.values(parts)
        A = (torch.einsum("bihd,bjhd->bhij", q, k) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.fc_out(torch.einsum("bhij,bjhd->bihd", A, v).reshape(x.shape))


class OverTheBatch(nn.Module):
    """PyTorch's layer wants tokens first unless it is told."""

    def __init__(self, d_model):
        super().__init__()
        self.attn = nn.MultiheadAttention(d_model, 3)

    def forward(self, x):
        return self.attn(x, x, x)[0]


class Gated(Separate):
    """A gate, which is no part of what we know."""

    def weights(self, scores):
        return super().weights(scores) * scores.sigmoid()


class Whole(nn.TransformerEncoderLayer):
    def __init__(self, d_model):
        super().__init__(d_model, 3)


# What stands inside: rotations, norms of heads, distances, gates.


class Inside(nn.Module):
    """A place for what is done to queries and keys, to scores, and to what comes of the heads."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.n_heads, self.d_k = n_heads, d_model // n_heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(d_model, d_model) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

    def meet(self, q, k):
        return self.split(q), self.split(k)

    def add(self, scores):
        return scores

    def gate(self, heads, x):
        return heads

    def forward(self, x):
        q, k = self.meet(self.q_proj(x), self.k_proj(x))
        scores = self.add(q @ k.mT / math.sqrt(self.d_k))
        heads = scores.softmax(-1) @ self.split(self.v_proj(x))
        return self.o_proj(self.gate(heads.transpose(1, 2).flatten(2), x))


class Turned(Inside):
    """Rotary positions in halves."""

    base = 10_000.0

    def turn(self, x, axis=-2):
        angles = torch.arange(x.shape[axis])[:, None] * self.base ** -(
            torch.arange(0, self.d_k, 2) / self.d_k
        )
        freqs = torch.cat([angles, angles], -1)
        freqs = freqs if axis == -2 else freqs[:, None]
        a, b = x.chunk(2, -1)
        return x * freqs.cos() + torch.cat([-b, a], -1) * freqs.sin()

    def meet(self, q, k):
        return self.turn(self.split(q)), self.turn(self.split(k))


class TurnedAsComplexNumbers(Turned):
    """Rotary positions, neighbours paired."""

    def turn(self, x, axis=-2):
        freqs = 10_000 ** -(torch.arange(0, self.d_k, 2) / self.d_k)
        turns = torch.polar(torch.ones(x.shape[-2], len(freqs)), torch.arange(x.shape[-2])[:, None] * freqs)
        return torch.view_as_real(
            torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * turns
        ).flatten(-2)


class HalfTurned(Turned):
    """A share of the columns, as GPT-NeoX has it."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.rotary_width = self.d_k // 2

    def turn(self, x, axis=-2):
        r = self.rotary_width
        angles = torch.arange(x.shape[-2])[:, None] * 10_000.0 ** -(torch.arange(0, r, 2) / r)
        freqs = torch.cat([angles, angles], -1)
        a, b = x[..., :r].chunk(2, -1)
        return torch.cat([x[..., :r] * freqs.cos() + torch.cat([-b, a], -1) * freqs.sin(), x[..., r:]], -1)


class QueriesTurned(Turned):
    def meet(self, q, k):
        return self.turn(self.split(q)), self.split(k)


class TurnedByHeads(Turned):
    """The axis of the heads taken for that of the tokens: queries and keys turn alike, and nothing shows."""

    def meet(self, q, k):
        return self.turn(self.split(q), -3), self.turn(self.split(k), -3)


class TurnedByAnotherBase(Turned):
    """A rotation by a base that nobody has."""

    base = 77.0


class NormedAndTurned(Turned):
    """Qwen 3's: an RMSNorm of each head before the rotation."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.q_norm, self.k_norm = nn.RMSNorm(self.d_k), nn.RMSNorm(self.d_k)

    def meet(self, q, k):
        return self.turn(self.q_norm(self.split(q))), self.turn(self.k_norm(self.split(k)))


class NormedTogether(Inside):
    """A LayerNorm before the heads are cut."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.q_norm, self.k_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def meet(self, q, k):
        return self.split(self.q_norm(q)), self.split(self.k_norm(k))


class NormedUnscaled(NormedTogether):
    def add(self, scores):
        return scores * math.sqrt(self.d_k)


class Distances(Inside):
    """A number for each distance and head."""

    longest = 64

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.rel_pos = nn.Embedding(2 * self.longest - 1, n_heads)

    def add(self, scores):
        i = torch.arange(scores.shape[-1])
        return scores + self.rel_pos(i[None] - i[:, None] + self.longest - 1).permute(2, 0, 1)


class Windowed(Inside):
    """Swin's: a table for two directions."""

    def __init__(self, dim, num_heads):
        super().__init__(dim, num_heads)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(25, num_heads))
        at = torch.stack(torch.meshgrid(torch.arange(3), torch.arange(3), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + 2
        self.register_buffer("relative_position_index", apart[0] * 5 + apart[1])

    def add(self, scores):
        return scores + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)


class ByKeysDistances(Inside):
    """Shaw's: vectors for distances, which meet the queries; at 0 they say nothing."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.rel_keys = nn.Parameter(torch.randn(127, self.d_k))

    def meet(self, q, k):
        self.queries = self.split(q)
        return super().meet(q, k)

    def add(self, scores):
        i = torch.arange(scores.shape[-1])
        vectors = self.rel_keys[i[None] - i[:, None] + 63]
        return scores + torch.einsum("bhid,ijd->bhij", self.queries, vectors)


class GatedHeads(Inside):
    """A weight for each head and token."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.gate_proj = nn.Linear(d_model, n_heads)

    def gate(self, heads, x):
        return heads * self.gate_proj(x).sigmoid().repeat_interleave(self.d_k, -1)


class GatedNumbers(Inside):
    """A weight for each number, without a bias."""

    def __init__(self, d_model, n_heads):
        super().__init__(d_model, n_heads)
        self.to_gate = nn.Linear(d_model, d_model, bias=False)

    def gate(self, heads, x):
        return heads * torch.sigmoid(self.to_gate(x))


class GatedWithoutHeads(GatedNumbers):
    """A gate, and the scale by the whole width."""

    def add(self, scores):
        return scores / math.sqrt(self.n_heads)


class Elsewhere(nn.Module):
    """A decoder's look at an encoder, with a mask for it."""

    def __init__(self, d_model, n_heads):
        super().__init__()
        self.attn = Separate(d_model, n_heads)

    def forward(self, hidden_states, encoder_hidden_states=None, encoder_attention_mask=None):
        other = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        mask = None if encoder_attention_mask is None else encoder_attention_mask[:, None, None]
        return self.attn(hidden_states, other, other, mask)


class ElsewhereTurnedRound(Elsewhere):
    def forward(self, hidden_states, encoder_hidden_states=None, encoder_attention_mask=None):
        mask = None if encoder_attention_mask is None else encoder_attention_mask
        return super().forward(hidden_states, encoder_hidden_states, mask if mask is None else mask * 0 + 1)


RIGHT = [
    (Separate, ["W_Q from W_q.weight", "give the mean of all values", "3 heads"]),
    (Separate(20, 5), ["5 heads"]),
    (ValuesFirst, ["value = Z, key = Y, query = X"]),
    (Packed, ["columns (3, heads, d)", "Each token sees itself and what came before"]),
    (Interleaved, ["columns (heads, 3, d)"]),
    (Bare, ["padding_mask: (batch, m), True = hidden.", "the output at place 1"]),
    (ListOfHeads, ["heads.0.query.weight and heads.1.query.weight"]),
    (Grouped, ["6 heads, 2 of keys"]),
    (Block, ["a residual connection and a LayerNorm behind it"]),
    (OverTheBatch, ["each (n, batch, d)"]),
    (Turned, ["paired with the other half"]),
    (TurnedAsComplexNumbers, ["paired with their neighbours"]),
    (HalfTurned, ["half of the columns turned by their places"]),
    (TurnedByHeads, ["Its text speaks of rotations, and none shows"]),
    (NormedAndTurned, ["an RMSNorm of each query and key", "turned by their places"]),
    (NormedTogether, ["a LayerNorm of queries and keys, all heads together"]),
    (Distances, ["a number for each distance j − i and head"]),
    (Windowed, ["in two directions and head is added to scores"]),
    (ByKeysDistances, ["Put to 0, and so not looked at: rel_keys"]),
    (GatedHeads, ["weighted by a sigmoid of the tokens"]),
    (GatedNumbers, ["weighted by a sigmoid of the tokens"]),
    (Elsewhere, ["encoder_attention_mask: (batch, m), True = may be seen"]),
]
MISTAKEN = [
    (Unscaled, ["Not scaled at all"]),
    (ByTheWholeWidth, ["Divided by √d_model"]),
    (WithoutTranspose, ["Heads split by a reshape alone", "Heads joined by a reshape alone"]),
    (OverTheQueries, ["Softmax over the queries"]),
    (UnscaledOverTheQueries, ["Not scaled at all", "Softmax over the queries"]),
    (AlwaysDropping, ["Dropout is on, though nobody trains"]),
    (MaskForgotten, ["mask"]),
    (ValuesAreKeys, ["made of the keys' sequence"]),
    (ZerosHidden, ["A score of exactly 0"]),
    (SharedByHeads, ["each head projects its own slice only"]),
    (QueriesTurned, ["Queries are turned by their places and keys are not"]),
    (NormedUnscaled, ["Not scaled at all"]),
    (GatedWithoutHeads, ["Divided by √d_model"]),
    (ElsewhereTurnedRound, ["mask is not used"]),
]
UNKNOWN = [
    (Gated, "of no attention that we know"),
    (TurnedByAnotherBase, "of no attention that we know"),
    (Whole, "give the module of the attention alone"),
]
