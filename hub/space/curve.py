"""Plot of probability against severity as an SVG, in the colours of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 42, 10, 44, 36  # px around the axes
#: Colours of Okabe and Ito for the light and the dark theme. Dashes and markers also tell the lines apart.
CSS = """
.curve svg { display: block; width: 100%; max-width: 480px; font-size: 12px; fill: currentColor; }
.curve svg :is(path, line) { fill: none; stroke-width: 2; }
.curve .grid { stroke: currentColor; stroke-width: 1; opacity: 0.15; }
.curve .line-0 { stroke: currentColor; }
.curve .line-1 { stroke: #0072B2; stroke-dasharray: 6 3; }
.curve .mark-1 { fill: #0072B2; }
.dark .curve .line-1 { stroke: #56B4E9; }
.dark .curve .mark-1 { fill: #56B4E9; }
"""


def curve(title: str, lines: Mapping[str, Sequence[float]]) -> str:
    """An SVG with one or two lines of probabilities at severities 0, 1, ...; screen readers get title and numbers."""
    spoken = "; ".join(f"{name}: {', '.join(f'{value:.0%}' for value in values)}" for name, values in lines.items())
    parts = [f'<text x="{LEFT}" y="14" font-weight="600">{escape(title)}</text>']
    for value in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_y(value):.1f}" y2="{_y(value):.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{_y(value) + 4:.1f}" text-anchor="end">{value:.0%}</text>')
    count = max(map(len, lines.values()))
    for severity in range(count):
        parts.append(f'<text x="{_x(severity, count):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{severity}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">severity</text>')
    for place, (name, values) in enumerate(lines.items()):
        start = LEFT + 110 * place
        parts.append(f'<line class="line-{place}" x1="{start}" x2="{start + 28}" y1="28" y2="28"/>')
        parts.append(_mark(place, start + 14, 28) + f'<text x="{start + 34}" y="32">{escape(name)}</text>')
        points = [(_x(severity, count), _y(value)) for severity, value in enumerate(values)]
        parts.append(f'<path class="line-{place}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>')
        parts += [_mark(place, x, y) for x, y in points]
    label = escape(f"{title}, from severity 0 on. {spoken}")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _x(severity: int, count: int) -> float:
    return LEFT + 12 + (WIDTH - LEFT - RIGHT - 24) * severity / (count - 1)


def _y(value: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - float(value))


def _mark(place: int, x: float, y: float) -> str:
    if place:
        return f'<rect class="mark-{place}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7"/>'
    return f'<circle class="mark-{place}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'
