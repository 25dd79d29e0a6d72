# SPDX-License-Identifier: Apache-2.0
"""Parses PromQL with Prometheus' grammar.

Standard input is a list of expressions as JSON; standard output has for each of them {"error": …} or {"selectors":
[…]}: what is selected, by which matchers, within which functions (the outermost first), over how many seconds.
"""
import json
import sys

import promql_parser

OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}


def selectors(node, functions, found, seconds=None):
    kind = type(node).__name__
    if kind == "VectorSelector":
        matchers = [
            {"label": m.name, "operator": OPERATORS[str(m.op).split(".")[1]], "value": m.value}
            for m in node.matchers.matchers
        ]
        found.append({"name": node.name or "", "matchers": matchers, "functions": functions, "seconds": seconds})
    elif kind == "MatrixSelector":
        selectors(node.vector_selector, functions, found, node.range.total_seconds())
    elif kind == "Call":
        for argument in node.args:
            selectors(argument, functions + [node.func.name], found)
    else:
        for name in ("lhs", "rhs", "expr", "param"):
            child = getattr(node, name, None)
            if child is not None:
                selectors(child, functions, found)
    return found


def answer(expression):
    try:
        return {"selectors": selectors(promql_parser.parse(expression), [], [])}
    except ValueError as error:
        return {"error": str(error)}


json.dump([answer(expression) for expression in json.load(sys.stdin)], sys.stdout)
