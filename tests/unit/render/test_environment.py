"""The Jinja environment: Hugging Face's conventions, and nothing to climb out by."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError

from paddock_runtime.render.environment import CACHED_TEMPLATES, Refusal, Templates


def render(source: str, **variables: Any) -> str:
    return Templates().get(source).render(variables)


def test_blocks_take_no_lines_of_their_own() -> None:
    assert render("a\n  {% if true %}\nb\n  {% endif %}\nc\n") == "a\nb\nc"


def test_tojson_keeps_unicode_html_and_order() -> None:
    value = {"z": "é<&'😀", "a": [1, 2.5, None, True]}
    assert render("{{ v | tojson }}", v=value) == json.dumps(value, ensure_ascii=False)
    assert render("{{ v | tojson(indent=2) }}", v=value) == json.dumps(value, ensure_ascii=False, indent=2)
    assert render("{{ v | tojson(ensure_ascii=true, sort_keys=true, separators=(',', ':')) }}", v=value) == json.dumps(
        value, sort_keys=True, separators=(",", ":"))


def test_loop_controls_and_generation_blocks() -> None:
    controls = "{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}"
    source = f"{{% for i in range(9) %}}{controls}{{% generation %}}<{{{{ i }}}}>{{% endgeneration %}}{{% endfor %}}"
    assert render(source) == "<0><2>"


def test_raise_exception_is_told_apart_from_failures() -> None:
    with pytest.raises(Refusal, match="not so"):
        render("{{ raise_exception('not so') }}")
    with pytest.raises(UndefinedError):
        render("{{ a.b.c }}")


def test_strftime_now_is_a_date() -> None:
    assert len(render("{{ strftime_now('%Y-%m-%d') }}")) == 10


ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ raise_exception.__globals__ }}",
    "{{ raise_exception.__code__ }}",
    "{{ strftime_now.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ '{0.__class__}'.format('') }}",
    "{{ '{a.__class__.__mro__}'.format_map({'a': ''}) }}",
    "{% set f = ''.format %}{{ f.__self__.__class__ }}",
    "{{ [].append(1) }}",
    "{{ {}.update({'a': 1}) }}",
    "{{ messages.clear() }}",
    "{{ lipsum(n=5) }}",
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as x %}",
    "{% extends '/etc/passwd' %}",
    "{{ range.__class__ }}",
    "{{ (messages|map(attribute='__class__')|list)[0].__mro__ }}",
]


@pytest.mark.parametrize("source", ESCAPES)
def test_nothing_leads_out_of_the_sandbox(source: str) -> None:
    try:
        text = render(source, messages=[{"role": "user"}])
    except (SecurityError, TemplateError, TypeError):
        return
    assert "class" not in text
    assert "object" not in text
    assert "root:" not in text


def test_a_template_leaves_nothing_behind_for_the_next() -> None:
    templates = Templates()
    templates.get("{% set x = 'secret' %}{% macro m() %}{{ x }}{% endmacro %}{% set bos_token = x %}").render()
    assert templates.get("{{ x }}{{ bos_token }}{{ m }}").render() == ""


def test_compiled_templates_are_kept_but_not_for_ever() -> None:
    templates = Templates()
    first = templates.get("0")
    for number in range(CACHED_TEMPLATES - 1):
        templates.get(f"x{number}")
    assert templates.get("0") is first
    for number in range(CACHED_TEMPLATES):
        templates.get(f"y{number}")
    assert templates.get("0") is not first


@given(st.text())
def test_contents_are_data_never_templates(text: str) -> None:
    assert render("<{{ content }}>", content=text) == f"<{text}>"
