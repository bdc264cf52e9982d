"""Why an ordinary user has no nest."""


class NoNest(Exception):
    """The nest can't be started or used. Its text is for the user."""


class HolderEnded(NoNest):
    """The holder has ended before it said anything: somebody has killed it, and another one may live."""
