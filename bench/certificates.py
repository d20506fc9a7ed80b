"""Certificates for the demo's admin door: its own authority, a server, a client for each person."""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from governance.service.client import Credentials

DAY = datetime.timedelta(days=1)
SPIFFE = "spiffe://demo.example/people/"


class Authority:
    """Issues certificates for a day into a folder; `ca.pem` there is its own."""

    def __init__(self, folder: Path) -> None:
        """Make the authority's key, which is kept in memory alone."""
        folder.mkdir(parents=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo authority")])
        own = self._begun(self._name, self._key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        self._write("ca.pem", own)

    def server(self) -> Path:
        """server.pem and server.key for this machine; the folder, as `tls` takes it."""
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        self._issue("server", [local], ExtendedKeyUsageOID.SERVER_AUTH)
        return self.folder

    def person(self, name: str) -> Credentials:
        """NAME.pem and NAME.key of a client whose SPIFFE ID ends in the name."""
        who = x509.UniformResourceIdentifier(SPIFFE + name)
        return self._issue(name, [who], ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self, name: str, names: Sequence[x509.GeneralName], usage: x509.ObjectIdentifier
    ) -> Credentials:
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            self._begun(x509.Name([]), key)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
        )
        private = self.folder / f"{name}.key"
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return Credentials(self._write(f"{name}.pem", made), private, self.folder / "ca.pem")

    def _begun(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    def _write(self, name: str, made: x509.CertificateBuilder) -> Path:
        path = self.folder / name
        signed = made.sign(self._key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        return path
