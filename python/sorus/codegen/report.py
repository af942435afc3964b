"""report.html: the report of a generated model for people, one file without anything from elsewhere."""

from __future__ import annotations

import html as text
from typing import Any

COLOURS = {"input": "#7fb3d5", "output": "#76c893", "tensor": "#c9d6df", "scratch": "#f4b183", "state": "#c3aed6"}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; color: #222; padding: 0 1em }
table { border-collapse: collapse; width: 100% } td, th { padding: .25em .6em; border-bottom: 1px solid #ddd; text-align: right }
td:first-child, th:first-child, td.text { text-align: left } svg { width: 100%; height: auto; border: 1px solid #ccc }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 2em } .note { color: #666 }
"""


def escape(value: Any) -> str:
    return text.escape(str(value))


def arena_drawing(report: dict) -> str:
    """The arena over time: steps to the right, addresses upwards, every buffer a box."""
    steps, total = max(len(report["layers"]), 1), max(report["arena_bytes"], 1)
    width, height = 1000, 360
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="arena over time">']
    for b in report["buffers"]:
        x, w = b["first"] / steps * width, (b["last"] - b["first"] + 1) / steps * width
        h = b["bytes"] / total * height
        y = height - b["offset"] / total * height - h
        label = escape(f"{b['name']}: {b['bytes']} bytes at {b['offset']}, steps {b['first']} to {b['last']}")
        parts.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{max(h, 1):.1f}" fill="{COLOURS[b["kind"]]}" '
            f'fill-opacity=".75" stroke="#555" stroke-width=".6"><title>{label}</title></rect>'
        )
        if h > 14 and w > 60:
            parts.append(f'<text x="{x + 3:.1f}" y="{y + 12:.1f}" font-size="10">{escape(b["bytes"])}</text>')
    parts.append("</svg>")
    legend = " ".join(
        f'<span style="background:{colour}">&nbsp;{kind}&nbsp;</span>' for kind, colour in COLOURS.items()
    )
    return "".join(parts) + f"<p>{legend}: boxes that overlap share bytes while one is made from the other.</p>"


def sentence(measured: dict) -> str:
    """What was measured where the folder was run."""
    if not measured:
        return ""
    text = f" Run {measured['inferences']} times, {measured['equal']} as Sorus:"
    if "instructions" in measured:
        text += f" <b>{measured['instructions']:,}</b> instructions an inference,"
    return f"{text} {measured['flash_bytes']:,} bytes of flash, {measured['stack_bytes']:,} bytes of stack."


def html(report: dict) -> str:
    """The report as a page."""
    measured, by_layer = report.get("measured", {}), "measured_instructions" in (report["layers"] or [{}])[0]
    proof = "proved to be the least" if report["arena_proved_optimal"] else "the best found"
    rows = "".join(
        f"<tr><td class=text>{escape(layer['name'])}</td><td class=text>{escape(layer['kernel'])}</td>"
        f"<td>{escape(' x '.join(map(str, layer['output'])))}</td><td>{layer['arena_bytes']:,}</td>"
        f"<td>{layer['scratch_bytes']:,}</td><td>{layer['constant_bytes']:,}</td><td>{layer['macs']:,}</td>"
        f"<td>{layer['estimated_instructions']:,}</td>"
        + (f"<td>{layer['measured_instructions']:,}</td>" if by_layer else "")
        + f"<td class=text>{escape('; '.join(layer['notes']))}</td></tr>"
        for layer in report["layers"]
    )
    notes = "".join(f"<li>{escape(n)}</li>" for n in report["notes"]) or "<li>nothing to remove</li>"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{escape(report["name"])} for {escape(report["target"])}</title>
<style>{STYLE}</style>
<h1>{escape(report["name"])} for {escape(report["target"])}</h1>
<p>Arena <b>{report["arena_bytes"]:,}</b> bytes ({proof} with these kernels; no plan needs less than
{report["arena_lower_bound"]:,}; inputs and results of the largest layer side by side: {report["layer_wise_bytes"]:,}).
Constants <b>{report["constant_bytes"]:,}</b> bytes. {report["macs"]:,} multiply-accumulates, about
{report["estimated_instructions"]:,} instructions.{sentence(measured)}</p>
<h2>The arena over time</h2>{arena_drawing(report)}
<h2>Layers</h2>
<table><tr><th>layer</th><th>kernel</th><th>result</th><th>arena</th><th>scratch</th><th>constants</th><th>MACs</th>
<th>instructions, estimated</th>{"<th>measured</th>" if by_layer else ""}<th>notes</th></tr>{rows}</table>
<h2>Done before printing</h2><ul>{notes}</ul>
</html>
"""
