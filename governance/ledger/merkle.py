"""Merkle trees as in RFC 6962: hashes, roots, proofs and their verification. No input or output.

A tree's complete subtrees are named (level, index): level 0 are the leaves, and node (l, i) covers
the leaves from i * 2**l on, 2**l of them. Whoever keeps these nodes can append and prove in
O(log n).
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from governance.ledger.errors import ProofError

Hash = bytes
Node = tuple[int, int, Hash]
ReadNode = Callable[[int, int], Hash]

EMPTY_ROOT: Hash = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> Hash:
    """Hash of one leaf: SHA-256(0x00 || data). RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: Hash, right: Hash) -> Hash:
    """Hash of an inner node: SHA-256(0x01 || left || right). RFC 6962 section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def added_nodes(index: int, leaf: Hash, read: ReadNode) -> Iterator[Node]:
    """Nodes that become complete when leaf number `index` is appended, the leaf itself first."""
    level, value = 0, leaf
    yield level, index, value
    while index & 1:
        value = node_hash(read(level, index - 1), value)
        level, index = level + 1, index >> 1
        yield level, index, value


def tree_root(size: int, read: ReadNode) -> Hash:
    """Root of the first `size` leaves, from O(log n) complete nodes."""
    return EMPTY_ROOT if size == 0 else _subtree(0, size, read)


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (RFC 6962's k)."""
    return 1 << ((size - 1).bit_length() - 1)


def _subtree(start: int, size: int, read: ReadNode) -> Hash:
    """Root of `size` leaves from `start` on, which is a multiple of the split above it."""
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return read(level, start >> level)
    left = _split(size)
    return node_hash(_subtree(start, left, read), _subtree(start + left, size - left, read))


def inclusion_proof(index: int, size: int, read: ReadNode) -> list[Hash]:
    """Audit path of leaf `index` in the tree of `size` leaves. RFC 6962 section 2.1.1.

    Raises:
        ProofError: there is no such leaf.

    """
    if not 0 <= index < size:
        raise ProofError("no_such_leaf", f"leaf {index} is not in a tree of {size} leaves")
    path: list[Hash] = []
    start = 0
    while size > 1:
        left = _split(size)
        if index < left:
            path.append(_subtree(start + left, size - left, read))
            size = left
        else:
            path.append(_subtree(start, left, read))
            start, index, size = start + left, index - left, size - left
    return path[::-1]


def consistency_proof(old: int, new: int, read: ReadNode) -> list[Hash]:
    """Proof that the tree of `new` leaves begins with that of `old`. RFC 6962 section 2.1.2.

    Raises:
        ProofError: `old` is greater than `new`, or negative.

    """
    if not 0 <= old <= new:
        raise ProofError("no_such_tree", f"a tree of {new} leaves does not begin with {old} leaves")
    if old in (0, new):
        return []
    path: list[Hash] = []
    start, whole = 0, True
    while old != new:
        left = _split(new)
        if old <= left:
            path.append(_subtree(start + left, new - left, read))
            new = left
        else:
            path.append(_subtree(start, left, read))
            start, old, new = start + left, old - left, new - left
            whole = False
    if not whole:
        path.append(_subtree(start, new, read))
    return path[::-1]


def root_from_inclusion(leaf: Hash, index: int, size: int, proof: Sequence[Hash]) -> Hash:
    """Root that an audit path leads to. RFC 9162 section 2.1.3.2.

    Raises:
        ProofError: the path has not the length that index and size ask for.

    """
    if not 0 <= index < size:
        raise ProofError("no_such_leaf", f"leaf {index} is not in a tree of {size} leaves")
    first, last, value = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ProofError("proof_too_long", f"the proof has more than {len(proof) - 1} steps")
        if first & 1 or first == last:
            value = node_hash(sibling, value)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            value = node_hash(value, sibling)
        first, last = first >> 1, last >> 1
    if last != 0:
        raise ProofError("proof_too_short", f"the proof ends after {len(proof)} steps")
    return value


def verify_inclusion(leaf: Hash, index: int, size: int, proof: Sequence[Hash], root: Hash) -> None:
    """Check that the leaf is number `index` of the tree with this root.

    Raises:
        ProofError: it is not, or the proof has the wrong length.

    """
    if root_from_inclusion(leaf, index, size, proof) != root:
        raise ProofError("not_included", f"leaf {index} is not part of the tree with this root")


def verify_consistency(
    old: int, new: int, old_root: Hash, new_root: Hash, proof: Sequence[Hash]
) -> None:
    """Check that the tree of `new` leaves begins with that of `old`. RFC 9162 section 2.1.4.2.

    Raises:
        ProofError: it does not; the history between them was rewritten, or the proof is wrong.

    """
    if not 0 <= old <= new:
        raise ProofError("no_such_tree", f"a tree of {new} leaves does not begin with {old} leaves")
    if old in (0, new):
        same = old_root == (new_root if old == new else EMPTY_ROOT)
        if proof or not same:
            raise ProofError("inconsistent", f"two different histories of {old} leaves")
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofError("proof_too_short", "the proof is empty")
    if _both_roots(old - 1, new - 1, path) != (old_root, new_root):
        raise ProofError(
            "inconsistent", f"the tree of {new} leaves does not begin with that of {old}"
        )


def _both_roots(first: int, last: int, path: Sequence[Hash]) -> tuple[Hash, Hash]:
    """Roots of the old and of the new tree that a consistency path leads to."""
    while first & 1:
        first, last = first >> 1, last >> 1
    old_value = new_value = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("proof_too_long", "the proof goes on after the root")
        if first & 1 or first == last:
            old_value = node_hash(sibling, old_value)
            new_value = node_hash(sibling, new_value)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            new_value = node_hash(new_value, sibling)
        first, last = first >> 1, last >> 1
    if last != 0:
        raise ProofError("proof_too_short", f"the proof ends after {len(path)} steps")
    return old_value, new_value
