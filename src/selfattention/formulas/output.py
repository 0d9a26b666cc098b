"""Map back. Chapter: notebooks/07_output."""

from selfattention.notation import Outputs, OutputWeights, Tokens
from selfattention.signatures import checked


@checked
def output_projection(O: Outputs, W_O: OutputWeights) -> Tokens:
    """Eq. output-projection:  Y = O W_O.

    O (…, n, d_v), W_O (…, d_v, d_model) give Y (…, n, d_model). After a concatenation of
    h heads, O is h·d_v wide and W_O has as many rows. Source: Vaswani et al. 2017, section 3.2.2.
    Raises ValueError or TypeError, naming the argument that does not fit.
    """
    return O @ W_O
