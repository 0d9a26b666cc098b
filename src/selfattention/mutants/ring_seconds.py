"""Wrong `ring_seconds(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency, overlap)`."""


def _step(computing, sending, overlap):
    return max(computing, sending) + (1 - overlap) * min(computing, sending)


def _sending(p, sent_bytes, bytes_per_second, latency):
    return latency + sent_bytes / max(1, p - 1) / bytes_per_second


def a_message_in_every_step(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency, overlap):
    """p messages: with the last tile none is on its way any more. Chapter 16."""
    sending = _sending(p, sent_bytes, bytes_per_second, latency)
    return p * _step(flops / (p * flops_per_second), sending, overlap)


def last_tile_forgotten(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency, overlap):
    """p − 1 steps, one for each message: what came last is still to be computed with. Chapter 16."""
    sending = _sending(p, sent_bytes, bytes_per_second, latency)
    return (p - 1) * _step(flops / (p * flops_per_second), sending, overlap)


def everything_in_every_step(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency, overlap):
    """All of a rank's work and bytes in each step: a step has its share of them. Chapter 16."""
    computing, sending = flops / flops_per_second, latency + sent_bytes / bytes_per_second
    return (p - 1) * _step(computing, sending, overlap) + computing


def hidden_in_sum(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency, overlap):
    """All messages hide behind all tiles: none can behind the last, nor later than its step. Chapter 16."""
    sending = (p - 1) * _sending(p, sent_bytes, bytes_per_second, latency)
    return _step(flops / flops_per_second, sending, overlap)
