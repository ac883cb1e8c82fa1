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
    // Days, or hours of one; sizes at powers of two.
    const days = data[0].at(-1) - data[0][0] > 172800;
    const times = (_, marks) => marks.map((mark) => new Date(mark * 1000).toISOString().slice(...(days ? [5, 10] : [11, 16])));
    const steps = Array.from({ length: 40 }, (_, power) => 2 ** (power + 10));
    const axis = { stroke: color("--faint"), grid: { stroke: color("--line") }, ticks: { stroke: color("--line") } };
    chart.replaceChildren();
    new uPlot({
      width: chart.clientWidth - 16, height: 180, tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"), legend: { show: false }, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, (high || 1) * 1.1] } },
      axes: [{ ...axis, values: times }, { ...axis, size: 70, incrs: steps, values: (_, marks) => marks.map(bytes) }],
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
