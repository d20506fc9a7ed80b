"""The verdict of a signed shadow report, computed again under the policy that it names."""

from governance.bundle.errors import BundleError
from governance.policy import Policy
from governance.shadow.gates import parse_policy
from governance.shadow.statement import verify
from governance.shadow.verdict import Verdict
from governance.shadow_report import ShadowReport


def rejudge(said: ShadowReport, policy: Policy, model: str) -> Verdict:
    """Judge a report again from its integers.

    A report carries the questions that it answers; they have to be those of the signed policy, so
    that it cannot make them easier.

    Raises:
        BundleError: they are not (`other_questions`).
        ShadowError: its verdict, gates or seed are not what its integers give.

    """
    asked = policy.risk_class(model).shadow
    if parse_policy(said.shadow_policy) != parse_policy(asked):
        raise BundleError(
            "other_questions", "the report was judged by other limits than the policy's"
        )
    return verify(said)
