"""The frame that PyTorch wants around a forward and a backward pass: no arithmetic stands here."""

from selfattention.extras import needed

with needed():
    import torch

from selfattention.implementations.contract import in_its_own_dtype


def differentiable(outputs, gradients):
    """`outputs(Q, K, V, rule, bias, scale) -> (O, L)`, made differentiable in Q, K and V.

    Between the passes only the inputs, O and L are kept, no scores and no weights.
    `gradients(dO, dL, Q, K, V, O, L, rule, bias, scale)` gives dQ, dK and dV; dL is zero where the
    loss does not depend on L.
    """

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx, Q, K, V, rule, bias, scale):
            O, L = outputs(Q, K, V, rule, bias, scale)
            ctx.save_for_backward(Q, K, V, O, L, bias)
            ctx.rest = rule, scale
            return O, L

        @staticmethod
        def backward(ctx, dO, dL):
            (*arrays, bias), (rule, scale) = ctx.saved_tensors, ctx.rest
            with in_its_own_dtype(dO):
                return *gradients(dO, dL, *arrays, rule, bias, scale), None, None, None

    def attention(Q, K, V, rule, bias, scale):
        if bias is not None and bias.requires_grad and torch.is_grad_enabled():
            raise ValueError("bias requires a gradient, and there is one for Q, K and V only")
        return Attention.apply(Q, K, V, rule, bias, scale)

    return attention
