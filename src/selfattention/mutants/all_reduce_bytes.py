"""Wrong `all_reduce_bytes(words, p, word_bytes)`."""


def _piece(words, p):
    return -(-words // p)


def sums_kept_to_oneself(words, p, word_bytes):
    """One trip around the ring: the sums are made, and nobody is told. Chapter 16."""
    return (p - 1) * _piece(words, p) * word_bytes


def everybody_to_everybody(words, p, word_bytes):
    """The whole array to each of the others: p − 1 times N. Chapter 16."""
    return (p - 1) * words * word_bytes


def twice_the_array(words, p, word_bytes):
    """Twice the array, whatever p is: that is the limit for many ranks. Chapter 16."""
    return 2 * words * word_bytes


def rounded_down(words, p, word_bytes):
    """Pieces of ⌊N / p⌋ numbers, and the last few are never summed. Chapter 16."""
    return 2 * (p - 1) * (words // p) * word_bytes


def numbers_for_bytes(words, p, word_bytes):
    """Numbers for bytes. Chapter 16."""
    return 2 * (p - 1) * _piece(words, p)


def received_as_well(words, p, word_bytes):
    """What is received is counted with what is sent. Chapter 16."""
    return 4 * (p - 1) * _piece(words, p) * word_bytes
