// The overview: figures, health and the curve of the last three minutes.

import { refresh } from "./app.js";
import { chart } from "./charts.js";
import { onTick } from "./live.js";

const KEPT = 180;
const place = document.getElementById("rates");
const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const past = [];

function showFigures(figures) {
  for (const element of document.querySelectorAll("[data-figure]")) {
    const value = figures[element.dataset.figure];
    element.querySelector("[data-value]").textContent = value === null ? "–" : numbers.format(value);
  }
  const figure = (name) => document.querySelector(`[data-figure="${name}"]`).classList;
  figure("errors").toggle("bad", figures.errors > 0);
  figure("lag_events").toggle("warn", figures.lag_s > 5);
  document.querySelector('[data-value-of="processes"]').textContent = figures.processes;
  for (const [part, said] of Object.entries(figures.trouble)) {
    const row = document.querySelector(`[data-part="${part}"]`);
    if (!row) continue;
    const tag = row.querySelector("[data-tag]");
    tag.className = `tag ${said ? "bad" : "good"}`;
    tag.textContent = said ? "Trouble" : "Well";
    row.querySelector("[data-said]").textContent = said;
  }
}

// Who is turned away leaves nothing in the ledger, which is what lists follow: the page is fetched again while somebody
// is, and once behind it.
let turnsAway = false;
let refreshedAt = 0;

function followLostDemand(figures) {
  const told = turnsAway;
  turnsAway = figures.rejections > 0;
  if (!turnsAway && !told) return;
  if (turnsAway && Date.now() - refreshedAt < 3000) return;
  refreshedAt = Date.now();
  refresh();
}

onTick((tick) => {
  if (!tick.figures) return;
  showFigures(tick.figures);
  followLostDemand(tick.figures);
  past.push([tick.at, tick.figures]);
  while (past.length && past[0][0] < tick.at - KEPT * 1000) past.shift();
  if (past.length < 2) return;
  place.querySelector(".chart-empty")?.remove();
  const series = [
    ["reserves", "", true],
    ["confirms", "plain", false],
    ["rejections", "lost", false],
  ].map(([name, kind, area]) => ({ kind, area, points: past.map(([at, figures]) => [at, figures[name]]) }));
  chart(place, {
    series,
    fromMs: tick.at - KEPT * 1000,
    toMs: tick.at,
    floor: 5,
    label: `Reserved, confirmed and turned away a second in the last ${KEPT / 60} minutes`,
  });
});
