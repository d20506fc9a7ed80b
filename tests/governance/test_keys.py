"""Keys, their files, and which bytes are keys at all."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from governance import curve, keys
from governance.errors import KeyUseError
from governance.keys import verifies
from governance.signer import FileSigner
from tests.governance.signing import signer

PASSPHRASE = b"correct horse battery"
PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8


def reason(path: Path, passphrase: bytes = PASSPHRASE) -> str:
    with pytest.raises(KeyUseError) as refused:
        FileSigner.open(path, passphrase)
    return refused.value.reason


def test_a_new_key_signs_and_its_public_file_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "alice.pem"
    public = keys.create(path, PASSPHRASE)
    opened = FileSigner.open(path, PASSPHRASE)
    assert opened.public_key == public == keys.read_public(tmp_path / "alice.pem.pub")
    assert verifies(public, opened.sign(b"message"), b"message")
    assert not verifies(public, opened.sign(b"message"), b"another")


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    keys.create(tmp_path / "alice.pem", PASSPHRASE)
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600, 0o600]


@pytest.mark.parametrize("name", ["alice.pem", "alice.pem.pub"])
def test_nothing_is_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(KeyUseError) as refused:
        keys.create(tmp_path / "alice.pem", PASSPHRASE)
    assert refused.value.reason == "file_exists"
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "mine")]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "alice.pem").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyUseError):
        keys.create(tmp_path / "alice.pem", PASSPHRASE)
    assert not (tmp_path / "elsewhere").exists()


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyUseError) as refused:
        keys.create(tmp_path / "alice.pem", b"short")
    assert refused.value.reason == "short_passphrase"
    assert not list(tmp_path.iterdir())


def test_key_files_that_cannot_be_used_are_refused_each_for_its_own_reason(
    tmp_path: Path,
) -> None:
    path = tmp_path / "alice.pem"
    assert reason(path) == "not_readable"
    keys.create(path, PASSPHRASE)
    assert reason(path, b"something else") == "wrong_passphrase"
    path.chmod(0o640)
    assert reason(path) == "open_to_others"
    lock = serialization.BestAvailableEncryption(PASSPHRASE)
    for name, data in (
        (
            "not_encrypted",
            Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, serialization.NoEncryption()),
        ),
        ("not_ed25519", ec.generate_private_key(ec.SECP256R1()).private_bytes(PEM, PKCS8, lock)),
    ):
        keys.write_new(tmp_path / name, data)
        assert reason(tmp_path / name) == name


def test_a_public_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pub").write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    with pytest.raises(KeyUseError) as refused:
        keys.read_public(tmp_path / "x.pub")
    assert refused.value.reason == "not_ed25519"


# The points of order 1, 2, 4, 4, 8, 8, 8 and 8.
SMALL = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
]


@pytest.mark.parametrize("public", SMALL)
def test_points_of_small_order_are_no_keys(public: str) -> None:
    assert not curve.is_sound(bytes.fromhex(public))
    with pytest.raises(KeyUseError):
        keys.check_public(bytes.fromhex(public))


def test_the_library_lets_anybody_sign_for_the_neutral_point() -> None:
    # Why the check above exists: nobody made this signature.
    forged = bytes.fromhex(SMALL[0]) + bytes(32)
    assert verifies(bytes.fromhex(SMALL[0]), forged, b"anything")


@pytest.mark.parametrize(
    "public",
    [b"", bytes(31), b"\x01" * 33, b"\xff" * 32, (curve.P + 3).to_bytes(32, "little")],
)
def test_bytes_that_encode_no_point_in_its_one_spelling_are_no_keys(public: bytes) -> None:
    assert not curve.is_sound(public)


def test_half_of_all_numbers_are_no_points() -> None:
    sound = sum(curve.is_sound(y.to_bytes(32, "little")) for y in range(2, 402))
    assert 150 < sound < 250


def test_real_keys_are_sound() -> None:
    assert all(curve.is_sound(signer(f"key {n}").public_key) for n in range(100))
