"""Wrong `shared_rate(rate, p, devices)`."""


def like_a_liquid(rate, p, devices):
    """P c / p, as if ranks flowed: a rank stays on one device, and of three on two, two share. Chapter 16."""
    return rate * min(1, devices / p)


def rounded_down(rate, p, devices):
    """⌊p / c⌋ ranks on a device: the one with the most has ⌈p / c⌉, and all wait for those. Chapter 16."""
    return rate / max(1, p // devices)


def idle_devices_help(rate, p, devices):
    """Devices that nobody uses make the others faster. Chapter 16."""
    return rate * devices / p
