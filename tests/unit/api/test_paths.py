from __future__ import annotations

import posixpath
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from paddock_api.paths import safe_relative


@pytest.mark.parametrize("name", [
    "", ".", "..", "../x", "a/../b", "a/..", "./a", "a/./b", "/etc/passwd", "//a", "a//b", "a/", "a\\b", "..\\x",
    "C:/x", "c:x", "a\0b", "a\nb", "a\x1b[0m", "a\x7f", "a\x85b", "a\u2028b", "%2e%2e/x", "a/%2E%2e", "a%2fb", "a%5cb",
    "%00", "%252e", "a" * 256, "a/" * 600 + "a", "\ud800"])
def test_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"path|absolute|part|holds|Unicode"):
        safe_relative(name)


@pytest.mark.parametrize("name", [
    "gemma.gguf", "Q4_K_M/model-00001-of-00002.gguf", "a..b", "...", ".hidden", "ä/模型.gguf", "100%/x", "a b", "xy:z",
    "a" * 255])
def test_allowed_as_it_is(name: str) -> None:
    assert safe_relative(name) == PurePosixPath(name)


_TRICKY = st.lists(st.sampled_from(["/", ".", "..", "\\", "%2e", "%2F", "%", "2", "e", "a", "C:", "\0", "\n", "é"]),
                   max_size=12) | st.text(max_size=40)


@given(_TRICKY.map("".join))
@example("a/%2e./b")
def test_whatever_is_accepted_stays_below_its_root(name: str) -> None:
    try:
        path = safe_relative(name)
    except ValueError:
        return
    for text in (str(path), unquote(str(path))):
        joined = posixpath.normpath(posixpath.join("/srv/store", text))
        assert joined.startswith("/srv/store/")
        assert "\0" not in text
    assert str(path) == name
