"""Predicates of others, in the part of them that we write: where a model is from, how it tested.

SLSA provenance v1 (https://slsa.dev/spec/v1.0/provenance) and in-toto's test result v0.1
(https://github.com/in-toto/attestation). Names, and times as text, are those specifications'.
"""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from governance.predicates import Predicate
from governance.shape import Between, Pattern
from governance.vocabulary import Sha256Hex

Uri: TypeAlias = Annotated[str, Pattern("[A-Za-z][A-Za-z0-9+.-]*:[!-~]{1,1000}")]
Moment: TypeAlias = Annotated[
    str, Pattern("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
]
Name: TypeAlias = Annotated[str, Between(1, 500)]


@dataclass(frozen=True)
class DigestSet:
    """Digests of one thing; of all algorithms SHA-256."""

    sha256: Sha256Hex


@dataclass(frozen=True)
class Resource:
    """Something that was used: a data set, a base model, code, a lock file."""

    name: Name
    digest: DigestSet
    uri: Uri | None = None
    annotations: dict[str, str] | None = None


@dataclass(frozen=True)
class BuildDefinition:
    """What was asked for, and what it was made from."""

    build_type: Uri
    external_parameters: dict[str, Any]
    resolved_dependencies: Annotated[tuple[Resource, ...], Between(1, 1024)]
    internal_parameters: dict[str, Any] | None = None


@dataclass(frozen=True)
class Builder:
    """What ran the training."""

    id: Uri


@dataclass(frozen=True)
class BuildMetadata:
    """Which run it was."""

    invocation_id: Name
    started_on: Moment | None = None
    finished_on: Moment | None = None


@dataclass(frozen=True)
class RunDetails:
    """How the run went."""

    builder: Builder
    metadata: BuildMetadata
    byproducts: tuple[Resource, ...] | None = None


@dataclass(frozen=True)
class Provenance(Predicate):
    """Where a model is from: SLSA provenance v1."""

    TYPE: ClassVar[str] = "https://slsa.dev/provenance/v1"
    build_definition: BuildDefinition
    run_details: RunDetails

    @property
    def datasets(self) -> list[str]:
        """Digests of all that the model was made from."""
        used = self.build_definition.resolved_dependencies
        return [f"sha256:{resource.digest.sha256}" for resource in used]


@dataclass(frozen=True)
class Evaluation(Predicate):
    """How a model did on what it was tested with: in-toto's test result v0.1.

    `configuration` names the data sets, the locked thresholds and the full table of figures.
    """

    TYPE: ClassVar[str] = "https://in-toto.io/attestation/test-result/v0.1"
    result: Literal["PASSED", "WARNED", "FAILED"]
    configuration: Annotated[tuple[Resource, ...], Between(1, 256)]
    passed_tests: tuple[Name, ...] | None = None
    warned_tests: tuple[Name, ...] | None = None
    failed_tests: tuple[Name, ...] | None = None
    url: Uri | None = None
