"""Wrong `step_seconds(computing, sending, overlap)`."""


def messages_hide(computing, sending, overlap):
    """t_c + (1 − ω) t_s: a message that takes longer than the tile hides behind it as a whole. Chapter 16."""
    return computing + (1 - overlap) * sending


def longer_one_hidden(computing, sending, overlap):
    """Of the longer one the part ω is hidden: behind the shorter there is no room for it. Chapter 16."""
    return min(computing, sending) + (1 - overlap) * max(computing, sending)


def hidden_is_added(computing, sending, overlap):
    """ω is what shows and not what is hidden. Chapter 16."""
    return max(computing, sending) + overlap * min(computing, sending)
