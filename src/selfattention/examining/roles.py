"""Which argument is what: first by its name, then by trial."""

import re
from dataclasses import dataclass
from itertools import permutations

NAMES = [
    ("mask", r"mask|visib|allowed|^m$|may_see|keep|pad|hid|valid|len"),
    ("causal", r"causal|autoregress|look_?ahead"),
    ("scale", r"scal|^temp|^tau$"),
    ("dO", r"^(d_?o(ut)?|grad.*|g|upstream.*|d_?output)$"),
    ("O_1", r"^(o|out|output|x)_?(1|a)$|^(o|out|output)_prev$"),
    ("O_2", r"^(o|out|output|x)_?(2|b)$|^(o|out|output)_(cur|new|suffix)$"),
    ("L_1", r"^(l|lse)_?(1|a)$|^(l|lse)_prev$"),
    ("L_2", r"^(l|lse)_?(2|b)$|^(l|lse)_(cur|new|suffix)$"),
    ("dropout", r"drop|^p$|^rate$"),
    ("training", r"train|determin"),
    ("heads", r"^(h|heads?|n_?heads?|num_?heads?|heads?_num|n_?h|num_attention_heads)$"),
    ("d_k", r"^(d_?k|d_?head|head_?(dim|size)|d_?model|d_?q|key_?dim|dim|d|size|dk_size|embed_?dim)$"),
    ("block", r"block|tile|chunk|^b_?[rc]$"),
    ("W_Q", r"^w_?q|^q_?(w|proj)|wq$|w_query|query_(w|proj)"),
    ("W_K", r"^w_?k|^k_?(w|proj)|wk$|w_key|key_(w|proj)"),
    ("W_V", r"^w_?v|^v_?(w|proj)|wv$|w_value|value_(w|proj)"),
    ("W_O", r"^w_?o|^o_?(w|proj)|wo$|w_out|out_?(w|proj)"),
    ("QKV", r"^x?qkv"),
    ("QK", r"^x?qk"),
    ("Q", r"^x?(q|quer)|_q$"),
    ("memory", r"^(context|memory|enc|source|src|kv|inputs_kv|y$)"),
    ("K", r"^x?(k|key)"),
    ("V", r"^x?v"),
    ("S", r"^(s|z|logits?|scores?|a|sim|x|inputs?)$"),
    ("X", r"^(x|inp|tok|emb|hidden|seq)"),
]
"""Roles, each with what the names of its arguments look like; the first that fits counts."""

OF_OTHERS = {
    "past_K": r"(past|prev|cach|old|mem).*k|k.*(past|prev|cach|old|mem)",
    "past_V": r"(past|prev|cach|old|mem).*v|v.*(past|prev|cach|old|mem)",
    "past": r"past|cach|prev|mem|kv|state",
    "heads": r"head|^h$",
    "keys": r"key|kv|k_?(len|n$)|_k$|^(m|s|klen|src\w*)$",
    "positions": r"pos|place|idx|ind|steps?$|^(m|p|i)$",
    "count": r"len|pos|seq|num|max|time|steps|rows|tok|^(n|l|t|s)$",
    "width": r"dim|model|hid|emb|^d_|size|depth|width|feat|chan|^(d|c)$",
    "turned": r"^(x|x?q|x?k|query|queries|keys?|inputs?|hidden\w*|states?|vec\w*|tensor)$",
    "A": r"^(a|p|attn\w*|\w*weights?|probs?)$",
    "b_1": r"^b\w*1$|1\w*b(ias)?$",
    "b_2": r"^b\w*2$|2\w*b(ias)?$",
    "W_1": r"^(w|fc|lin|dense|theta|mat)\w*1|1\w*w(eight)?$|down|reduc|squeez",
    "W_2": r"^(w|fc|lin|dense|theta|mat)\w*2|2\w*w(eight)?$|up$|expan|excit",
    "F": r"^(x|f|u|z|inp\w*|feat\w*|f?maps?|im\w*|picture|tensor)$",
}
"""Of functions that are no attention: they count only where such a role is wanted."""

GIVEN = {"Q", "K", "V", "X", "S", "memory", "QKV", "QK", "W_Q", "W_K", "W_V", "W_O"}
OTHERS = {*GIVEN} - {"X", "S", "memory"}
"""Roles that nobody has by chance: who is called so, and not wanted, is a sign of another function."""

GIVEN |= {"dO", "O_1", "L_1", "O_2", "L_2"}
GIVEN |= {*OF_OTHERS} - {"heads"}
LEFT_OUT = {"dropout", "training", "block", "scale", "heads", "d_k", "mask", "causal"}


def fitting(name: str, operands: tuple[str, ...] = ()) -> set[str]:
    """The roles that an argument of this name may have: the first that fits, and S where X may be S."""
    name = name.lower().strip("_")
    for role, pattern in OF_OTHERS.items():
        if role in operands and re.search(pattern, name):
            return {role}
    found = [role for role, pattern in NAMES if re.search(pattern, name)]
    return set(found[:1]) | ({"X"} & set(found)) if found[:1] == ["S"] else set(found[:1])


@dataclass(frozen=True)
class Argument:
    """A parameter of a signature."""

    name: str
    required: bool
    by_name_only: bool = False
    many: bool = False  # *args
    default: object = None  # where it is a number or a boolean


def assignments(arguments: list[Argument], operands: tuple[str, ...]) -> list[dict[str, str]]:
    """Ways to give each required argument a role so that every operand has its place, the likeliest first.

    An optional argument has the role of its name, or none. Empty, where there is no way.
    """
    named = {a.name: fitting(a.name, operands) for a in arguments if not a.many}
    if any(a.many for a in arguments):
        free = [f"*{i}" for i in range(len(operands))]
        return [dict(zip(free, order, strict=True)) for order in permutations(operands)]
    certain = {
        name: role
        for name, roles in named.items()
        for role in roles
        if role in operands or (role in LEFT_OUT and role not in GIVEN)
    }
    certain = _first_of_each(certain)
    missing = [role for role in operands if role not in certain.values()]
    free = [a.name for a in arguments if a.required and a.name not in certain]
    if len(free) != len(missing) or any(fitting(name) & OTHERS for name in free):
        return []
    if len(missing) > 3:  # in that order or in none
        return [certain | dict(zip(free, missing, strict=True))] if len(missing) == len(operands) else []
    return [certain | dict(zip(free, order, strict=True)) for order in permutations(missing)]


def _first_of_each(certain):
    """Of two arguments with the same role the first has it."""
    taken = {}
    for name, role in certain.items():
        if role not in taken.values():
            taken[name] = role
    return taken
