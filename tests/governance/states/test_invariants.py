"""Whatever is tried in whatever order: one live model, compared, approved, and a ledger to show."""

from collections.abc import Callable
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from governance.states import Event, ModelState, Registry, TransitionError, fold
from governance.states.table import FINAL, SERVING, TABLE
from tests.governance.ledgers import NOW, approval, digest
from tests.governance.states.story import MODEL, TRAINER, Story

NAMES = st.sampled_from("abcd")
ROLES = st.lists(
    st.sampled_from(["operator", "domain_expert", "governance_approver", "security", "trainer"]),
    min_size=1,
    max_size=2,
)
KINDS = st.sampled_from(sorted(TABLE.keys() - {"register", "fail_eval"}))


class Watched(Story):
    """A story that tells of every event that was taken."""

    def __init__(self, watch: Callable[[Event, ModelState], None]) -> None:
        super().__init__()
        self._watch = watch

    def take(self, event: Event) -> None:
        before = self.registry.model(MODEL)
        super().take(event)
        self._watch(event, before)


class Attempts(RuleBasedStateMachine):
    """Sensible steps and arbitrary ones, mixed; refusals are expected, broken promises are not."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Watched(self._watch)
        self.log: list[Event] = []
        self.live: list[str | None] = [None]
        self.reports: dict[str, tuple[str | None, int]] = {}
        self.intents: dict[str, Event] = {}
        self.ended: set[str] = set()
        self.nonces: list[str] = []

    def _watch(self, event: Event, before: ModelState) -> None:
        self.log.append(event)
        model = self.story.registry.model(MODEL)
        self.nonces += [a["nonce"] for a in event.approvals]
        if event.kind == "shadow_result" and event.body["verdict"] == "PASS":
            self.reports[event.candidate] = (before.incumbent, event.index)
        if event.kind in ("promote_intent", "break_glass"):
            self.intents[event.candidate] = event
        if event.kind == "promote_done":
            self._promoted(event, before.incumbent)
        self.live.append(model.incumbent)
        for name, candidate in model.candidates.items():
            if name in self.ended:
                assert candidate.state in FINAL
            if candidate.state in FINAL:
                self.ended.add(name)

    def _promoted(self, event: Event, incumbent: str | None) -> None:
        """(b) and (d): compared with this incumbent, and signed by two after the report."""
        intent = self.intents.pop(event.candidate)
        assert intent.body["incumbent"] == incumbent
        roles = {s["role"] for a in intent.approvals for s in a["signers"]}
        if intent.kind == "break_glass":
            assert roles == {"security", "operator"}
            return
        assert roles == {"domain_expert", "governance_approver"}
        if incumbent is not None:
            against, index = self.reports[event.candidate]
            assert against == incumbent
            assert all(index < a["head"] for a in intent.approvals)

    @initialize()
    def begin(self) -> None:
        self._try(self.story.exported, "a")
        self._try(self.story.intend, "a")
        self._try(self.story.done, "a")

    def _try(self, step: Callable[..., None], name: str, *more: str) -> None:
        with suppress(TransitionError, KeyError):
            step(name, *more)

    @rule(name=NAMES)
    def register(self, name: str) -> None:
        self._try(self.story.exported, name)

    @rule(name=NAMES, verdict=st.sampled_from(["PASS", "PASS", "FAIL", "INCONCLUSIVE"]))
    def compare(self, name: str, verdict: str) -> None:
        self._try(self.story.shadow, name)
        self._try(self.story.result, name, verdict)

    @rule(name=NAMES)
    def promote(self, name: str) -> None:
        self._try(self.story.intend, name)

    @rule(name=NAMES)
    def finish(self, name: str) -> None:
        self._try(self.story.done, name)

    @rule(name=NAMES)
    def glass(self, name: str) -> None:
        self._try(self.story.break_glass, name)

    @rule(seconds=st.integers(0, 100_000))
    def wait(self, seconds: int) -> None:
        self.story.now += seconds

    @rule(
        kind=KINDS,
        name=NAMES,
        other=NAMES,
        roles=ROLES,
        reuse=st.booleans(),
        head=st.integers(0, 40),
        verdict=st.sampled_from(["PASS", "FAIL", "INCONCLUSIVE"]),
        attempt=st.integers(1, 3),
    )
    def anything(
        self,
        kind: str,
        name: str,
        other: str,
        roles: list[str],
        reuse: bool,
        head: int,
        verdict: str,
        attempt: int,
    ) -> None:
        tag = "reused" if reuse else f"{self.story.index}-any"
        approvals = [approval(f"{tag}-{role}", role, head) for role in roles]
        if roles == ["trainer"]:
            approvals[0]["signers"][0]["key"] = TRAINER
        body = {
            "approvals": approvals,
            "incumbent": digest(other),
            "report": digest(("report", name)),
            "attempt": attempt,
            "verdict": verdict,
            "expires": NOW + head * 1000,
            "bundle": digest("bundle"),
            "policy": digest("policy"),
            "deployment": digest("deployment"),
        }
        if kind in _UNSIGNED:
            del body["approvals"]
        with suppress(TransitionError):
            self.story.take(self.story.event(kind, name, **body))

    @invariant()
    def one_model_is_live(self) -> None:
        model = self.story.registry.model(MODEL)
        serving = [d for d, c in model.candidates.items() if c.state in SERVING]
        assert serving == ([] if model.incumbent is None else [model.incumbent])

    @invariant()
    def what_a_rollback_goes_back_to_is_there(self) -> None:
        model = self.story.registry.model(MODEL)
        if model.previous is not None:
            assert model.candidates[model.previous].state == "superseded"

    @invariant()
    def a_nonce_is_spent_once(self) -> None:
        assert len(set(self.nonces)) == len(self.nonces)
        assert self.story.registry.nonces == set(self.nonces)

    def teardown(self) -> None:
        assert fold(self.log, Registry()) == self.story.registry


_UNSIGNED = {name for name, row in TABLE.items() if not (row.all_of or row.one_of)}

TestAttempts = Attempts.TestCase
TestAttempts.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
