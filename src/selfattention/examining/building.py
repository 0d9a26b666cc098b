"""A layer in the examined process: built if it is a class, described, given weights that are asked for."""

import inspect
import re
import sys

from selfattention.examining.weights import drawn

VALUES = [
    (r"kv_?heads|key_value_heads|n_?groups|num_groups", 3),
    (r"^(h|heads?|n_?heads?|num_?heads?|heads?_num|nh|n_h|num_attention_heads|nhead)$", 3),
    (r"dim_?head|head_?(dim|size)|^d_?[kqv]$|d_?head|(key|value|query)_?dim$|^dim_[kqv]$", 8),
    (r"drop", 0.5),
    (r"bias|batch_?first", True),
    (r"causal|mask|flash", False),
    (r"block|context_?len|ctx|max_?(len|seq|pos)|seq_?len|n_?pos|num_?tok|n_?tok|max_position", 64),
    (r"layer_?(idx|id|index|number)", 0),
    (r"d_?in|d_?out|dim|embd?|emb|hidden|width|channel|feat|size|^d$|^c$|^k$|d_?model|model_?d", 24),
]
"""What an __init__ may ask for, by the names of its arguments, and what it gets: 24 = three heads of 8."""

NUMBERS = 200  # attributes that are whole numbers, of all modules inside
SEEN = ("config", "cfg", "args", "params", "hparams")


class Unbuildable(Exception):
    """A class that asks for what nobody here knows."""


def is_layer(thing) -> bool:
    """Whether it is a torch.nn.Module."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def is_kind_of_layer(thing) -> bool:
    """Whether it is a class of such."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, type) and issubclass(thing, torch.nn.Module)


def entrance(layer):
    """The method whose arguments it has: `call` of a layer of Keras, whose `forward` takes anything."""
    return getattr(layer, "call", layer.forward)


def classes(layer) -> list[type]:
    """Its class, and those that it inherits from, without PyTorch's own beneath."""
    torch = sys.modules["torch"]
    inherited = [kind for kind in type(layer).__mro__[1:] if issubclass(kind, torch.nn.Module)]
    return [type(layer), *(kind for kind in inherited if not kind.__module__.startswith("torch."))]


def can_be_called(thing) -> bool:
    """Whether it can, or has a method `forward` that can."""
    return callable(thing) or callable(getattr(thing, "forward", None))


def built(thing):
    """(a layer in evaluation mode, how it was built), or the thing and nothing if it is none.

    A class is called with what the names of its arguments ask for; a function that wants no argument is
    called, for it may be a recipe for a layer. Of what cannot be called, a method `forward` counts.
    """
    if is_kind_of_layer(thing):
        thing, how = _called(thing)
        return thing.eval(), how
    if isinstance(thing, type) and callable(getattr(thing, "forward", None)):
        thing, _ = _called(thing)
    if not callable(thing):
        return thing.forward, ""
    if not is_layer(thing) and inspect.isfunction(thing) and not inspect.signature(thing).parameters:
        made = thing()
        if is_layer(made):
            return made.eval(), f"{thing.__name__}()"
    return (thing.eval(), "") if is_layer(thing) else (thing, "")


class Settings:
    """A configuration that answers by name, as for a class that wants one object with everything."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return value_of(name)


def value_of(name: str):
    """What an argument of this name gets; raises Unbuildable."""
    for pattern, value in VALUES:
        if re.search(pattern, name.lower()):
            return value
    raise Unbuildable(f"nobody told what {name} is")


def _called(kind):
    given = {}
    for p in [*inspect.signature(kind.__init__).parameters.values()][1:]:
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        if p.default is not p.empty and not _is_dropout(p):
            continue
        settings = p.name.lower() in SEEN or p.name.lower().endswith("config")
        given[p.name] = Settings() if settings else value_of(p.name)
    said = ", ".join(f"{n}={'…' if isinstance(x, Settings) else x}" for n, x in given.items())
    return kind(**given), f"{kind.__name__}({said})"


def _is_dropout(p):
    """Whether it is a rate, which is set, for one that is on shows only where it is not 0."""
    return "drop" in p.name.lower() and isinstance(p.default, float) and not isinstance(p.default, bool)


def described(layer, how) -> dict:
    """Its parameters with their owners, and the whole numbers that it keeps as attributes."""
    owners = dict(layer.named_modules())
    parameters, numbers = [], {}
    for name, p in layer.named_parameters():
        owner = owners[name.rpartition(".")[0]]
        parameters.append([name, list(p.shape), type(owner).__name__])
    for module in layer.modules():
        settings = [getattr(module, name, None) for name in SEEN]
        for holder in (module, *settings):
            for name, value in getattr(holder, "__dict__", {}).items():
                if type(value) is int and len(numbers) < NUMBERS:
                    numbers.setdefault(name, value)
    where = {str(p.device) for p in layer.parameters()}
    return {
        "parameters": parameters,
        "numbers": numbers,
        "built": how,
        "where": sorted(where),
        "rates": sorted({float(r) for r in _rates(layer)}),
    }


def _rates(layer):
    for module in layer.modules():
        if type(module).__name__.startswith("Dropout") and hasattr(module, "p"):
            yield module.p
        for name, value in vars(module).items():
            if "drop" in name.lower() and isinstance(value, float):
                yield value


def prepare(layer, wanted) -> None:
    """Draw weights, put others to 0, choose the mode and the rate of dropout; nothing, if that is done."""
    if wanted is None or getattr(layer, "_examined_as", None) == wanted:
        return
    import torch

    parameters = dict(layer.named_parameters())
    with torch.no_grad():
        for name, bias in wanted["draw"]:
            p = parameters[name]
            p.copy_(torch.from_numpy(drawn(name, tuple(p.shape), bias)))
        for name in wanted["zero"]:
            parameters[name].zero_()
    for module in layer.modules():
        if "norm" in type(module).__name__.lower():
            _as_new(module)
        if type(module).__name__.startswith("Dropout") and wanted["rate"] is not None:
            setattr(module, "p" if hasattr(module, "p") else "rate", wanted["rate"])  # Keras says rate
        for name, value in list(vars(module).items()) if wanted["rate"] is not None else ():
            if "drop" in name.lower() and isinstance(value, float):
                setattr(module, name, wanted["rate"])
    layer.train(wanted["training"])
    object.__setattr__(layer, "_examined_as", wanted)


def _as_new(norm):
    """A norm as it is before training, its ε the recipe's."""
    if hasattr(norm, "reset_parameters"):
        norm.reset_parameters()
    for name in ("eps", "variance_epsilon"):
        if isinstance(getattr(norm, name, 0), float | None):  # None is RMSNorm's own
            setattr(norm, name, 1e-5)


def called(layer, *args, **named):
    """What it gives, without gradients."""
    import torch

    with torch.no_grad():
        return layer(*args, **named)
