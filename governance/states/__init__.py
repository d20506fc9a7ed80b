"""The life of a model from candidate to live and back, as data and one pure function."""

from governance.states.fold import apply, fold
from governance.states.model import Candidate, Event, ModelState, Registry, TransitionError

__all__ = ["Candidate", "Event", "ModelState", "Registry", "TransitionError", "apply", "fold"]
