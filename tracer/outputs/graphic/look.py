"""The stylesheet of every page: light, dark, and on paper, as variables that charts use too.

The six colours of series are Okabe and Ito's, which people who see few colours tell apart, a little lighter on a dark ground.
Charts use classes and never style attributes: a content policy that allows one stylesheet by its hash forbids those.
"""

from __future__ import annotations

import base64
import hashlib

_LIGHT = """
  --ink: #1c2128; --soft: #59626b; --line: #d8dee4; --card: #f6f8fa; --paper: #ffffff; --bad: #b42318; --good: #1a7f37;
  --c1: #0072b2; --c2: #d55e00; --c3: #007a5a; --c4: #cc79a7; --c5: #b87a00; --c6: #56b4e9; --c0: #8d96a0;
  --h1: #c9dff2; --h2: #a9cdea; --h3: #83b6de; --h4: #5a9bcf; --h5: #3a7fbd; --h6: #1f62a3; --h7: #083d7f;
"""
_DARK = """
  --ink: #e6edf3; --soft: #9aa4ae; --line: #30363d; --card: #161b22; --paper: #0d1117; --bad: #ff7b72; --good: #3fb950;
  --c1: #4aa3df; --c2: #ff8c42; --c3: #2fbf94; --c4: #e29ac2; --c5: #f0b429; --c6: #8fd0f5; --c0: #6e7781;
  --h1: #1d3d5c; --h2: #214d75; --h3: #266396; --h4: #2f7dbb; --h5: #519ed8; --h6: #8fc5eb; --h7: #dceefb;
"""

STYLE = f"""
:root {{ color-scheme: light dark;{_LIGHT}}}
@media (prefers-color-scheme: dark) {{ :root {{{_DARK}}} }}
@media print {{ :root {{ color-scheme: light;{_LIGHT}}} }}
* {{ box-sizing: border-box; }}
body {{ background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.1rem; margin: 2rem 0 .4rem; overflow-wrap: anywhere; }}
h3 {{ font-size: .95rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere; }}
p {{ color: var(--soft); margin: .2rem 0 .5rem; overflow-wrap: anywhere; }} a {{ color: inherit; }}
.cards {{ display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.2rem 0; }}
.card {{ background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .9rem;
  min-width: 6.5rem; }}
.card b {{ display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }}
.card span {{ color: var(--soft); font-size: .85rem; }}
.scroll {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right; white-space: nowrap; }}
th {{ color: var(--soft); font-weight: 600; }} th:first-child, td:first-child {{ text-align: left; }}
.bad {{ color: var(--bad); }} .good {{ color: var(--good); }} .soft {{ color: var(--soft); }}
nav {{ margin: .8rem 0; color: var(--soft); }} nav a {{ margin-right: 1rem; white-space: nowrap; }}
details {{ margin: .4rem 0; }} summary {{ cursor: pointer; }}
pre {{ background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto;
  font: 12.5px/1.35 ui-monospace, "DejaVu Sans Mono", monospace; }}
footer {{ margin-top: 2rem; color: var(--soft); font-size: .85rem; }}
figure {{ margin: .6rem 0; }} figcaption {{ color: var(--soft); font-size: .85rem; }}
.pair {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr)); gap: 0 1.5rem; }}
svg {{ display: block; max-width: 100%; height: auto; }}
svg.chart {{ width: 100%; min-width: 22rem; max-width: 34rem; }} svg.chart.wide {{ min-width: 52rem; max-width: none; }}
svg.spark {{ display: inline-block; vertical-align: middle; width: 7.5rem; height: 1.4rem; }}
svg text {{ fill: var(--soft); font: 12px system-ui, sans-serif; }} svg text.title {{ fill: var(--ink); font-weight: 600; }}
svg .axis {{ stroke: var(--soft); fill: none; }} svg .rule {{ stroke: var(--line); fill: none; }}
{"".join(f".f{n} {{ fill: var(--c{n}); }} .s{n} {{ stroke: var(--c{n}); fill: none; }} " for n in range(7))}
{"".join(f".h{n} {{ fill: var(--h{n}); }} " for n in range(1, 8))}
.thin {{ stroke-width: 1; }} .thick {{ stroke-width: 2; }} .area {{ opacity: .25; }}
@media (max-width: 40rem) {{ body {{ margin: 1rem auto; font-size: 14px; }} .card b {{ font-size: 1.1rem; }}
  th, td {{ padding: .25rem .45rem; }} }}
@media print {{
  body {{ margin: 0; max-width: none; font-size: 10pt; }} nav {{ display: none; }}
  .scroll, pre {{ overflow: visible; }} pre {{ white-space: pre-wrap; font-size: 8pt; }}
  svg.chart, svg.chart.wide {{ min-width: 0; }} svg {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
  figure, tr, .card {{ break-inside: avoid; }} h2, h3 {{ break-after: avoid; }} table {{ font-size: 8.5pt; }}
}}
"""


def style_source(style: str = STYLE) -> str:
    """Return what a content policy calls this stylesheet, or script, where it is an element of the document."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


POLICY = f"default-src 'none'; style-src {style_source()}; base-uri 'none'; form-action 'none'"
"""Nothing is loaded and nothing runs: what a document of this stylesheet needs. A server adds frame-ancestors."""
