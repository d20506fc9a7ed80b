"""A candidate's evidence bundle as it is kept: its digest now, and what a gate asks of it.

The digest that is logged at `export` names what the candidate came with. From there the bundle
grows (its shadow report, its approvals), and every bundle after has that digest in its history.
"""

from governance.bundle import harm
from governance.bundle.errors import BundleError
from governance.bundle.folder import open_bundle
from governance.bundle.manifest import chain_of, read_manifest
from governance.bundle.measure import check_runs
from governance.bundle.measured import Serving
from governance.bundle.requirements import check
from governance.errors import GovernanceError
from governance.home import Home
from governance.policy import Policy
from governance.states.model import Candidate
from governance.vocabulary import Gate


def digest(home: Home, model: str, candidate: str, known: Candidate) -> str | None:
    """What an approval names: the digest of the bundle now, if it grew from the exported one.

    Where no such bundle is kept it is the exported digest itself; None before the export.
    """
    if known.bundle is None:
        return None
    root = home.bundle(model, candidate)
    try:
        chain = chain_of(root, read_manifest(root))
    except GovernanceError:
        return known.bundle
    grown = any(manifest.digest == known.bundle for manifest in chain)
    return chain[0].digest if grown else known.bundle


def require(
    home: Home,
    policy: Policy,
    model: str,
    candidate: str,
    known: Candidate,
    gate: Gate,
    incumbent: str | None = None,
) -> str | None:
    """Refuse a bundle that lacks what the policy has a gate ask for; else as `digest`.

    `incumbent` is what a promotion replaces: the policy may ask that the shadow did not harm it.

    Raises:
        BundleError: `no_bundle`, `other_evidence`, `missing:` and the first path that is not there,
            `incumbent_harmed`, or whatever is wrong with the folder.

    """
    found, risk = digest(home, model, candidate, known), policy.risk_class(model)
    limit = risk.harm_limit if gate == "promote" and incumbent is not None else None
    if gate not in (risk.evidence or ()) and limit is None:
        return found
    bundle = open_bundle(home.bundle(model, candidate))
    if (bundle.model, bundle.candidate) != (model, candidate):
        raise BundleError(
            "other_candidate", f"the bundle kept for {candidate} is about {bundle.candidate}"
        )
    if known.bundle is not None and known.bundle not in bundle.digests:
        raise BundleError(
            "other_evidence",
            f"the bundle that is kept never had the exported digest {known.bundle}",
            remedy="hand the bundle in again: `sluicegate candidate evidence`",
        )
    if gate in (risk.evidence or ()):
        check(bundle, gate)
    if limit is not None and incumbent is not None:
        said = bundle.group(Serving)
        harm.check(said, incumbent, limit)
        for _ in check_runs(bundle.files, said):
            pass
    return bundle.digest
