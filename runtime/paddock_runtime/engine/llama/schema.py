"""JSON schema to GBNF, bounded: what a schema can multiply is counted while it grows.

Follows llama.cpp's converter (required properties first, no undeclared ones unless `additionalProperties` says so).
Not enforced: uniqueItems, multipleOf, minimum and maximum, unknown formats. Refused: what a grammar can't express.
"""

from __future__ import annotations

import json
import re
from typing import Any

from paddock_runtime.engine.llama.gbnf import MAX_BYTES, MAX_DEPTH, MAX_REPETITIONS, GrammarRefused
from paddock_runtime.engine.llama.pattern import literal, pattern_to_gbnf
from paddock_runtime.engine.llama.primitives import PRIMITIVES, needs

MAX_STEPS = 10_000  # schemas visited, each time they are
MAX_VALUES = 2_000  # of one enum

_FORMATS = {"uuid", "date", "time", "date-time"}
_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}
_IMPLIED = {"properties": "object", "required": "object", "additionalProperties": "object",
            "items": "array", "prefixItems": "array", "minItems": "array", "maxItems": "array",
            "pattern": "string", "minLength": "string", "maxLength": "string"}
_REFUSED = ("not", "if", "then", "else", "patternProperties", "propertyNames", "contains", "dependentSchemas",
            "dependentRequired", "dependencies", "$dynamicRef", "$recursiveRef", "unevaluatedProperties",
            "minProperties", "maxProperties")

Schema = dict[str, Any]


