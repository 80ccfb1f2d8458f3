"""The pod's settings: where they come from, what is wrong with them, and that their page says the same."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from paddock_runtime.settings import SOURCES, Address, SettingError, read_settings, table

MEMORY = {"PADDOCK_MEMORY": "8Gi"}
PAGE = Path(__file__).resolve().parents[3] / "docs" / "runtime.md"


def test_defaults() -> None:
    settings = read_settings(MEMORY, [])
    assert settings.memory == 8 << 30
    assert settings.pod != ""
    assert (settings.cache, settings.disk, settings.drain) == (Path("/cache"), None, 30.0)
    assert settings.listen == Address("0.0.0.0", 8080)
    assert settings.fetch_hosts == frozenset()


def test_a_flag_wins_over_its_variable_and_an_empty_variable_is_none() -> None:
    environment = {**MEMORY, "PADDOCK_DISK": "", "PADDOCK_LISTEN": "127.0.0.1:1", "PADDOCK_POD": "p-0"}
    settings = read_settings(environment, ["--memory", "1e9", "--listen", "[::]:0", "--log-level", "DEBUG"])
    assert (settings.memory, settings.disk, settings.pod) == (10**9, None, "p-0")
    assert (settings.listen, settings.log_level) == (Address("::", 0), logging.DEBUG)


def test_another_hub_may_have_a_private_address() -> None:
    settings = read_settings({**MEMORY, "PADDOCK_HF_ENDPOINT": "http://hub.local:8081/", "PADDOCK_ALLOWED_HOSTS":
                              "Mirror, 10.0.0.1:80,[fd00::1]:443"}, [])
    assert settings.hf_endpoint == "http://hub.local:8081"
    assert settings.fetch_hosts == {"mirror", "10.0.0.1:80", "[fd00::1]:443", "hub.local:8081"}


@pytest.mark.parametrize(("name", "value", "remedy"), [
    ("PADDOCK_MEMORY", "8Gb", "8Gi"), ("PADDOCK_MEMORY", "1Mi", "64Mi"), ("PADDOCK_MEMORY", "-1", "8Gi"),
    ("PADDOCK_DISK", "0", "one byte"), ("PADDOCK_DISK", "much", "8Gi"),
    ("PADDOCK_LISTEN", "8080", "host:port"), ("PADDOCK_LISTEN", "a:65536", "host:port"),
    ("PADDOCK_DRAIN_SECONDS", "-1", "seconds from 0"), ("PADDOCK_DRAIN_SECONDS", "nan", "seconds from 0"),
    ("PADDOCK_DRAIN_SECONDS", "30s", "float"), ("PADDOCK_ALLOWED_HOSTS", "http://a", "host:port"),
    ("PADDOCK_ALLOWED_HOSTS", "a/b", "host:port"), ("PADDOCK_HF_ENDPOINT", "ftp://a", "https://"),
    ("PADDOCK_HF_ENDPOINT", "https://user:secret@a", "without user name"), ("PADDOCK_LOG_LEVEL", "loud", "debug"),
])
def test_a_bad_value_names_the_setting_and_the_remedy(name: str, value: str, remedy: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({**MEMORY, name: value}, [])
    assert str(caught.value).startswith(f"{name} is ")
    assert remedy in str(caught.value)
    assert "secret" not in str(caught.value)
    with pytest.raises(SettingError) as by_flag:
        read_settings(MEMORY, [f"{SOURCES[_field(name)].flag}={value}"])
    assert str(by_flag.value).startswith(SOURCES[_field(name)].flag)


def _field(variable: str) -> str:
    return next(name for name, source in SOURCES.items() if source.variable == variable)


def test_memory_is_required() -> None:
    with pytest.raises(SettingError, match="PADDOCK_MEMORY is not set"):
        read_settings({}, [])


def test_the_page_shows_these_settings() -> None:
    assert table() in PAGE.read_text(), "write the table anew: python -m paddock_runtime.settings"
