"""The one kind of error that tests/cluster raises on purpose."""


class ClusterError(Exception):
    """Something that the user, or the machine, has to put right; the message says what."""
