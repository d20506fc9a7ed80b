"""A candidate's evidence bundle as it is kept: its digest now, and what a gate asks of it.

The digest that is logged at `export` names what the candidate came with. From there the bundle
grows (its shadow report, its approvals), and every bundle after has that digest in its history.
"""

from governance.bundle.errors import BundleError
from governance.bundle.folder import open_bundle
from governance.bundle.manifest import chain_of, read_manifest
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
    home: Home, policy: Policy, model: str, candidate: str, known: Candidate, gate: Gate
) -> str | None:
    """Refuse a bundle that lacks what the policy has a gate ask for; else as `digest`.

    Raises:
        BundleError: `no_bundle`, `other_evidence`, `missing:` and the first path that is not there,
            or whatever is wrong with the folder.

    """
    found = digest(home, model, candidate, known)
    if gate not in (policy.risk_class(model).evidence or ()):
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
    check(bundle, gate)
    return bundle.digest
