#!/usr/bin/env python3
"""Print the C++ functions of all operators from their signatures in src/sorus/ops/*.cpp: sorus/ops.h declares them,
ops.cpp beside it defines them (inline, they were compiled again in every file that calls one).

An entry's signature is the first string literal of `op("...")`. The functions are what gradient rules, composites, layers
and users call: `sorus::gelu(x, "tanh")`. They only look the operator up and go through call().

    print_ops_header.py HEADER SOURCE_FILE SOURCE...
"""

import re
import sys
from pathlib import Path

ENTRY = re.compile(r'\bop\(\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)')
LITERAL = re.compile(r'"((?:[^"\\]|\\.)*)"')

# type in the signature -> (C++ parameter type, the same when none is allowed)
TYPES = {
    "Tensor": ("const Tensor&", "const Tensor&"),
    "mask": ("const Tensor&", "const Tensor&"),
    "Tensor[]": ("TensorSpan", "TensorSpan"),
    "bool": ("bool", "std::optional<bool>"),
    "int": ("int64_t", "std::optional<int64_t>"),
    "float": ("double", "std::optional<double>"),
    "scalar": ("const Scalar&", "const std::optional<Scalar>&"),
    "str": ("const std::string&", "const std::optional<std::string>&"),
    "dtype": ("DType", "std::optional<DType>"),
    "int[]": ("const Shape&", "const std::optional<Shape>&"),
    "float[]": ("const std::vector<double>&", "const std::optional<std::vector<double>>&"),
}


def split(text: str) -> list[str]:
    """Split at commas outside of brackets and quotes."""
    items, depth, quoted, item = [], 0, False, ""
    for c in text:
        if c in "'\"":
            quoted = not quoted
        elif not quoted:
            depth += (c in "[(") - (c in "])")
        if c == "," and depth == 0 and not quoted:
            items.append(item.strip())
            item = ""
        else:
            item += c
    return items + ([item.strip()] if item.strip() else [])


def default_text(value: str, kind: str, optional: bool, size: int) -> str:
    if value in ("none", "None"):
        return "{}" if kind in ("Tensor", "mask") else "std::nullopt"
    if kind == "str":
        return '"' + value.strip("'\"") + '"'
    if kind == "dtype":
        return f"DType::{value}"
    if kind == "int[]":
        inner = ", ".join([value] * size) if size and not value.startswith("[") else value.strip("[]")
        return f"Shape{{{inner}}}"
    if kind == "float[]":
        return "std::vector<double>{" + value.strip("[]") + "}"
    if kind == "scalar":
        return f"Scalar({value if any(c in value for c in '.e') or value in ('true', 'false') else 'int64_t{' + value + '}'})"
    return {"inf": "std::numeric_limits<double>::infinity()"}.get(value, value)


# Of the functions of one name so far: parameter types, and how many have no default.
OVERLOADS: dict[str, list[tuple[list[str | None], int]]] = {}


