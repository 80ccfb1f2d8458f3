"""Settings from the environment, and that every one is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paddock_gateway import reference
from paddock_gateway.fleet.snapshot import PoolId
from paddock_gateway.settings import Address, SettingError, describe_settings, read_settings


def test_nothing_set() -> None:
    settings = read_settings({"PADDOCK_HOLD_SECONDS": "", "PADDOCK_GATEWAY_SERVICE_HOST": "10.0.0.1"})
    assert settings.hold == 300
    assert settings.listen == Address("0.0.0.0", 8080)
    assert not settings.allow_anonymous


def test_values() -> None:
    settings = read_settings({
        "PADDOCK_LISTEN": "[::1]:0", "PADDOCK_HOLD_SECONDS": "0", "PADDOCK_ALLOW_ANONYMOUS": "True",
        "PADDOCK_DEFAULT_POOL": "a/b", "PADDOCK_KEYS_DIR": "/keys", "PADDOCK_QUEUE_PER_MODEL": "7"})
    assert settings.listen == Address("::1", 0)
    assert (settings.hold, settings.allow_anonymous, settings.default_pool) == (0.0, True, PoolId("a", "b"))
    assert (settings.keys_dir, settings.queue_per_model) == (Path("/keys"), 7)


@pytest.mark.parametrize(("variable", "value"), [
    ("PADDOCK_LISTEN", "8080"), ("PADDOCK_LISTEN", "a:99999"), ("PADDOCK_HOLD_SECONDS", "-1"),
    ("PADDOCK_HOLD_SECONDS", "nan"), ("PADDOCK_HOLD_SECONDS", "5m"), ("PADDOCK_ALLOW_ANONYMOUS", "maybe"),
    ("PADDOCK_QUEUE_PER_MODEL", "0"), ("PADDOCK_DEFAULT_POOL", "default"), ("PADDOCK_LOG_LEVEL", "loud"),
])
def test_a_bad_value_is_named(variable: str, value: str) -> None:
    with pytest.raises(SettingError, match=variable):
        read_settings({variable: value})


def test_every_setting_says_what_it_is_for() -> None:
    settings = describe_settings()
    assert len({each.variable for each in settings}) == len(settings)
    for each in settings:
        assert re.fullmatch(r"PADDOCK_[A-Z_]+", each.variable)
        assert each.text.endswith(".")


def test_the_documentation_is_as_the_code_is() -> None:
    path = Path(__file__).resolve().parents[3] / "docs" / "gateway.md"
    text = path.read_text()
    assert all(f"<!-- {name}: generated -->" in text for name in ("settings", "errors", "metrics"))
    assert reference.write(text) == text, "run: python -m paddock_gateway.reference docs/gateway.md"
