"""What holds for a whole pool: from its spec into the configuration, and read again by a pod of any version."""

from __future__ import annotations

from typing import Any

import pytest

from paddock_api.pool import PoolConfig, config_hash
from paddock_api.pool_settings import PoolSettings, read_settings
from paddock_api.shards import join, split
from paddock_operator.pool.assign import Placement
from paddock_operator.pool.gather import config
from tests.unit.operator.kit import pool

NOWHERE = Placement({}, frozenset())


@pytest.mark.parametrize("settings", [
    PoolSettings(), PoolSettings(preload_percent=20), PoolSettings(share_across_namespaces=True),
    PoolSettings(preload_percent=100, share_across_namespaces=True)])
def test_they_go_through_a_configuration(settings: PoolSettings) -> None:
    written = PoolConfig(generation=1, models={}, settings=settings.document())
    assert read_settings(join(dict(enumerate(split(written, 2)))).settings) == settings


def test_a_pool_that_uses_none_of_this_keeps_its_hash() -> None:
    plain = config(pool(), [], NOWHERE)
    assert plain.settings == {}
    assert config_hash(plain) == config_hash(PoolConfig(generation=0, models={}))
    assert config_hash(config(pool(shareAcrossNamespaces=True), [], NOWHERE)) != config_hash(plain)


@pytest.mark.parametrize(("spec", "settings"), [
    ({}, PoolSettings()), ({"predictivePreload": False, "predictivePreloadPercent": 50}, PoolSettings()),
    ({"predictivePreload": True}, PoolSettings(preload_percent=20)),
    ({"predictivePreload": True, "predictivePreloadPercent": 50}, PoolSettings(preload_percent=50)),
    ({"shareAcrossNamespaces": True}, PoolSettings(share_across_namespaces=True))])
def test_the_operator_writes_what_the_pool_s_spec_says(spec: dict[str, Any], settings: PoolSettings) -> None:
    assert read_settings(config(pool(**spec), [], NOWHERE).settings) == settings


@pytest.mark.parametrize("document", [
    {"somethingNew": 1}, {"predictivePreloadPercent": "20"}, {"predictivePreloadPercent": True},
    {"predictivePreloadPercent": 101}, {"predictivePreloadPercent": -1}, {"shareAcrossNamespaces": 1}])
def test_what_is_not_understood_is_let_go_by(document: dict[str, Any]) -> None:
    assert read_settings(document) == PoolSettings()
