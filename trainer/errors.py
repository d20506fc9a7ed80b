"""What ends a training run before or instead of an answer: one sentence each."""


class TrainError(Exception):
    """The run cannot go on; the message says what is wrong and what was expected."""


class SpecError(TrainError):
    """`specialist.toml` cannot be used; the message names the key."""


class InputError(TrainError):
    """The data cannot be used: missing, unreadable, or not of the form that is needed."""


class LockError(TrainError):
    """The thresholds are not locked, or no longer those that were."""


class SealError(TrainError):
    """The held-out set is not what was sealed, or may not be looked at."""
