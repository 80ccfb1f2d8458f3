from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from paddock_operator.store import Key, Store


def thing(name: str, version: int, uid: str = "u1", **labels: str) -> dict[str, Any]:
    return {"metadata": {"namespace": "n", "name": name, "uid": uid, "resourceVersion": str(version),
                         "labels": labels}}


def store() -> tuple[Store, list[tuple[str, int | None, int | None, bool]]]:
    found = Store({"color": lambda each: [value for key, value in each["metadata"]["labels"].items()
                                          if key == "color"]})
    heard: list[tuple[str, int | None, int | None, bool]] = []
    found.listen(lambda key, before, after, own: heard.append((key.name, _version(before), _version(after), own)))
    return found, heard


def _version(each: dict[str, Any] | None) -> int | None:
    return None if each is None else int(each["metadata"]["resourceVersion"])


def test_older_news_never_replaces_newer() -> None:
    things, heard = store()
    assert things.learn(thing("a", 5), own=True)
    assert not things.learn(thing("a", 5))  # the watch tells of the own write
    assert not things.learn(thing("a", 4))
    assert things.learn(thing("a", 12))
    assert heard == [("a", None, 5, True), ("a", 5, 12, False)]


def test_a_deletion_counts_for_the_object_that_was_meant() -> None:
    things, heard = store()
    things.learn(thing("a", 5, uid="old"))
    things.learn(thing("a", 9, uid="new"))
    assert not things.gone(thing("a", 8, uid="old"))
    assert things.get(Key("n", "a")) is not None
    assert things.gone(thing("a", 11, uid="new"))
    assert not things.learn(thing("a", 9, uid="new"))  # the answer to a write comes after the deletion was seen
    assert things.get(Key("n", "a")) is None
    assert things.learn(thing("a", 12, uid="third"))
    assert [each[2] for each in heard] == [5, 9, None, 12]


def test_a_list_tells_what_was_deleted_unseen_and_nothing_else() -> None:
    things, heard = store()
    for name, version in (("gone", 3), ("kept", 4), ("newer", 30)):
        things.learn(thing(name, version))
    heard.clear()
    assert things.replace([thing("kept", 4), thing("fresh", 15)], "20") == 1
    assert things.keys() == [Key("n", "fresh"), Key("n", "kept"), Key("n", "newer")]
    assert sorted(heard) == [("fresh", None, 15, False), ("gone", 3, None, False)]
    assert things.synced


def test_indexes_follow() -> None:
    things, _ = store()
    things.learn(thing("a", 1, color="red"))
    things.learn(thing("b", 2, color="red"))
    assert [each["metadata"]["name"] for each in things.by("color", "red")] == ["a", "b"]
    things.learn(thing("a", 3, color="blue"))
    assert [each["metadata"]["name"] for each in things.by("color", "red")] == ["b"]
    things.gone(thing("b", 4))
    assert things.by("color", "red") == []
    assert [each["metadata"]["name"] for each in things.by("color", "blue")] == ["a"]


_EVENTS = st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30)


@given(_EVENTS, st.randoms(use_true_random=False))
def test_whatever_the_order_the_newest_news_of_each_object_stays(events: list[tuple[str, bool]], random: Any) -> None:
    """A watch, lists and answers to writes reach the store in any order and more than once."""
    news, lives = [], Counter[str]()
    for version, (name, alive) in enumerate(events, start=1):
        news.append((thing(name, version, uid=f"{name}{lives[name]}"), alive))
        lives[name] += not alive
    told = news + random.sample(news, len(news) // 2)
    random.shuffle(told)
    things, _ = store()
    for each, alive in told:
        if alive:
            things.learn(each)
        else:
            things.gone(each)
    last = dict(events)
    newest = {name: version for version, (name, _) in enumerate(events, start=1)}
    for name, alive in last.items():
        found = things.get(Key("n", name))
        if alive:
            assert found is not None
            assert _version(found) == newest[name]
        else:
            assert found is None
