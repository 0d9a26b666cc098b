"""How released models say their attention: architectures of transformers, computed again by our contract.

    from selfattention.dialects.zoo import families, how
    print(how("gemma2"))

`make zoo` builds a tiny model of every architecture that transformers' AutoModel knows, from its
configuration class and random weights, and runs it twice. It finds every softmax of a product of queries
and keys among the operations (`traced`), names what stands around it (`ingredients`), and computes it again
with `attention(Q, K, V, mask=…, bias=…, scale=…, softcap=…, sink=…)`. data/zoo.json has what came of it:

    {"command", "date", "versions": {…}, "families": {
      name: {"model", "config", "dtype", "settings": {…}, "calls": [ingredients], "unread": {why: number}},
      name: {"model", "config", "parts": [names]},
      name: {"model", "config", "missing": why it could not be run}}}

`families()` gives all of it as `Family`s, `how(name)` one, with the lines that say its calls, and `counted()`
how many add what.
"""

from selfattention.dialects.zoo.recorded import EXACT, Family, Said, counted, families, how, versions

__all__ = ["EXACT", "Family", "Said", "counted", "families", "how", "versions"]
