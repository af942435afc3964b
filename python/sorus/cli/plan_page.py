"""A plan as a page: what runs when on each stage, memory over time, where axes lie on the network; and as a Chrome trace."""

from __future__ import annotations

import html
import json
from typing import Any

from .plan import what_helps

KINDS = ("forward", "backward", "weights")
COLORS = ("#4c8bf5", "#2f9e63", "#e0a030")


def chrome_trace(report: dict[str, Any]) -> dict[str, Any]:
    """For chrome://tracing or ui.perfetto.dev: a row for each device of the pipeline."""
    events = [
        {"name": f"{KINDS[kind]} {micro}", "cat": KINDS[kind], "ph": "X", "pid": 0, "tid": device,
         "ts": begin * 1e6, "dur": (end - begin) * 1e6, "args": {"stage": stage, "micro_batch": micro}}
        for device, stage, micro, kind, begin, end in report.get("timeline", [])
    ]  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def memory_over_time(report: dict[str, Any]) -> dict[int, list[tuple[float, float]]]:
    """For each device of the pipeline (seconds, bytes), as passes keep and give back activations."""
    stages = report["plan"]["stages"]
    devices = 1 + max(s["device"] for s in stages)
    steps: dict[int, list[tuple[float, int]]] = {d: [] for d in range(devices)}
    for device, _, _, kind, begin, end in report.get("timeline", []):
        if kind == 0:
            steps[device].append((begin, 1))
        elif kind == 1:
            steps[device].append((end, -1))
    out = {}
    for device, changes in steps.items():
        memory = next(s["memory_bytes"] for s in stages if s["device"] == device)
        fixed = memory["total"] - memory["activations"]
        alive = most = 0
        counts = []
        for at, change in sorted(changes):
            alive += change
            most = max(most, alive)
            counts.append((at, alive))
        each = memory["activations"] / most if most else 0.0
        out[device] = [(0.0, fixed)] + [(at, fixed + n * each) for at, n in counts]
    return out


def page(report: dict[str, Any]) -> str:
    """One self-contained HTML file."""
    plan = report["plan"]
    rows = "".join(f"<tr><td>{html.escape(k)}<td>{v:.4g} s<td>{100 * v / report['step_time_s']:.1f}%"
                   for k, v in report["time"].items() if v > 0)  # fmt: skip
    families = "".join(
        f"<tr><td>{html.escape(f['family'])}<td>{100 * (f['step_time_s'] / report['step_time_s'] - 1):.1f}%<td>dp {f['dp']} x tp {f['tp']} x pp {f['pp']}"
        for f in report["families"]
    )
    helps = "".join(f"<tr><td>{html.escape(what)}<td>{gain}" for what, gain in what_helps(report))
    data = {
        "events": report.get("timeline", []),
        "memory": memory_over_time(report),
        "limit": report["device_memory_gb"] * 1e9,
        "mesh": plan["mesh"],
        "colors": COLORS,
        "step": report["step_time_s"],
    }
    return _PAGE.format(
        title=html.escape(f"{report['model']} on {report['devices']} devices of {report['cluster']}"),
        summary=html.escape(plan["summary"]), step=report["step_time_s"], bound=report["lower_bound_s"],
        gap=100 * report["gap"], rows=rows, families=families, helps=helps,
        data=json.dumps(data).replace("</", "<\\/"),
    )  # fmt: skip


