"""The style of a report: one inline sheet, light and dark by the reader's preference, and for paper.

Text colours keep a contrast of at least 4.5 to 1 on their ground in both schemes (a test computes it). The variables
``--ink``, ``--muted``, ``--rule`` and ``--series-1`` to ``--series-6`` are also used by the figures, which are drawn
with them (see ``report.style``), so that a figure changes with the scheme.
"""

LIGHT = {
    "paper": "#fdfdfc",
    "card": "#f5f6f5",
    "ink": "#1c2126",
    "muted": "#5b646d",
    "rule": "#dde0e2",
    "accent": "#0b5c8f",
    "tint": "#e9f1f6",
    "series-1": "#0b66a8",
    "series-2": "#c24a12",
    "series-3": "#0a7a5c",
    "series-4": "#99447f",
    "series-5": "#8a6100",
    "series-6": "#5b646d",
}
DARK = {
    "paper": "#14171a",
    "card": "#1c2024",
    "ink": "#e8eaec",
    "muted": "#a2abb4",
    "rule": "#30363c",
    "accent": "#7cbdf0",
    "tint": "#1a2b38",
    "series-1": "#62aeea",
    "series-2": "#f28d55",
    "series-3": "#4cc49e",
    "series-4": "#dd93c2",
    "series-5": "#d9a73f",
    "series-6": "#a2abb4",
}


def _variables(colours: dict[str, str]) -> str:
    return " ".join(f"--{name}: {value};" for name, value in colours.items())


