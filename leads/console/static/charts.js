// Charts by uPlot, each with its numbers in a table to copy or export.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { Table, number } from "./parts.js";
import { texts } from "./texts.js";

const COLOURS = 8;
const HEIGHT = 240;
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const DARK = matchMedia("(prefers-color-scheme: dark)");

export const dayName = (day) => DAY.format(new Date(`${day}T00:00Z`));

// Stacked bars. days: ["2026-01-31", …]; series: [{ label, values }], the first at the bottom.
export function StackedBars({ days, series, label }) {
  const box = useRef(null);
  const [hovered, hover] = useState(null);
  const [dark, setDark] = useState(DARK.matches);
  useEffect(() => {
    const changed = () => setDark(DARK.matches);
    DARK.addEventListener("change", changed);
    return () => DARK.removeEventListener("change", changed);
  }, []);
  useEffect(() => {
    const chart = draw(box.current, days, series, hover);
    const sized = new ResizeObserver(() => chart.setSize({ width: box.current.clientWidth, height: HEIGHT }));
    sized.observe(box.current);
    return () => {
      sized.disconnect();
      chart.destroy();
    };
  }, [days, series, dark]);
  const total = (at) => series.reduce((sum, each) => sum + each.values[at], 0);
  return html`<figure>
    <div ref=${box} class="chart" role="img" aria-label=${label}></div>
    <figcaption>
      <ul class="legend" aria-hidden="true">
        ${series.map((each, index) => html`<li><i class="colour c${(index % COLOURS) + 1}"></i>${each.label}${hovered != null ? html` <b>${number(each.values[hovered])}</b>` : ""}</li>`)}
        ${hovered != null && html`<li class="day">${dayName(days[hovered])}: <b>${number(total(hovered))}</b></li>`}
      </ul>
    </figcaption>
  </figure>`;
}

function draw(box, days, series, hover) {
  const style = getComputedStyle(box);
  const colour = (name) => style.getPropertyValue(name).trim();
  const sums = [];
  for (const each of series) sums.push(each.values.map((value, at) => value + (sums.at(-1)?.[at] ?? 0)));
  const drawn = sums.map((values, index) => ({ values, index })).reverse(); // the highest bar first, the others in front of it
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: `12px ${style.fontFamily}` };
  return new uPlot(
    {
      width: box.clientWidth,
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: false, range: [-0.6, days.length - 0.4] }, y: { range: (_, __, most) => [0, Math.max(1, most * 1.05)] } },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 56, incrs: [1, 2, 7, 14, 28], values: (_, marks) => marks.map((at) => (days[at] ? dayName(days[at]) : "")) },
        { ...axis, size: 44, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000], values: (_, marks) => marks.map(number) },
      ],
      series: [
        {},
        ...drawn.map(({ index }) => ({
          fill: colour(`--c${(index % COLOURS) + 1}`),
          width: 0,
          points: { show: false },
          paths: uPlot.paths.bars({ size: [0.78, 56] }),
        })),
      ],
      hooks: { setCursor: [(chart) => hover(chart.cursor.idx ?? null)] },
    },
    [days.map((_, at) => at), ...drawn.map(({ values }) => values)],
    box,
  );
}

// A share as a bar beside its number.
export const Bar = ({ share }) => html`<span class="bar" aria-hidden="true"><i style=${{ width: `${Math.max(share > 0 ? 1 : 0, share * 100)}%` }}></i></span>`;

// The numbers behind a chart. columns: [{ label, value(row), number? }].
export function Numbers({ name, columns, rows }) {
  const [told, tell] = useState("");
  const text = (separator) => [columns.map((column) => column.label), ...rows.map((row) => columns.map((column) => column.value(row)))].map((cells) => cells.map((cell) => cellText(cell, separator)).join(separator)).join("\r\n");
  const copy = async () => {
    await navigator.clipboard.writeText(text("\t"));
    tell(texts.copied);
  };
  const save = () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", text(","), "\r\n"], { type: "text/csv;charset=utf-8" }));
    link.download = `${name}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return html`<details class="numbers">
    <summary>${texts.numbers}</summary>
    <p><button class="quiet" onClick=${copy}>${texts.copy}</button> <button class="quiet" onClick=${save}>${texts.exported}</button> <span role="status">${told}</span></p>
    <${Table} label=${name} cards="" rows=${rows} columns=${columns.map((column, index) => ({ label: column.label, number: column.number, head: index === 0, cell: (row) => (column.number ? number(column.value(row)) : column.value(row)) }))} />
  </details>`;
}

// A text that looks like a formula gets an apostrophe.
function cellText(cell, separator) {
  const text = typeof cell === "string" && /^[=+\-@\t\r]/.test(cell) ? `'${cell}` : String(cell ?? "");
  return separator === "," && /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text.replaceAll("\t", " ");
}
