"""One verdict for a fleet: the signed reports of its gateways are added up, each gateway once."""

from collections.abc import Mapping, Sequence

from governance import canonical
from governance.shadow.errors import ShadowError
from governance.shadow.report import combine
from governance.shadow.statement import Frame, computing, signable
from governance.shadow_report import ShadowReport


def distinct(reports: Mapping[str, ShadowReport]) -> dict[str, ShadowReport]:
    """Keep one report a gateway, by the digests under which they are signed.

    A run's report tells all that its gateway has counted, so a later one takes the place of those
    before. Of two that end together the one with more pairs counts, then the one with more
    disagreements: a gateway gains nothing by reporting again.
    """
    chosen: dict[str, tuple[tuple[int, int, int, str], ShadowReport]] = {}
    for digest, said in reports.items():
        rank = (said.ended, said.n, said.d, digest)
        if said.gateway not in chosen or chosen[said.gateway][0] < rank:
            chosen[said.gateway] = (rank, said)
    return {rank[3]: said for _, (rank, said) in sorted(chosen.items())}


def goes_on(before: ShadowReport, after: ShadowReport) -> bool:
    """Whether a gateway's report continues an earlier one: what was counted stays counted."""
    counts = [(said.ended, said.n, said.d, said.ends.shed) for said in (before, after)]
    same = before.seed_commitment == after.seed_commitment and before.started == after.started
    return same and all(one <= other for one, other in zip(*counts, strict=True))


def total(reports: Mapping[str, ShadowReport], gateway: str) -> ShadowReport:
    """Add reports up; whoever calls has checked that each is signed by its gateway.

    Args:
        reports: by the digests of their statements.
        gateway: who signs the sum.

    Raises:
        ShadowError: there is none, one does not follow from its integers, or they are not of one
            comparison.

    """
    counted = distinct(reports)
    if not counted:
        raise ShadowError("no_reports", "there is no report to add up")
    first = next(iter(counted.values()))
    for said in counted.values():
        if said.sources:
            raise ShadowError("sum_of_sums", "a sum is not a gateway's own report")
        if (said.policy, said.audience) != (first.policy, first.audience):
            raise ShadowError("other_run", "the reports are under two policies, or of two fleets")
    summed = combine([computing(said) for said in counted.values()], gateway)
    frame = Frame(
        first.audience,
        first.policy,
        None,
        _digest([said.sample_root for said in counted.values()]),
        _digest([said.seed_commitment for said in counted.values()]),
        tuple(sorted(counted)),
    )
    return signable(summed, frame)


def check(said: ShadowReport, sources: Sequence[ShadowReport]) -> None:
    """Compare a sum with the reports that it names, as an auditor does.

    Raises:
        ShadowError: `other_sum`.

    """
    named = dict(zip(said.sources, sources, strict=True))
    if len(distinct(named)) < len(named):
        raise ShadowError("gateway_twice", "the sum counts one gateway twice")
    if total(named, said.gateway) != said:
        raise ShadowError("other_sum", "the report is not the sum of those that it names")


def _digest(parts: Sequence[str]) -> str:
    return canonical.digest("\n".join(sorted(parts)).encode())
