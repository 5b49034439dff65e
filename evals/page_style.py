"""Looks and behaviour of the viewer's page: no fonts, images or scripts from anywhere else."""

STYLE = """
:root { --ink: #1c2024; --soft: #60646c; --line: #e4e5e9; --back: #fbfbfc; --card: #fff; --accent: #3a5bc7;
  --good: #18794e; --good-back: #e6f6eb; --bad: #c62a2f; --bad-back: #ffefef; --odd: #946800; --odd-back: #fff8e0;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", Menlo, Consolas, monospace; }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --soft: #a0a4ab; --line: #2e3135; --back: #111113;
  --card: #18191b; --accent: #9eb1ff; --good: #3dd68c; --good-back: #132d21; --bad: #ff9592; --bad-back: #3b1219;
  --odd: #f5e147; --odd-back: #2d2305; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 5rem; }
h1 { font-size: 1.6rem; font-weight: 650; letter-spacing: -0.015em; margin: 0 0 .25rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.35rem; font-weight: 620; font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .82rem; }
table { border-collapse: collapse; margin: 0 0 1.5rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem 1.5rem .3rem 0; border-bottom: 1px solid var(--line); font-weight: 400; }
th { color: var(--soft); }
nav { position: sticky; top: 0; background: var(--back); padding: .7rem 0; display: flex; gap: .4rem; flex-wrap: wrap;
  border-bottom: 1px solid var(--line); margin-bottom: .9rem; z-index: 1; }
nav button, nav input { font: inherit; font-size: .88rem; color: inherit; background: var(--card);
  border: 1px solid var(--line); border-radius: 7px; padding: .3rem .75rem; }
nav button { cursor: pointer; }
nav button[aria-pressed=true] { border-color: var(--accent); color: var(--accent); }
nav input { flex: 1; min-width: 10rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
details.episode { background: var(--card); border: 1px solid var(--line); border-radius: 10px; margin: .5rem 0; }
details.episode > summary { display: flex; gap: .75rem; align-items: baseline; padding: .6rem .9rem; cursor: pointer;
  list-style: none; }
summary::-webkit-details-marker { display: none; }
.title { font-weight: 550; white-space: nowrap; max-width: 16rem; overflow: hidden; text-overflow: ellipsis; }
.start { color: var(--soft); overflow: hidden; text-overflow: ellipsis; white-space: nowrap; flex: 1; min-width: 0; }
.pill { font-size: .76rem; font-weight: 600; border-radius: 99px; padding: .08rem .6rem; white-space: nowrap; }
.good { color: var(--good); background: var(--good-back); }
.bad { color: var(--bad); background: var(--bad-back); }
.odd { color: var(--odd); background: var(--odd-back); }
.body { padding: 0 .9rem .9rem; border-top: 1px solid var(--line); }
h3 { font-size: .78rem; font-weight: 600; color: var(--soft); margin: 1rem 0 .3rem; text-transform: uppercase;
  letter-spacing: .04em; }
pre { font: .86rem/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; padding: .7rem .85rem;
  border-radius: 8px; border: 1px solid var(--line); background: var(--back); max-height: 34rem; overflow: auto; }
pre.reply { border-left: 3px solid var(--accent); }
@media print { nav { display: none; } }
"""

SCRIPT = """
const buttons = [...document.querySelectorAll('nav button')], box = document.querySelector('nav input');
const episodes = [...document.querySelectorAll('details.episode')], shown = document.getElementById('shown');
let kind = '';
function apply() {
  const words = box.value.toLowerCase(); let count = 0;
  for (const episode of episodes) {
    const fits = (!kind || episode.dataset.kind === kind)
      && (!words || episode.textContent.toLowerCase().includes(words));
    episode.hidden = !fits; count += fits;
  }
  for (const button of buttons) button.setAttribute('aria-pressed', button.dataset.kind === kind);
  shown.textContent = count;
}
for (const button of buttons) button.addEventListener('click', () => { kind = button.dataset.kind; apply(); });
let timer; box.addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(apply, 120); });
document.addEventListener('keydown', event => {
  if (event.target === box || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === '/') { box.focus(); event.preventDefault(); return; }
  if (event.key !== 'j' && event.key !== 'k') return;
  const visible = episodes.filter(episode => !episode.hidden), now = visible.findIndex(episode => episode.open);
  const next = visible[Math.max(0, Math.min(visible.length - 1, now + (event.key === 'j' ? 1 : -1)))];
  if (now >= 0) visible[now].open = false;
  if (next) { next.open = true; next.scrollIntoView({ block: 'center' }); next.firstElementChild.focus(); }
});
apply();
"""
