"""Settings of all tests: hypothesis profiles, no network, quiet frameworks."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Nothing here may ask a hub; tokenizers warn about forks otherwise.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Tiny models: threads cost them more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_common: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=100, **_common)
settings.register_profile("ci", max_examples=200, derandomize=True, print_blob=True, **_common)
settings.register_profile("nightly", max_examples=5000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

_LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


@pytest.fixture(autouse=True)
def no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections go to this machine only, unless a test is marked `network`."""
    if request.node.get_closest_marker("network") is None:
        connect = socket.socket.connect
        connect_ex = socket.socket.connect_ex

        def check(address: Any) -> None:
            if isinstance(address, tuple) and not str(address[0]).startswith(_LOOPBACK):
                raise PermissionError(f"a test tried to reach {address!r}")

        def guarded(self: socket.socket, address: Any) -> None:
            check(address)
            return connect(self, address)

        def guarded_ex(self: socket.socket, address: Any) -> int:
            check(address)
            return connect_ex(self, address)

        monkeypatch.setattr(socket.socket, "connect", guarded)
        monkeypatch.setattr(socket.socket, "connect_ex", guarded_ex)
    yield
