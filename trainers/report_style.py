"""The looks of the training report: one style sheet, no script."""

STYLE = """
:root { --ink: #1f2430; --soft: #667085; --line: #e6e8ec; --good: #0b6e4f; --bad: #b42318; --paper: #fbfbfa }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 Charter, Georgia, serif }
main { max-width: 60rem; margin: 0 auto; padding: 3rem 1.5rem 5rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .4rem }
h2 { font-size: 1.2rem; margin: 2.8rem 0 .8rem }
.lead { color: var(--soft); margin: 0 0 2rem }
.cards { display: flex; gap: 2.5rem; flex-wrap: wrap; margin: 0 0 2rem; font-variant-numeric: tabular-nums }
.cards b { display: block; font-size: 2rem; line-height: 1.2 }
.cards span { color: var(--soft); font-size: .9rem }
img { width: 100%; border: 1px solid var(--line); border-radius: 6px; background: white }
.wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font: 14px/1.5 system-ui, sans-serif }
table { font-variant-numeric: tabular-nums }
th { text-align: left; color: var(--soft); font-weight: 500; vertical-align: bottom }
td, th { padding: .35rem .8rem .35rem 0; border-bottom: 1px solid var(--line) }
.numbers td, .numbers th { text-align: right }
pre { font: 13px/1.5 ui-monospace, Menlo, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 }
.attempt { border-top: 1px solid var(--line); padding: .8rem 0 }
.attempt p { margin: 0 0 .3rem; font-size: .9rem; color: var(--soft) }
.right { color: var(--good) }
.wrong { color: var(--bad) }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9ec; --soft: #9aa3b2; --line: #2c313c; --good: #58c79b; --bad: #f08a80; --paper: #14171d }
}
"""
