"""Wrong `exposed_seconds(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency)`."""


def one_latency(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency):
    """All bytes as one message, which waits once: each of 2 (p − 1) does. Chapter 16."""
    return flops / flops_per_second + latency + sent_bytes / bytes_per_second


def there_alone(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency):
    """p − 1 messages: as many come back, or go around once more. Chapter 16."""
    return flops / flops_per_second + (p - 1) * latency + sent_bytes / bytes_per_second


def hidden(p, flops, sent_bytes, flops_per_second, bytes_per_second, latency):
    """As if it computed meanwhile, like a ring: here one waits for the other. Chapter 16."""
    return max(flops / flops_per_second, 2 * (p - 1) * latency + sent_bytes / bytes_per_second)
