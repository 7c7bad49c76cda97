"""The certificate of a cluster of the tests for the processes that a test starts."""

import contextlib

import pytest


@contextlib.contextmanager
def certificate_in_environment(session):
    """Let processes that are started in the ``with`` block connect to the scheduler of a session."""
    security, prefix = session.client.security, "DASK_DISTRIBUTED__COMM__TLS__"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"{prefix}CA_FILE", security.tls_ca_file)
        for role in ("CLIENT", "SCHEDULER", "WORKER"):
            patch.setenv(f"{prefix}{role}__KEY", security.tls_client_key)
            patch.setenv(f"{prefix}{role}__CERT", security.tls_client_cert)
        yield