STYLESHEET = (
    ":root { "
    + _variables(LIGHT)
    + " --sans: system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Liberation Sans', sans-serif;"
    + " --mono: ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'Liberation Mono', monospace; }\n"
    + "@media screen and (prefers-color-scheme: dark) { :root { "
    + _variables(DARK)
    + " } }\n"
    + """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 400 1rem/1.65 var(--sans);
  font-kerning: normal; text-rendering: optimizeLegibility; }
a { color: var(--accent); text-underline-offset: .2em; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 2px; }
.skip { position: absolute; left: -100vw; top: 0; padding: .5rem 1rem; background: var(--paper); }
.skip:focus { left: 1rem; z-index: 2; }
.head, .page, .foot { max-width: 72rem; margin: 0 auto; padding: 0 clamp(1.25rem, 4vw, 3rem); }
.head { padding-top: clamp(2.5rem, 7vw, 5.5rem); padding-bottom: clamp(2rem, 5vw, 3.5rem); }
.brand { display: flex; align-items: center; gap: .75rem; margin: 0 0 1.75rem; color: var(--muted);
  font-size: .8125rem; letter-spacing: .02em; }
.mark { color: var(--accent); flex: none; }
h1, h2 { font-weight: 600; letter-spacing: -.018em; text-wrap: balance; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: clamp(1.8rem, 1.3rem + 2.1vw, 2.75rem); line-height: 1.15; max-width: 24em; }
h1 span, h2 span { white-space: nowrap; }
.subtitle { margin: 1rem 0 0; max-width: 42em; color: var(--muted); font-size: 1.125rem; overflow-wrap: anywhere; }
.page { display: grid; grid-template-columns: 12rem minmax(0, 1fr); column-gap: clamp(2rem, 5vw, 4.5rem); }
.contents { position: sticky; top: 2rem; align-self: start; max-height: calc(100vh - 4rem); overflow-y: auto;
  padding-top: 1.85rem; border-top: 1px solid var(--rule); font-size: .875rem; line-height: 1.4; }
.contents ol { list-style: none; margin: 0; padding: 0; }
.contents li { margin: 0 0 .7rem; }
.contents a { color: var(--muted); text-decoration: none; overflow-wrap: anywhere; }
.contents a:hover { color: var(--accent); text-decoration: underline; }
main { min-width: 0; }
section { padding: 1.6rem 0 clamp(2.5rem, 5vw, 4rem); border-top: 1px solid var(--rule); scroll-margin-top: 0; }
h2 { margin: 0 0 1.25rem; font-size: 1.5rem; line-height: 1.25; }
p { margin: 0 0 1rem; max-width: 40em; overflow-wrap: anywhere; text-wrap: pretty; }
code, pre { font-family: var(--mono); font-size: .875em; }
code { padding: .1em .35em; border-radius: 4px; background: var(--card); }
.listing { margin: 1.5rem 0; }
pre { margin: 0; padding: 1rem 1.25rem; border-radius: 8px; background: var(--card);
  white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.55; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(10.5rem, 42%), 1fr));
  gap: 0 clamp(1rem, 3vw, 2rem); margin: 1.75rem 0 1.25rem; }
.facts > div { display: grid; grid-template-rows: subgrid; grid-row: span 2; margin-bottom: 1.5rem; padding-top: .8rem;
  border-top: 2px solid var(--ink); }
.facts dt { color: var(--muted); font-size: .875rem; line-height: 1.4; }
.facts dd { margin: .2rem 0 0; }
.facts span { display: block; font-size: clamp(1.375rem, 1.1rem + 1vw, 1.625rem); font-weight: 600;
  letter-spacing: -.02em; line-height: 1.25;
  font-variant-numeric: tabular-nums lining-nums; overflow-wrap: anywhere; }
.facts small { display: block; color: var(--muted); font-size: .8125rem; line-height: 1.45; margin-top: .15rem; }
.scroll { margin: 1.75rem 0; overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9375rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; }
table.narrow { max-width: 34rem; }
caption { caption-side: bottom; padding-top: .85rem; text-align: left; }
caption, figcaption, .caption { color: var(--muted); font-size: .875rem; line-height: 1.55; }
th, td { padding: .6rem .9rem; border-bottom: 1px solid var(--rule); vertical-align: baseline; text-align: left; }
th:first-child { padding-left: .6rem; } tr > :last-child { padding-right: .6rem; }
thead th { color: var(--muted); font-size: .8125rem; font-weight: 500; vertical-align: bottom;
  border-bottom: 1px solid var(--muted); }
tbody th { font-weight: 500; min-width: min(10rem, 28vw); max-width: 22em; overflow-wrap: break-word; }
table.many th, table.many td { padding-left: .5rem; padding-right: .5rem; }
table.many tbody th { min-width: 9rem; overflow-wrap: anywhere; }
td { overflow-wrap: break-word; }
.right { text-align: right; } .center { text-align: center; } td.right { white-space: nowrap; }
.highlight > * { background: var(--tint); }
.highlight > th { box-shadow: inset 3px 0 0 var(--accent); font-weight: 600; }
.highlight > td { font-weight: 600; }
figure { margin: 2.25rem 0; }
.picture { overflow-x: auto; }
.picture svg { display: block; width: 100%; height: auto; color: var(--ink); font-variant-numeric: tabular-nums; }
.picture svg.wide { min-width: 34rem; }
@media screen and (prefers-color-scheme: dark) { .picture .signed { filter: brightness(1.5); } }
.picture img { display: block; max-width: 100%; height: auto; }
.card { padding: .75rem; border-radius: 8px; background: #fff; }
figcaption, .caption { max-width: 46em; margin: .9rem 0 0; overflow-wrap: anywhere; text-wrap: pretty; }
.gallery { margin: 2.25rem 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 2rem; }
.tiles figure { margin: 0; }
.tiles .picture svg { min-width: 0; }
.foot { padding-top: 1.5rem; padding-bottom: 3.5rem; color: var(--muted); font-size: .8125rem; }
@media (max-width: 60rem) {
  .page { display: block; }
  .contents { position: static; max-height: none; padding: 1.25rem 0 1rem; }
  .contents ol { columns: 2; column-gap: 2rem; }
}
@media (max-width: 34rem) { .contents ol { columns: 1; } th, td { padding: .5rem .6rem; } }
@media print {
  body { font-size: 10pt; background: #fff; }
  .head, .page, .foot { max-width: none; padding-left: 0; padding-right: 0; }
  .head { padding-top: 0; }
  .page { display: block; }
  .contents, .skip { display: none; }
  section { padding: 1rem 0; }
  h2 { break-after: avoid; }
  figure, .facts, tr, .listing { break-inside: avoid; }
  .scroll, .picture { overflow: visible; }
  .picture svg.wide { min-width: 0; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
}
""".strip()
)