_PAGE = """<!doctype html><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px system-ui,sans-serif;margin:24px;max-width:1100px;color:#222}}table{{border-collapse:collapse}}
td,th{{padding:2px 12px 2px 0;text-align:left}}canvas{{width:100%;border:1px solid #ddd;display:block}}h2{{font-size:16px}}</style>
<h1>{title}</h1><p>{summary}</p>
<p><b>{step:.4g} s</b> a step; no plan of the space is faster than {bound:.4g} s (gap {gap:.1f}%).</p>
<h2>Timeline</h2><p>One row a device of the pipeline: <span style="color:#4c8bf5">forward</span>,
<span style="color:#2f9e63">backward</span>, <span style="color:#e0a030">weights' gradients</span>. Drag to move, scroll to zoom.</p>
<canvas id="t"></canvas><h2>Memory over time</h2><canvas id="m"></canvas>
<h2>Placement</h2><p>Ranks in order; each row is one value of the slowest axis, colours are tensor groups.</p><canvas id="p"></canvas>
<h2>Time</h2><table>{rows}</table><h2>Other families</h2><table><tr><th>family<th>slower by<th>best{families}</table>
<h2>What would help</h2><table>{helps}</table>
<script>
const D = {data};
let from = 0, to = D.step;
const rows = 1 + Math.max(0, ...D.events.map(e => e[0]));
function fit(id, height) {{ const c = document.getElementById(id); c.width = c.clientWidth * devicePixelRatio;
  c.height = height * devicePixelRatio; c.style.height = height + 'px'; const g = c.getContext('2d');
  g.scale(devicePixelRatio, devicePixelRatio); return [g, c.clientWidth, height]; }}
function draw() {{
  let [g, w, h] = fit('t', Math.max(60, Math.min(640, rows * 18)));
  const y = h / rows, x = s => (s - from) / (to - from) * w;
  for (const [d, stage, micro, kind, b, e] of D.events) {{ if (e < from || b > to) continue;
    g.fillStyle = D.colors[kind]; g.globalAlpha = stage >= rows ? 0.6 : 1; g.fillRect(x(b), d * y + 1, Math.max(0.5, x(e) - x(b) - 0.3), y - 2);
    if (x(e) - x(b) > 22 && y > 11) {{ g.globalAlpha = 1; g.fillStyle = '#fff'; g.fillText(micro, x(b) + 3, d * y + y * 0.7); }} }}
  [g, w, h] = fit('m', 220);
  const names = Object.keys(D.memory), top = Math.max(D.limit, ...names.flatMap(n => D.memory[n].map(p => p[1]))) * 1.05;
  names.forEach((n, i) => {{ g.strokeStyle = `hsl(${{i * 300 / names.length}},60%,45%)`; g.beginPath(); let last = null;
    for (const [s, b] of D.memory[n]) {{ const py = h - b / top * h; if (last !== null) g.lineTo(x(s), last); else g.moveTo(x(s), py); g.lineTo(x(s), py); last = py; }}
    g.stroke(); }});
  g.strokeStyle = '#c00'; g.setLineDash([4, 4]); g.beginPath(); g.moveTo(0, h - D.limit / top * h); g.lineTo(w, h - D.limit / top * h); g.stroke();
  const [outer, ...inner] = D.mesh.filter(a => a.size > 1), per = inner.reduce((n, a) => n * a.size, 1), n = outer ? outer.size : 1;
  const shown = Math.min(n, 64), tp = inner.length ? inner[inner.length - 1].size : 1, columns = Math.min(per, 512);
  [g, w, h] = fit('p', shown * 10 + 4);
  for (let r = 0; r < shown; ++r) for (let c = 0; c < columns; ++c) {{ g.fillStyle = `hsl(${{Math.floor(c / tp) * 47 % 360}},45%,${{r % 2 ? 62 : 70}}%)`;
    g.fillRect(c * w / columns, r * 10, w / columns - 0.5, 9); }}
}}
const t = document.getElementById('t'); let drag = null;
t.onwheel = e => {{ e.preventDefault(); const k = e.deltaY > 0 ? 1.2 : 1 / 1.2, a = from + (to - from) * e.offsetX / t.clientWidth;
  from = Math.max(0, a - (a - from) * k); to = Math.min(D.step, a + (to - a) * k); draw(); }};
t.onmousedown = e => drag = e.offsetX; window.onmouseup = () => drag = null;
t.onmousemove = e => {{ if (drag === null) return; const s = (drag - e.offsetX) / t.clientWidth * (to - from); drag = e.offsetX;
  if (from + s >= 0 && to + s <= D.step) {{ from += s; to += s; draw(); }} }};
window.onresize = draw; draw();
</script>
"""
