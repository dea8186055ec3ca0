// Lists: which leads of a downloaded list never arrived, a dry run of an import, and the import.
import { html, useRef, useState } from "../vendor/htm-preact.js";
import { get, post } from "./api.js";
import { dateOrder, readCsv } from "./csv.js";
import { Badge, Choice, Notice, State, Table, Title, useAction, useData } from "./parts.js";
import { href } from "./router.js";
import { leads, offerName, texts } from "./texts.js";

const ROWS_AT_ONCE = 200;
const BYTES_AT_ONCE = 400_000; // a request holds 1 MiB at most
const SHOWN = 200;
const words = texts.lists;
const KINDS = { missing: "warn", known: "good", twice: "calm", bad: "bad" };

export function Lists() {
  const offers = useData((signal) => get("/offers", {}, signal), []);
  const [list, setList] = useState(null);
  const [wrong, setWrong] = useState("");
  const [how, setHow] = useState({ offer: "", dates: "" });
  const take = async (file) => {
    if (!file) return;
    const found = readCsv(await file.text());
    setWrong(found?.rows.length ? "" : found ? words.empty : words.noCsv);
    const order = found ? dateOrder(found.rows) : "";
    setHow((before) => ({ ...before, dates: order === "mixed" ? "" : order }));
    setList(found?.rows.length ? { ...found, name: file.name, isMixed: order === "mixed" } : null);
  };
  return html`
    <${Title} text=${words.title} />
    <${Drop} onFile=${take} />
    ${wrong && html`<${Notice} kind="bad">${wrong}<//>`}
    ${list &&
    html`<section class="panel" aria-labelledby="list" key=${list.name + list.rows.length}>
      <h2 id="list">${list.name}</h2>
      <p>${words.read(list.rows.length, list.columns.filter(Boolean).length)}</p>
      <div class="filter">
        <${Choice} label=${words.offer} value=${how.offer} onChange=${(offer) => setHow({ ...how, offer })} options=${[["", words.byList], ...(offers.data?.offers ?? []).map((each) => [each.offer.id, offerName(each.offer.id)])]} />
        <${Choice} label=${words.dates} value=${how.dates} onChange=${(dates) => setHow({ ...how, dates })} options=${Object.entries(words.dateOrders)} />
      </div>
      ${list.isMixed && !how.dates && html`<${Notice} kind="warn">${words.mixed}<//>`}
      <${Work} list=${list} how=${how} key=${JSON.stringify(how)} />
    </section>`}
  `;
}

function Drop({ onFile }) {
  const input = useRef(null);
  const [over, setOver] = useState(false);
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    onFile(event.dataTransfer.files[0]);
  };
  return html`<div class=${over ? "drop over" : "drop"} onDragOver=${(event) => (event.preventDefault(), setOver(true))} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <label>${words.choose} <input ref=${input} type="file" accept=".csv,text/csv" onChange=${() => onFile(input.current.files[0])} /></label>
    <small>${words.hint}</small>
  </div>`;
}

function Work({ list, how }) {
  const isUnclear = list.isMixed && !how.dates;
  const [progress, setProgress] = useState(0);
  const [judged, setJudged] = useState(null);
  const [onlyRecord, setOnlyRecord] = useState(false);
  const run = async (path, more = {}) => {
    const found = { rows: [], unknown: new Set() };
    setProgress(0);
    for (const rows of batches(list.rows)) {
      const part = await post(path, { rows, offer: how.offer, dates: how.dates || null, ...more });
      found.rows.push(...part.rows);
      part.unknown_columns.forEach((name) => found.unknown.add(name));
      setProgress(found.rows.length);
    }
    return found;
  };
  const policy = onlyRecord ? "record" : "send";
  const [comparing, compared, compare] = useAction(async () => void setJudged({ ...(await run("/reconcile")), what: "compared" }));
  const [importing, imported, take] = useAction(async (dry_run) => void setJudged({ ...(await run("/import/rows", { policy, dry_run })), what: dry_run ? "planned" : "imported" }));
  const busy = comparing || importing || isUnclear;
  const told = compared ?? imported;
  const missing = judged?.rows.filter((row) => row.verdict === "missing").length ?? 0;
  return html`
    <div class="actions main">
      <button disabled=${busy} onClick=${() => compare()}>${words.compare}</button>
      <button class="quiet" disabled=${busy} onClick=${() => take(true)}>${words.plan}</button>
      <label class="check"><input type="checkbox" checked=${onlyRecord} disabled=${busy} onChange=${(event) => (setOnlyRecord(event.target.checked), setJudged(null))} /> ${words.onlyRecord}</label>
    </div>
    ${(comparing || importing) && html`<p role="status">${words.progress(progress, list.rows.length)} <progress value=${progress} max=${list.rows.length} aria-label=${words.working}></progress></p>`}
    ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    ${judged && !busy && html`<${Judged} judged=${judged} list=${list} />`}
    ${judged?.what === "planned" && missing > 0 && !busy && html`<button onClick=${() => take(false)}>${onlyRecord ? words.recordNow(missing) : words.importNow(missing)}</button>`}
  `;
}

function* batches(rows) {
  let batch = [], bytes = 0;
  for (const row of rows) {
    const size = JSON.stringify(row).length * 2;
    if (batch.length && (batch.length === ROWS_AT_ONCE || bytes + size > BYTES_AT_ONCE)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(row);
    bytes += size;
  }
  if (batch.length) yield batch;
}

// The first words of a row, as in the file.
const shown = (rows, number) =>
  Object.values(rows.find((row) => row.number === number)?.record ?? {}).filter((cell) => cell.trim()).slice(0, 4).join(", ");

function Judged({ judged, list }) {
  const counts = Object.keys(KINDS).map((verdict) => [verdict, judged.rows.filter((row) => row.verdict === verdict).length]);
  const told = judged.rows.filter((row) => row.verdict !== "known").slice(0, SHOWN);
  const names = words.verdicts[judged.what];
  return html`
    <p role="status">${counts.filter(([, count]) => count).map(([verdict, count]) => html`<${Badge} kind=${KINDS[verdict]}>${count.toLocaleString("en")} ${names[verdict]}<//> `)}</p>
    ${judged.unknown.size > 0 && html`<p>${words.unknown} ${[...judged.unknown].map((name) => html`<code dir="auto">${name}</code> `)}</p>`}
    ${told.length === 0
      ? html`<p>${judged.what === "compared" ? words.allThere : words.nothingToDo}</p>`
      : html`<${Table} label=${words.rows} rows=${told} keyOf=${(row) => row.number} columns=${[
          { label: words.line, width: "5%", head: true, cell: (row) => row.number },
          { label: words.row, cell: (row) => html`<span dir="auto">${shown(list.rows, row.number)}</span>` },
          { label: words.result, cell: (row) => html`<${Badge} kind=${KINDS[row.verdict]}>${names[row.verdict]}<//>` },
          { label: words.lead, cell: (row) => (row.state ? html`<a href=${href("leads", {}, row.lead_id)}>${row.lead_id}</a> <${State} state=${row.state} />` : "–") },
          { label: words.reason, cell: (row) => html`<span dir="auto">${row.reason || "–"}</span>` },
        ]} />`}
    ${judged.rows.length - judged.rows.filter((row) => row.verdict === "known").length > SHOWN && html`<p class="faint">${words.more(SHOWN)} ${leads(judged.rows.length)}.</p>`}
  `;
}
