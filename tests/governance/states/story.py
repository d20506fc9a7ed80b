"""A model's life step by step, for tests: each step builds the event that comes next."""

from typing import Any

from governance.states import Event, Registry, apply
from tests.governance.ledgers import NOW, approval, digest

MODEL = "fraud"
TRAINER = digest(("key", "trainer"))


class Story:
    """A registry that grows event by event; every approval has a nonce of its own."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.index = 0
        self.now = NOW

    def by(self, *roles: str, head: int | None = None) -> list[dict[str, Any]]:
        seen = self.index if head is None else head
        return [approval(f"{self.index}-{role}", role, seen) for role in roles]

    def event(self, kind: str, candidate: str, **body: Any) -> Event:
        told = {"at": self.now, "model": MODEL, "candidate": digest(candidate), **body}
        return Event(self.index, kind, told)

    def step(self, kind: str, candidate: str, **body: Any) -> None:
        self.take(self.event(kind, candidate, **body))

    def take(self, event: Event) -> None:
        self.registry = apply(self.registry, event)
        self.index += 1

    def state(self, candidate: str) -> str:
        return self.registry.model(MODEL).candidates[digest(candidate)].state

    @property
    def incumbent(self) -> str | None:
        return self.registry.model(MODEL).incumbent

    def register(self, name: str) -> None:
        self.step("register", name, trainer=TRAINER, provenance=digest("provenance"))

    def exported(self, name: str) -> None:
        self.register(name)
        self.step("accept_eval", name, evaluation=digest("evaluation"))
        self.step("export", name, bundle=digest("bundle"))

    def shadow(self, name: str, attempt: int | None = None) -> None:
        model = self.registry.model(MODEL)
        spent = model.attempts.get(model.incumbent or "", 0)
        self.step(
            "shadow",
            name,
            approvals=self.by("operator"),
            incumbent=model.incumbent,
            policy=digest("policy"),
            attempt=spent + 1 if attempt is None else attempt,
        )

    def result(self, name: str, verdict: str) -> None:
        model = self.registry.model(MODEL)
        self.step(
            "shadow_result",
            name,
            incumbent=model.incumbent,
            attempt=model.candidates[digest(name)].attempt,
            report=digest(("report", name)),
            verdict=verdict,
        )

    def intend(self, name: str, **changed: Any) -> None:
        model = self.registry.model(MODEL)
        body: dict[str, Any] = {
            "approvals": self.by("domain_expert", "governance_approver"),
            "incumbent": model.incumbent,
            "report": digest(("report", name)) if model.incumbent else None,
            "bundle": digest("bundle"),
            "policy": digest("policy"),
        }
        self.step("promote_intent", name, **{**body, **changed})

    def done(self, name: str) -> None:
        self.step("promote_done", name, deployment=digest("deployment"))

    def first(self, name: str) -> None:
        """Bring the first model live: there is nothing to compare it with."""
        self.exported(name)
        self.intend(name)
        self.done(name)

    def passed(self, name: str) -> None:
        self.exported(name)
        self.shadow(name)
        self.result(name, "PASS")

    def promoted(self, name: str) -> None:
        self.passed(name)
        self.intend(name)
        self.done(name)

    def break_glass(self, name: str, **changed: Any) -> None:
        body: dict[str, Any] = {
            "approvals": self.by("security", "operator"),
            "incumbent": self.incumbent,
            "justification": digest("why"),
            "expires": self.now + 3600,
        }
        self.step("break_glass", name, **{**body, **changed})
