"""Write the parity report as one HTML page with its plots inside."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, PAD = 600, 180, 64
STYLE = (
    "body{font:15px/1.5 system-ui;max-width:62rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem;border-bottom:1px solid #ddd;text-align:left}"
    "svg{background:#fafafa;margin:.5rem 1rem .5rem 0}"
)


def page(report: Mapping[str, Any]) -> str:
    """Return the report as HTML."""
    title = f"{report['model']}: {report['engine']} {report['precision']} against torch"
    parts = [f"<h1>{html.escape(title)}</h1>", f"<p><b>{html.escape(report['verdict'])}</b></p>"]
    parts.append(_table(("what", "value"), [(k, v) for k, v in report["record"].items()]))
    rows = [
        (n, *(f"{t[k]:.4g}" for k in ("chunk", "decode", "loop_fps", "end_to_end_fps")))
        for n, t in report["timing"].items()
    ]
    parts += [
        "<h2>Time</h2>",
        _table(("engine", "chunk s", "decode s", "fps of the loop", "fps with the decoder"), rows),
    ]
    sizes = [(n, f"{b / 1e6:.2f} MB") for n, b in report["bytes"].items()]
    parts += ["<h2>Size</h2>", _table(("file", "size"), sizes)]
    parts += ["<h2>Memory of the process in MB</h2>", _table(("what", "MB"), list(report["memory_mb"].items()))]
    steps = [
        (s, f"{e['mean']:.2e}", f"{e['largest']:.2e}")
        for s, e in sorted(report["steps"].items(), key=lambda at: -float(at[0]))
    ]
    parts += ["<h2>Relative error of a step, by sigma</h2>", _table(("sigma", "mean", "largest"), steps)]
    long = report["rollout"]
    parts.append(f"<h2>A take of {len(long['psnr'])} chunks with two switches</h2>")
    parts += [plot("relative latent error", long["relative"]), plot("PSNR of the frames, dB", long["psnr"])]
    moved = [(m, f"{v:+.3g}") for m, v in report["drift"].items()]
    parts += ["<h2>Drift away from torch, per hundred chunks</h2>", _table(("measure", "change"), moved)]
    if report.get("adherence"):
        parts += ["<h2>To the judge</h2>", _table(("what", "value"), list(report["adherence"].items()))]
    if report.get("int8"):
        kept = ", ".join(report["int8"]["kept"]) or "none"
        without = sorted(report["int8"]["without"].items(), key=lambda item: item[1])
        rows = [(n, f"{100 * (1 - e / report['int8']['whole']):.1f} %") for n, e in without[:12]]
        parts += [f"<h2>INT8</h2><p>Kept in float: {html.escape(kept)}.</p>"]
        parts.append(_table(("layer", "of the x0 error gone without it in INT8"), rows))
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    return f"{head}{''.join(parts)}\n"


def plot(title: str, values: Sequence[float]) -> str:
    """Return a line over chunks as SVG."""
    low, high = min(values), max(values)
    span, steps = (high - low) or 1.0, max(1, len(values) - 1)
    points = " ".join(
        f"{PAD + i * (WIDTH - 2 * PAD) / steps:.1f},{HEIGHT - PAD - (v - low) / span * (HEIGHT - 2 * PAD):.1f}"
        for i, v in enumerate(values)
    )
    marks = [(PAD - 4, HEIGHT - PAD, "end", low), (PAD - 4, PAD + 4, "end", high)]
    labels = "".join(f'<text x="{x}" y="{y}" text-anchor="{a}">{v:.3g}</text>' for x, y, a, v in marks)
    return (
        f'<svg width="{WIDTH}" height="{HEIGHT}" font-size="12" role="img" aria-label="{html.escape(title)}">'
        f'<text x="{PAD}" y="20">{html.escape(title)}, chunk 1 to {len(values)}</text>{labels}'
        f'<polyline points="{points}" fill="none" stroke="#2457a6" stroke-width="1.5"/></svg>'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    def row(cells: Sequence[object], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(c))}</{tag}>" for c in cells) + "</tr>"

    return f"<table>{row(head, 'th')}{''.join(row(r, 'td') for r in rows)}</table>"
