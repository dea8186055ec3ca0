// Shared parts of the pages: times, states, tables, notices, dialogs, and loading of data.
import { html, useCallback, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { texts, word } from "./texts.js";

// --- Data ---

// The result of `load(signal)`: { data, problem, loading, reload }. Old data stays until new data arrives.
export function useData(load, inputs) {
  const [found, set] = useState({ data: null, problem: null, loading: true });
  const [turn, again] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    set((before) => ({ ...before, loading: true, problem: null }));
    load(gone.signal).then(
      (data) => gone.signal.aborted || set({ data, problem: null, loading: false, at: new Date() }),
      (problem) => gone.signal.aborted || set((before) => ({ ...before, problem, loading: false })),
    );
    return () => gone.abort();
  }, [...inputs, turn]);
  return { ...found, reload: useCallback(() => again((before) => before + 1), []) };
}

// The frame of a `useData`: its content, a problem, or the note that it loads.
export function Loaded({ of, children }) {
  return html`
    ${of.problem && html`<${Notice} kind="bad" action=${html`<button class="quiet" onClick=${of.reload}>${texts.again}</button>`}>${of.problem.message}<//>`}
    ${!of.data && of.loading && html`<p class="faint" role="status">${texts.loading}</p>`}
    ${of.data && html`<div aria-busy=${of.loading ? "true" : null} class="content">${children(of.data)}</div>`}
  `;
}

// --- Frame ---

export function Title({ text, data, children }) {
  useEffect(() => {
    document.title = `${text} · ${texts.product}`;
  }, [text]);
  return html`<div class="title">
    <h1 tabindex="-1">${text}</h1>
    ${children}
    ${data &&
    html`<span class="refresh">
      ${data.at && html`<span class="faint">${data.loading ? texts.loading : `${texts.updated} ${clock(data.at)}`}</span>`}
      <button class="quiet" onClick=${data.reload} disabled=${data.loading}>${texts.refresh}</button>
    </span>`}
  </div>`;
}

export function Notice({ kind = "info", action, children }) {
  return html`<div class="notice ${kind}" role=${kind === "bad" ? "alert" : "status"}><span>${children}</span>${action}</div>`;
}

export function Empty({ text, next }) {
  return html`<p class="empty"><strong>${text}</strong>${next && html`<br />${next}`}</p>`;
}

// --- Words ---

const KINDS = {
  delivered: "good", skipped: "calm", duplicate: "calm", erased: "calm", waiting: "busy", retry: "busy", parked: "warn",
  crashed: "warn", unrouted: "warn", held: "bad", dead_letter: "bad", unreadable: "bad",
};

export function State({ state, unconfirmed = false }) {
  return html`<${Badge} kind=${KINDS[state] ?? "calm"} hint=${unconfirmed ? texts.unconfirmed : null}>${word(texts.states, state)}${unconfirmed ? "*" : ""}<//>`;
}

export const Badge = ({ kind, hint, children }) => html`<span class="badge ${kind}" title=${hint}>${children}</span>`;

// --- Times: the viewer's zone, UTC on hover ---

const DAY_AND_TIME = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

export const clock = (moment) => CLOCK.format(moment);
export const inFull = (moment) => DAY_AND_TIME.format(new Date(moment));

export function Time({ at, form = "short" }) {
  if (!at) return html`<span class="faint">–</span>`;
  const moment = new Date(at);
  const shown = form === "ago" ? ago(moment) : form === "full" ? inFull(moment) : SHORT.format(moment);
  const utc = `${moment.toISOString().replace("T", " ").slice(0, 19)} UTC`;
  return html`<time datetime=${at} title=${form === "ago" ? `${inFull(moment)} (${utc})` : utc}>${shown}</time>`;
}

function ago(moment) {
  const seconds = Math.round((moment - Date.now()) / 1000);
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return AGO.format(Math.trunc(seconds / size), unit);
}

export function duration(seconds) {
  if (seconds == null) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 120) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172800 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const number = (value) => value.toLocaleString("en");

// --- Tables ---

// columns: [{ label, number?, head?, width?, cell(row) }]. The roles stay when a narrow screen lays the rows out as
// cards; `cards` is "cards", "cards compact" (without the columns' names) or "".
export function Table({ label, columns, rows, keyOf, cards = "cards" }) {
  return html`<div class="scroll" role="group" aria-label=${label} tabindex="0">
    <table role="table" class=${cards} aria-label=${label}>
      <thead role="rowgroup">
        <tr role="row">${columns.map((column) => html`<th role="columnheader" scope="col" class=${column.number ? "number" : ""} style=${column.width ? { width: column.width } : null}>${column.label}</th>`)}</tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.map(
          (row, index) => html`<tr role="row" key=${keyOf ? keyOf(row) : index}>
            ${columns.map((column) =>
              column.head
                ? html`<th role="rowheader" scope="row" data-label=${column.label}>${column.cell(row)}</th>`
                : html`<td role="cell" data-label=${column.label} class=${column.number ? "number" : ""}>${column.cell(row)}</td>`,
            )}
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

// --- Fields and dialogs ---

export function Choice({ label, value, options, onChange }) {
  const id = `choose-${label.toLowerCase().replaceAll(" ", "-")}`;
  return html`<span class="choice">
    <label for=${id}>${label}</label>
    <select id=${id} value=${value} onChange=${(event) => onChange(event.target.value)}>
      ${options.map(([code, text]) => html`<option value=${code} selected=${code === value}>${text}</option>`)}
    </select>
  </span>`;
}

// A dialog over the page. Escape and Cancel close the dialog, and the focus returns.
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  return html`<dialog ref=${dialog} aria-label=${title} onClose=${onClose}>
    <article><h2>${title}</h2>${children}</article>
  </dialog>`;
}

// `run` with what it says while it is done and afterwards: [busy, told, start]. `told` is { text, kind }, or null if `run`
// returns nothing as what is shown says it.
export function useAction(run) {
  const [state, set] = useState({ busy: false, told: null });
  const start = async (...given) => {
    set({ busy: true, told: null });
    try {
      const said = await run(...given);
      set({ busy: false, told: said ? { kind: "good", ...said } : null });
    } catch (problem) {
      set({ busy: false, told: { kind: "bad", text: problem.message } });
    }
  };
  return [state.busy, state.told, start];
}
