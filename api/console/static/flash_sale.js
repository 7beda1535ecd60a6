// A flash sale: the course so far comes from the ledger every few seconds, the counters in between with every tick.

import { chart } from "./charts.js";
import { onTick } from "./live.js";
import { duration } from "./times.js";

const ASK_EVERY_MS = 3000;
const sale = document.getElementById("sale");
const sku = sale.dataset.sku;
const minutes = Number(sale.dataset.minutes);
const numbers = new Intl.NumberFormat("en-US", { maximumFractionDigits: 1 });
const lost = []; // [ms, units turned away in all]
const levels = []; // [ms, on hand, held]
let course = JSON.parse(sale.dataset.course);
let askedAt = Date.now();
let asking = false;
let at = course.from_ms + minutes * 60_000 + course.step_ms;

function put(name, text) {
  const element = document.querySelector(`[data-value-of="${name}"]`);
  if (element.textContent !== text) element.textContent = text;
}

function show() {
  const fromMs = at - minutes * 60_000;
  let sold = 0;
  const curve = [[fromMs, 0]];
  for (const [ms, , , units] of course.columns) {
    if (ms + course.step_ms < fromMs) continue;
    curve.push([Math.max(fromMs, ms), sold]); // flat where nothing was sold
    sold += units;
    curve.push([Math.min(at, ms + course.step_ms), sold]);
  }
  // What the counters say is ahead of the ledger by what was sold since the course was fetched.
  const now = levels.at(-1) ?? [at, course.on_hand, course.reserved];
  const soldNow = sold + Math.max(0, course.on_hand - now[1]);
  curve.push([at, soldNow]);
  const held = levels
    .filter(([ms]) => ms >= fromMs)
    .map(([ms, onHand, reserved]) => [ms, soldNow - Math.max(0, onHand - now[1]) + reserved]);
  const all = soldNow + Math.max(0, now[1] - course.safety_stock);
  put("sold", numbers.format(soldNow));
  put("pace", numbers.format(course.pace));
  const left = course.pace > 0 ? Math.max(0, now[1] - course.safety_stock) / course.pace : null;
  const free = now[1] - now[2] - course.safety_stock;
  let gone = left === null ? "–" : left > 86_400 ? "a day or more" : duration(left);
  if (free <= 0) gone = all <= soldNow ? "sold out" : "all held";
  put("gone", gone);
  chart(document.getElementById("through"), {
    series: [
      { kind: "plain", points: [[fromMs, all], [at, all]] },
      { kind: "held", points: held },
      { kind: "", points: curve, area: true },
    ],
    fromMs,
    toMs: at,
    floor: 5,
    label: `Units of ${sku} sold in the last ${minutes} minutes: ${soldNow} of ${all}`,
  });
  const items = course.columns.filter(([ms]) => ms >= fromMs);
  chart(document.getElementById("against"), {
    columns: {
      kinds: ["held", "sold"],
      widthMs: course.step_ms,
      items: items.map(([ms, holds, sales]) => [ms, { held: holds, sold: sales }]),
    },
    fromMs,
    toMs: at,
    floor: 4,
    label: `Holds of ${sku} made and confirmed, every ${course.step_ms / 1000} seconds`,
  });
  const late = document.getElementById("late");
  if (lost.length > 1 && lost.at(-1)[1] > lost[0][1]) {
    late.querySelector(".chart-empty")?.remove();
    chart(late, {
      series: [{ kind: "lost", area: true, points: lost.map(([ms, units]) => [ms, units - lost[0][1]]) }],
      fromMs: lost[0][0],
      toMs: at,
      floor: 4,
      label: `Units of ${sku} asked for in vain since this page was opened`,
    });
  }
}

async function ask() {
  asking = true;
  try {
    const answer = await fetch(`/console/flash-sale/course?sku=${encodeURIComponent(sku)}&minutes=${minutes}`, {
      headers: { accept: "application/json" },
    });
    if (answer.ok) course = await answer.json();
  } catch {
    // The mark at the top says that there is no connection; the next tick asks again.
  }
  asking = false;
  askedAt = Date.now();
}

show();
onTick((tick) => {
  at = tick.at;
  const counters = tick.stock[sku];
  if (counters) levels.push([tick.at, counters[0], counters[1]]);
  const turnedAway = tick.lost[sku] ?? [0, 0];
  lost.push([tick.at, turnedAway[1]]);
  put("lost", numbers.format(turnedAway[1]));
  put("lost-requests", numbers.format(turnedAway[0]));
  put("lost-units", numbers.format(turnedAway[1]));
  if (levels.length > 3600) levels.splice(0, 600);
  if (lost.length > 3600) lost.splice(1, 600);
  if (!asking && Date.now() - askedAt > ASK_EVERY_MS) ask();
  show();
});
addEventListener("resize", show);
