"""The root of every refusal of governance."""


class GovernanceError(Exception):
    """Something was refused: the sentence is for people, `reason` for programs.

    The sentence says what failed, what was expected and what can be done. `reason` is a stable slug
    in lower case with underscores; a test and a caller lean on it, never on the sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
