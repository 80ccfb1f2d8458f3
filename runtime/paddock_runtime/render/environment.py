"""The Jinja environment of chat templates, as Hugging Face's tokenizers define it."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.exceptions import TemplateError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

CACHED_TEMPLATES = 32


class Refusal(TemplateError):
    """The template itself says no, by `raise_exception`."""


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}` marks what training learns from; when rendering it is only its body."""

    tags = {"generation"}  # noqa: RUF012 (jinja2 declares it as an instance's)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None,
           separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:
    """Not jinja2's own, which escapes HTML and sorts keys."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def raise_exception(message: object) -> NoReturn:
    raise Refusal(str(message)[:1000])


def strftime_now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def make_environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, LoopControlExtension])
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = strftime_now
    del environment.globals["lipsum"]
    return environment


class Templates:
    """Compiled templates, the most recently used ones kept."""

    def __init__(self) -> None:
        self._environment = make_environment()
        self._compiled: OrderedDict[str, Template] = OrderedDict()

    def get(self, source: str) -> Template:
        template = self._compiled.get(source)
        if template is None:
            template = self._compiled[source] = self._environment.from_string(source)
        self._compiled.move_to_end(source)
        while len(self._compiled) > CACHED_TEMPLATES:
            self._compiled.popitem(last=False)
        return template
