"use strict";
// What the page does by itself beside htmx: it tells screen readers what a swap changed, and draws the growth chart.
(() => {
  const announce = (part) => {
    const place = document.getElementById("announce");
    const said = part?.dataset?.announce;
    if (place && said && place.textContent !== said) place.textContent = said;
  };

  const bytes = (value) => {
    const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let at = 0;
    while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
    return `${at ? value.toFixed(1) : value} ${units[at]}`;
  };

  const draw = () => {
    const chart = document.getElementById("chart");
    const table = chart && document.getElementById(chart.dataset.table);
    if (!table || typeof uPlot === "undefined") return;
    const rows = [...table.querySelectorAll("tbody tr")];
    const data = [rows.map((row) => Number(row.dataset.at)), rows.map((row) => Number(row.dataset.bytes))];
    const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    const axis = { stroke: color("--faint"), grid: { stroke: color("--line") }, ticks: { stroke: color("--line") } };
    chart.replaceChildren();
    new uPlot({
      width: chart.clientWidth, height: 180, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
      axes: [axis, { ...axis, size: 70, values: (_, marks) => marks.map(bytes) }],
      series: [{}, {
        stroke: color("--accent"), fill: color("--accent-soft"), width: 2, paths: uPlot.paths.stepped({ align: 1 }),
        points: { show: rows.length < 40 },
      }],
    }, data, chart);
  };

  document.addEventListener("htmx:afterSettle", (event) => announce(document.getElementById(event.detail.elt.id)));
  document.addEventListener("DOMContentLoaded", draw);
  let waiting;
  window.addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
