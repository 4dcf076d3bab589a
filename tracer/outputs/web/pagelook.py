"""What the pages of the server have beyond the common look: a few classes, the script that keeps `/` up to date, the policies.

The script takes the page anew and puts it in the place of the old one; what was folded out or scrolled stays so. Without it the
browser itself loads the page again.
"""

from __future__ import annotations

from tracer.outputs.graphic.look import STYLE, style_source

RELOAD_SECONDS = 5

PAGE_STYLE = (
    STYLE
    + """
.verdict { border-left: .35rem solid var(--c2); padding: .2rem .8rem; margin: .8rem 0; }
.verdict p { color: var(--ink); } .verdict.l0 { border-color: var(--good); } .verdict.l2 { border-color: var(--bad); }
.verdict strong { display: inline-block; } .verdict strong::first-letter { text-transform: uppercase; }
.verdict.l0 strong { color: var(--good); }
.verdict.l2 strong { color: var(--bad); }
td { vertical-align: top; } td summary { white-space: nowrap; } td details { margin: 0; }
td dl { display: grid; grid-template-columns: auto auto; gap: 0 .8rem; margin: .3rem 0 .5rem 1rem; font-size: .85rem;
  justify-content: start; }
td dt { color: var(--soft); } td dd { margin: 0; white-space: normal; }
summary h2 { display: inline; } section > details { margin-top: 1.6rem; }
.services th:first-child, .services td:first-child { min-width: 9rem; }
.services svg.spark { height: 1.2rem; }
#state:not(:empty) { background: var(--bad); color: var(--paper); padding: .3rem .8rem; position: sticky; top: 0; z-index: 1; }
@media (max-width: 56rem) { .services { font-size: .85rem; } .services th, .services td { padding: .3rem .35rem; }
  svg.spark { width: 4.5rem; } }
@media (max-width: 40rem) { .cards { gap: .4rem; }
  .card { padding: .3rem .6rem; min-width: 6.6rem; flex: 1 1 6.6rem; }
  .services th:first-child, .services td:first-child { min-width: 8rem; }
  td dl { grid-template-columns: auto; max-width: 9rem; } td dd { margin-bottom: .2rem; } }
"""
)

SCRIPT = """
"use strict";
setInterval(async () => {
  if (document.hidden) return;
  const state = document.getElementById("state");
  try {
    const answer = await fetch(location.pathname, {cache: "no-store", signal: AbortSignal.timeout(4000)});
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const old of document.querySelectorAll("details[id]")) {
      const other = fresh.getElementById(old.id);
      if (other) other.open = old.open;
    }
    const scrolled = new Map([...document.querySelectorAll(".scroll[id]")].map((each) => [each.id, each.scrollLeft]));
    document.body.replaceChildren(...fresh.body.childNodes);
    for (const [id, left] of scrolled) {
      const each = document.getElementById(id);
      if (each) each.scrollLeft = left;
    }
  } catch (error) {
    state.textContent = "No answer from tcptrace: these figures are old.";
  }
}, 5000);
"""

_COMMON = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_STYLES = f"default-src 'none'; style-src {style_source(PAGE_STYLE)}"
PAGE_POLICY = f"{_STYLES}; script-src {style_source(SCRIPT)}; connect-src 'self'; {_COMMON}"
REPORT_POLICY = f"{_STYLES}; {_COMMON}"


def in_document(policy: str) -> str:
    """Return the part of a policy that a document may give itself; the rest is the server's."""
    return policy.replace("; frame-ancestors 'none'", "")
