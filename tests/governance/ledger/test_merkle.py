"""Merkle trees against the vectors of Certificate Transparency and against a naive definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.ledger import merkle
from governance.ledger.errors import ProofError
from governance.ledger.merkle import Hash

# The leaves and roots of the reference implementation of RFC 6962 (merkletree tests).
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# (leaf, size) and the audit path published for it.
PATHS = [
    (
        (0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        (5, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    ((2, 3), ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
]


class Tree:
    """Complete nodes of a growing tree."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.nodes: dict[tuple[int, int], Hash] = {}
        for index, leaf in enumerate(leaves):
            for level, at, value in merkle.added_nodes(index, merkle.leaf_hash(leaf), self.read):
                self.nodes[level, at] = value

    def read(self, level: int, index: int) -> Hash:
        return self.nodes[level, index]


def naive(leaves: list[bytes]) -> Hash:
    """The definition of RFC 6962 section 2.1, word for word."""
    if not leaves:
        return merkle.EMPTY_ROOT
    if len(leaves) == 1:
        return merkle.leaf_hash(leaves[0])
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return merkle.node_hash(naive(leaves[:k]), naive(leaves[k:]))


@pytest.mark.parametrize("size", range(9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert merkle.tree_root(size, Tree(LEAVES).read).hex() == ROOTS[size]


@pytest.mark.parametrize(("place", "path"), PATHS)
def test_audit_paths_are_the_published_ones(place: tuple[int, int], path: list[str]) -> None:
    found = merkle.inclusion_proof(*place, Tree(LEAVES).read)
    assert [step.hex() for step in found] == path


@pytest.mark.parametrize("size", range(40))
def test_roots_are_those_of_the_definition(size: int) -> None:
    leaves = [bytes([i]) for i in range(size)]
    assert merkle.tree_root(size, Tree(leaves).read) == naive(leaves)


@given(st.data())
def test_every_leaf_is_shown_to_be_in_every_tree_and_no_other_is(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 200))
    index = data.draw(st.integers(0, size - 1))
    leaves = [bytes([i]) for i in range(size)]
    tree = Tree(leaves)
    root, leaf = merkle.tree_root(size, tree.read), merkle.leaf_hash(leaves[index])
    proof = merkle.inclusion_proof(index, size, tree.read)
    merkle.verify_inclusion(leaf, index, size, proof, root)
    assert len(proof) <= size.bit_length()
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index)) if size > 1 else None
    with pytest.raises(ProofError):
        merkle.verify_inclusion(merkle.leaf_hash(b"other"), index, size, proof, root)
    if other is not None:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, other, size, proof, root)
    if proof:
        bit = data.draw(st.integers(0, len(proof) - 1))
        wrong = [*proof[:bit], bytes([proof[bit][0] ^ 1]) + proof[bit][1:], *proof[bit + 1 :]]
        for bad in (wrong, proof[:-1], [*proof, proof[0]]):
            with pytest.raises(ProofError):
                merkle.verify_inclusion(leaf, index, size, bad, root)


@given(st.data())
def test_a_tree_is_shown_to_continue_its_beginning_and_no_other(data: st.DataObject) -> None:
    new = data.draw(st.integers(0, 200))
    old = data.draw(st.integers(0, new))
    leaves = [bytes([i]) for i in range(new)]
    tree = Tree(leaves)
    roots = merkle.tree_root(old, tree.read), merkle.tree_root(new, tree.read)
    proof = merkle.consistency_proof(old, new, tree.read)
    merkle.verify_consistency(old, new, *roots, proof)
    for bad in ([*proof, roots[0]], proof[:-1]):
        if bad != proof:
            with pytest.raises(ProofError):
                merkle.verify_consistency(old, new, *roots, bad)
    if old:
        changed = [*leaves]
        changed[data.draw(st.integers(0, old - 1))] = b"changed"
        with pytest.raises(ProofError) as refused:
            merkle.verify_consistency(old, new, naive(changed[:old]), roots[1], proof)
        assert refused.value.reason == "inconsistent"


@pytest.mark.parametrize(("old", "new"), [(3, 2), (-1, 2)])
def test_there_is_no_proof_that_a_tree_shrank(old: int, new: int) -> None:
    with pytest.raises(ProofError) as made:
        merkle.consistency_proof(old, new, Tree(LEAVES).read)
    with pytest.raises(ProofError) as checked:
        merkle.verify_consistency(old, new, b"", b"", [])
    assert made.value.reason == checked.value.reason == "no_such_tree"


def test_a_leaf_is_never_taken_for_an_inner_node() -> None:
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