def function(signature: str) -> tuple[str, str, str]:
    """(namespace, declaration, definition) of one operator's C++ function."""
    match = re.match(r"\s*([\w./:]+)\((.*)\)\s*(?:->\s*(.*))?$", signature, re.S)
    if not match:
        sys.exit(f"print_ops_header: cannot read the signature '{signature}'")
    full, inside, outputs = match.groups()
    # The dot of a namespace belongs to the base, as in graph/signature.cpp; the next one starts the overload.
    found_base = re.match(r"(?:(?:linalg|special|fft)\.)?[^.]+", full)
    assert found_base
    base = found_base[0]
    name = full
    namespace, _, short = base.rpartition(".")
    params, tensors, attrs, has_list = [], [], [], ""  # the name of the list, if there is one
    for item in split(inside):
        if item == "*":
            continue
        item, _, default = (part.strip() for part in item.partition("="))
        pname, _, kind = (part.strip() for part in item.partition(":"))
        kind = kind or "Tensor"
        optional = kind.endswith("?")
        kind = kind.rstrip("?")
        size = 0
        if found := re.match(r"int\[(\d+)\]", kind):
            size, kind = int(found[1]), "int[]"
        ctype = TYPES[kind][optional]
        params.append([ctype, pname, default_text(default, kind, optional, size) if default else None])
        if kind in ("Tensor", "mask"):
            tensors.append(pname)
        elif kind == "Tensor[]":
            tensors.append(pname)
            has_list = pname
        else:
            attrs.append(f"{pname} ? Attr(*{pname}) : Attr()" if optional else f"Attr({pname})")
    # An overload that a shorter call could not tell from an earlier one has no defaults where they differ.
    types = [t for t, _, _ in params]
    for earlier, required in OVERLOADS.setdefault(base, []):
        same = next((i for i, (a, b) in enumerate(zip(earlier, types)) if a != b), min(len(earlier), len(types)))
        for p in params[: same + 1 if required <= same else 0]:
            p[2] = None
    OVERLOADS[base].append((types, sum(default is None for _, _, default in params)))
    seen_required = False
    for p in reversed(params):  # C++ wants defaults last
        seen_required |= p[2] is None
        if seen_required:
            p[2] = None
    text = ", ".join(f"{t} {n}" + (f" = {d}" if d is not None else "") for t, n, d in params)
    names = [o.strip() for o in outputs.split(",")] if outputs else ["output"]
    result = (
        "TensorList" if names == ["list"] else "Tensor" if len(names) == 1 else f"std::array<Tensor, {len(names)}>"
    )
    bare = ", ".join(f"{t} {n}" for t, n, _ in params)
    lines = [f"{result} {short}({bare}) {{", f'  static const OpDef& def = find_op("{name}");']
    if has_list:
        lines.append("  TensorList inputs;")
        for t in tensors:
            lines.append(
                f"  inputs.insert(inputs.end(), {t}.begin(), {t}.end());"
                if t == has_list
                else f"  inputs.push_back({t});"
            )
        call = f"(def, TensorSpan(inputs), {{{', '.join(attrs)}}})"
    else:
        call = f"(def, {{{', '.join(tensors)}}}, {{{', '.join(attrs)}}})"
    if result == "Tensor":
        lines.append(f"  return call_one{call};")
    elif result == "TensorList":
        lines.append(f"  return call{call};")
    else:
        lines.append(f"  TensorList out = call{call};")
        lines.append("  return {" + ", ".join(f"std::move(out[{i}])" for i in range(len(names))) + "};")
    comment = f"/// {name}{signature[len(full) :]}".replace("\n", " ")
    return namespace, f"{comment}\n{result} {short}({text});", "\n".join([*lines, "}"])


HEAD = """// Made by scripts/print_ops_header.py from the signatures in src/sorus/ops; do not edit.
#pragma once

#include <array>
#include <limits>
#include <optional>

#include "sorus/graph/call.h"

namespace sorus {

"""
TAIL = """
#define SORUS_OPERATOR(symbol, function)                                                                       \\
  inline Tensor operator symbol(const Tensor& a, const Tensor& b) { return function(a, b); }                   \\
  inline Tensor operator symbol(const Tensor& a, double b) { return function(a, Tensor::weak_scalar(b)); }     \\
  inline Tensor operator symbol(double a, const Tensor& b) { return function(Tensor::weak_scalar(a), b); }
SORUS_OPERATOR(+, add)
SORUS_OPERATOR(-, sub)
SORUS_OPERATOR(*, mul)
SORUS_OPERATOR(/, div)
#undef SORUS_OPERATOR
inline Tensor operator-(const Tensor& a) { return neg(a); }

}  // namespace sorus
"""


SOURCE_HEAD = """// Made by scripts/print_ops_header.py; do not edit.
#include "sorus/ops.h"

namespace sorus {

"""


def in_namespaces(spaces: dict[str, list[str]]) -> str:
    text = ""
    for namespace, functions in sorted(spaces.items()):
        block = "\n".join(functions)
        text += f"namespace {namespace} {{\n{block}\n}}  // namespace {namespace}\n" if namespace else block + "\n"
    return text


def main() -> None:
    header, source_file, *sources = sys.argv[1:]
    declarations: dict[str, list[str]] = {}
    definitions: dict[str, list[str]] = {}
    for source in sorted(sources):
        for entry in ENTRY.finditer(Path(source).read_text()):
            signature = "".join(LITERAL.findall(entry[1])).replace("\\'", "'")
            namespace, declaration, definition = function(signature)
            declarations.setdefault(namespace, []).append(declaration)
            definitions.setdefault(namespace, []).append(definition)
    Path(header).parent.mkdir(parents=True, exist_ok=True)
    Path(header).write_text(HEAD + in_namespaces(declarations) + TAIL)
    Path(source_file).write_text(SOURCE_HEAD + in_namespaces(definitions) + "\n}  // namespace sorus\n")


if __name__ == "__main__":
    main()
