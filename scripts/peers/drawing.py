# SPDX-License-Identifier: Apache-2.0
"""Numbers, tables in Markdown, and the frame of a plot."""
from xml.sax.saxutils import escape

# Readable on a white and on a dark page, as which a reader's browser shows it.
STYLE = """text { font: 13px system-ui, sans-serif; fill: #1f2328 } .head { font-weight: 600 } .quiet { fill: #59636e }
.grid { stroke: #d1d9e0 } .name { text-anchor: end } .middle { text-anchor: middle }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } }"""


def number(value):
    if abs(value) >= 99.95 or value == int(value):
        return f"{value:,.0f}"
    digits = 1 if abs(value) >= 9.995 else 2 if abs(value) >= 0.095 else 3
    return f"{round(value, digits) + 0:.{digits}f}"


def markdown(lines):
    """A table; the first line is its head."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    lines = [lines[0], ["-" * width for width in widths], *lines[1:]]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |" for line in lines)


def svg(title, width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
            f'<text class="head" x="12" y="24">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n")
