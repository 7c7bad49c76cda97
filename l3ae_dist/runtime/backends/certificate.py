"""The certificate of one cluster: whoever does not show it is refused, by scheduler and workers alike."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from distributed.security import Security

_NAME = "l3ae-dist cluster"
# Clocks of nodes differ: a certificate that begins now is not valid yet where one is behind.
_EARLIER = timedelta(days=1)
_VALID = timedelta(days=365)
_own: dict[str, "Security | None"] = {}


@contextlib.contextmanager
def certificate_kept(address: str, security: "Security | None") -> Iterator[None]:
    """Keep the certificate of a cluster that this process started, for other clients in it.

    Parameters
    ----------
    address
        Of the scheduler.
    security
        With the certificate; None for a cluster that has none.
    """
    _own[address] = security
    try:
        yield
    finally:
        _own.pop(address, None)


def certificate_of(address: str) -> "Security | None":
    """Return the certificate of a cluster that this process started; None for others."""
    return _own.get(address)


def temporary_certificate() -> "Security":
    """Make a key and a certificate for one cluster; they are in no file that outlives a start.

    ``distributed.Security.temporary`` does the same with an RSA key, which takes 0.1 s to make, and with a
    certificate that a node whose clock is behind refuses.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from distributed.security import Security

    private = ec.generate_private_key(ec.SECP256R1())
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    certificate = _self_signed(private).decode()
    roles = ("client", "scheduler", "worker")
    return Security(
        require_encryption=True,
        tls_ca_file=certificate,
        **{f"tls_{role}_key": key for role in roles},
        **{f"tls_{role}_cert": certificate for role in roles},
    )


def _self_signed(private: "EllipticCurvePrivateKey") -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, _NAME)])
    begins = datetime.now(UTC) - _EARLIER
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + _VALID)
    )
    return builder.sign(private, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