def load_schema(document: str) -> Any:
    """The document, shallow and small enough to walk. Raises GrammarRefused."""
    if len(document.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise GrammarRefused(f"The JSON schema is over the limit of {MAX_BYTES:,} bytes.")
    try:
        schema = json.loads(document)
    except RecursionError:
        raise GrammarRefused(f"The JSON schema is nested deeper than {MAX_DEPTH}.") from None
    except ValueError as error:
        raise GrammarRefused(f"The JSON schema is not JSON: {error}") from None
    todo = [(schema, 0)]
    while todo:
        node, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise GrammarRefused(f"The JSON schema is nested deeper than {MAX_DEPTH}.")
        if isinstance(node, (dict, list)):
            todo += [(child, depth + 1) for child in (node.values() if isinstance(node, dict) else node)]
    return schema


class Converter:
    def __init__(self, root: Any) -> None:
        self._root = root
        self._rules: dict[str, str] = {}
        self._refs: dict[str, str] = {}
        self._referenced: list[tuple[str, Any]] = []
        self._next: dict[str, int] = {}
        self._steps = 0
        self._bytes = 0

    def convert(self) -> str:
        """The whole grammar. Raises GrammarRefused."""
        try:
            top = self._visit(self._root, "root", 0)
            while self._referenced:
                name, target = self._referenced.pop()
                self._define(name, self._visit(target, name, 0))
        except RecursionError:
            raise GrammarRefused(f"The JSON schema is nested deeper than {MAX_DEPTH}.") from None
        return "\n".join([f"root ::= {top}", *(f"{name} ::= {body}" for name, body in self._rules.items())]) + "\n"

    # --- rules -------------------------------------------------------------------------------

    def _name(self, wanted: str) -> str:
        """A free rule name like `wanted`; never one of a primitive (they hold no digit at the end)."""
        base = re.sub(r"[^a-zA-Z0-9]+", "-", wanted)[:48].strip("-") or "rule"
        self._next[base] = self._next.get(base, 0) + 1
        return f"{base}-{self._next[base]}"

    def _define(self, name: str, body: str) -> str:
        self._bytes += len(name) + len(body) + 6
        if self._bytes > MAX_BYTES:
            raise GrammarRefused(f"The JSON schema becomes a grammar over the limit of {MAX_BYTES:,} bytes: "
                                 "use fewer properties, values or branches.")
        self._rules[name] = body
        return name

    def _charge(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise GrammarRefused("The JSON schema's references and branches unfold too far: make it smaller.")

    def _primitive(self, name: str) -> str:
        if name not in self._rules:
            self._define(name, PRIMITIVES[name])
            for word in needs(name):
                self._primitive(word)
        return name

    # --- schemas -----------------------------------------------------------------------------

    def _visit(self, schema: Any, name: str, depth: int) -> str:
        self._charge(1 if depth <= MAX_DEPTH else MAX_STEPS + 1)
        if schema is True:
            return self._primitive("value")
        if not isinstance(schema, dict):
            raise GrammarRefused(f"In the JSON schema, {name} must be an object or true.")
        for keyword in _REFUSED:
            if keyword in schema and schema[keyword] not in (None, {}, [], False):
                raise GrammarRefused(f"The JSON schema's keyword {keyword!r} (in {name}) is not supported.")
        if "$ref" in schema:
            return self._reference(schema["$ref"])
        if "const" in schema:
            return self._values([schema["const"]], name)
        if "enum" in schema:
            return self._values(_get(schema, "enum", list, name), name)
        if "allOf" in schema:
            return self._visit(self._merged(schema, name), name, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                return self._either(schema, keyword, name, depth)
        return self._by_type(schema, name, depth)

    def _by_type(self, schema: Schema, name: str, depth: int) -> str:
        kind = schema.get("type") or next((_IMPLIED[key] for key in schema if key in _IMPLIED), None)
        if isinstance(kind, list):
            ways = [self._visit({**schema, "type": each}, f"{name}-{index}", depth + 1)
                    for index, each in enumerate(kind)]
            return self._define(self._name(name), " | ".join(ways) or _nothing(name))
        if kind is None:
            return self._primitive("value")
        if not isinstance(kind, str) or kind not in _TYPES:
            raise GrammarRefused(f"The JSON schema's type {str(kind)[:40]!r} (in {name}) is unknown.")
        if kind == "object":
            return self._object(schema, name, depth)
        if kind == "array":
            return self._array(schema, name, depth)
        return self._string(schema, name) if kind == "string" else self._primitive(kind)

    def _either(self, schema: Schema, keyword: str, name: str, depth: int) -> str:
        branches = [self._branch(schema, branch, name) for branch in _get(schema, keyword, list, name)]
        ways = [self._visit(branch, f"{name}-{index}", depth + 1) for index, branch in enumerate(branches)]
        return self._define(self._name(name), " | ".join(dict.fromkeys(ways)) or _nothing(name))

    def _branch(self, schema: Schema, branch: Any, name: str) -> Any:
        """A branch with what the schema says beside its branches."""
        base = {key: value for key, value in schema.items() if key in _IMPLIED}
        kind = {"type": schema["type"]} if "type" in schema else {}
        if base:
            return self._merged({"allOf": [kind, base, branch]}, name)
        if kind and isinstance(branch, dict) and not branch.keys() & {"type", "$ref", "allOf", "anyOf", "oneOf"}:
            return {**kind, **branch}
        return branch  # a reference stays one: it may be recursive

    def _merged(self, schema: Schema, name: str) -> Schema:
        """One schema of all that must hold. Of two of the same keyword the later wins, but properties add up."""
        merged: Schema = {}
        properties: Schema = {}
        required: dict[str, None] = {}
        todo: list[Any] = [*reversed(_get(schema, "allOf", list, name)),
                           {key: value for key, value in schema.items() if key != "allOf"}]
        while todo:
            part = todo.pop()
            self._charge(1)
            if part is True:
                continue
            if not isinstance(part, dict):
                raise GrammarRefused(f"In the JSON schema, allOf of {name} must hold objects.")
            if "$ref" in part:
                todo.append(self._resolve(part["$ref"]))
                continue
            todo += reversed(_get(part, "allOf", list, name))
            properties.update(_get(part, "properties", dict, name))
            required.update(dict.fromkeys(map(str, _get(part, "required", list, name))))
            self._charge(len(part.get("properties") or ()) + len(part.get("required") or ()))
            merged.update({key: value for key, value in part.items() if key != "allOf"})
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = list(required)
        return merged

    def _resolve(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise GrammarRefused(f"The JSON schema's $ref {str(reference)[:80]!r} does not point into the schema "
                                 "itself (#/…): put what it names under $defs. Nothing is fetched.")
        node = self._root
        for step in reference.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and step.isdecimal() and len(step) < 9 and int(step) < len(node):
                node = node[int(step)]
            elif isinstance(node, dict) and step in node:
                node = node[step]
            else:
                raise GrammarRefused(f"The JSON schema's $ref {reference[:80]!r} points nowhere.")
        return node

    def _reference(self, reference: Any) -> str:
        target = self._resolve(reference)
        if reference not in self._refs:
            self._refs[reference] = name = self._name(reference.split("/")[-1])
            self._referenced.append((name, target))  # later: chains of references must not nest, circles must end
        return self._refs[reference]

    def _values(self, values: list[Any], name: str) -> str:
        if not values or len(values) > MAX_VALUES:
            raise GrammarRefused(f"An enum of the JSON schema ({name}) must hold 1 to {MAX_VALUES:,} values.")
        texts = list(dict.fromkeys(json.dumps(value, ensure_ascii=False) for value in values))
        return self._define(self._name(name), f"({_one_of(texts)}) {self._primitive('space')}")

    def _string(self, schema: Schema, name: str) -> str:
        if "pattern" in schema:
            body = pattern_to_gbnf(_get(schema, "pattern", str, name))
        elif schema.get("format") in _FORMATS:
            return self._primitive(str(schema["format"]))
        elif "minLength" in schema or "maxLength" in schema:
            low, high = _bounds(schema, "minLength", "maxLength", name)
            body = f"{self._primitive('char')}{{{low},{'' if high is None else high}}}"
        else:
            return self._primitive("string")
        return self._define(self._name(name), rf'"\"" {body} "\"" {self._primitive("space")}')

    def _array(self, schema: Schema, name: str, depth: int) -> str:
        self._primitive("space")
        low, high = _bounds(schema, "minItems", "maxItems", name)
        items, prefix = schema.get("items", True), schema.get("prefixItems", [])
        if isinstance(items, list):
            items, prefix = schema.get("additionalItems", False), items
        elif prefix and "items" not in schema:
            items = False
        heads = [self._visit(part, f"{name}-{index}", depth + 1)
                 for index, part in enumerate(_get({"prefixItems": prefix}, "prefixItems", list, name))]
        low, high = max(0, low - len(heads)), None if high is None else max(0, high - len(heads))
        if items is False:
            body = ' "," space '.join(heads)
        else:
            item = self._visit(items, f"{name}-item", depth + 1)
            body = _listed(heads, item, low, high)
        return self._define(self._name(name), f'"[" space {body} "]" space')

    def _object(self, schema: Schema, name: str, depth: int) -> str:
        self._primitive("space")
        properties = dict(_get(schema, "properties", dict, name))
        required = {str(key) for key in _get(schema, "required", list, name)}
        extra = schema.get("additionalProperties", not properties)
        for key in sorted(required - properties.keys()):
            properties[key] = extra if isinstance(extra, dict) else True
        pairs = {key: self._pair(key, value, f"{name}-{key}", depth) for key, value in properties.items()}
        first = [pair for key, pair in pairs.items() if key in required]
        rest = [f'("," space {pair})?' for key, pair in pairs.items() if key not in required]
        starts = [pair for key, pair in pairs.items() if key not in required]
        if extra is not False and extra is not None:
            value = self._visit(extra, f"{name}-additional", depth + 1)
            pair = self._define(self._name(f"{name}-kv"), f'{self._primitive("string")} ":" space {value}')
            starts.append(pair)
            rest.append(f'("," space {pair})*')
        if first or not starts:
            body = " ".join([' "," space '.join(first), *rest])
        else:
            body = self._optional(starts, rest, name)
        return self._define(self._name(name), f'"{{" space {body} "}}" space')

    def _optional(self, starts: list[str], rest: list[str], name: str) -> str:
        """Any of `starts` first, then those after it: without a comma before the first."""
        following, ways = "", []
        for index in reversed(range(len(starts))):
            again = f" {rest[index]}" if rest[index].endswith("*") else ""
            ways.append(f"{starts[index]}{again}{following and ' ' + following}")
            if index:
                body = f"{rest[index]}{following and ' ' + following}"
                following = self._define(self._name(f"{name}-rest"), body)
        return f"({' | '.join(reversed(ways))})?"

    def _pair(self, key: str, schema: Any, name: str, depth: int) -> str:
        value = self._visit(schema, name, depth + 1)
        written = literal(json.dumps(key, ensure_ascii=False))
        return self._define(self._name(f"{name}-kv"), f'{written} space ":" space {value}')


def _listed(heads: list[str], item: str, low: int, high: int | None) -> str:
    """`heads`, then `low` to `high` items, with commas."""
    if heads:
        return ' "," space '.join(heads) + f' ("," space {item}){{{low},{"" if high is None else high}}}'
    if high == 0:
        return '""'
    upto = "" if high is None else high - 1
    body = f'{item} ("," space {item}){{{max(0, low - 1)},{upto}}}'
    return body if low else f"({body})?"


def _one_of(texts: list[str], depth: int = 0) -> str:
    """Alternatives; many become a tree of their first characters, since each way to go on costs at every token."""
    if len(texts) <= 32 or depth == 16:
        return " | ".join(literal(text) for text in texts)
    first, last = min(texts), max(texts)
    shared = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    groups: dict[str, list[str]] = {}
    for text in texts:
        groups.setdefault(text[shared : shared + 1], []).append(text[shared + 1 :])
    ways = " | ".join(f"{literal(head)} ({_one_of(tails, depth + 1)})" for head, tails in groups.items())
    return f"{literal(texts[0][:shared])} ({ways})"


def _get(schema: Schema, key: str, kind: type[Any], name: str) -> Any:
    value = schema.get(key)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise GrammarRefused(f"In the JSON schema, {key} of {name} has the wrong type.")
    return value


def _bounds(schema: Schema, low_key: str, high_key: str, name: str) -> tuple[int, int | None]:
    low, high = schema.get(low_key) or 0, schema.get(high_key)
    for key, value in ((low_key, low), (high_key, high)):
        if value is not None and (type(value) is not int or not 0 <= value <= MAX_REPETITIONS):
            raise GrammarRefused(f"In the JSON schema, {key} of {name} must be 0 to {MAX_REPETITIONS:,}: "
                                 "a larger one can't be enforced; leave it out.")
    if high is not None and high < low:
        raise GrammarRefused(f"In the JSON schema, {high_key} of {name} is below {low_key}.")
    return low, high


def _nothing(name: str) -> str:
    raise GrammarRefused(f"In the JSON schema, {name} allows nothing.")
