// Connections by offer and destination: the state of each, and the actions of a person.
import { html, useRef, useState } from "../vendor/htm-preact.js";
import { get, post } from "./api.js";
import { Badge, Dialog, Empty, Loaded, Table, Time, Title, useAction, useData } from "./parts.js";
import { href } from "./router.js";
import { offerName, texts, word } from "./texts.js";

const CEILING = "daily_ceiling";
const words = texts.connections;

export function Connections() {
  const data = useData((signal) => get("/status", {}, signal), []);
  return html`
    <${Title} text=${words.title} data=${data} />
    <${Loaded} of=${data}>${(status) => html`<${Lists} status=${status} reload=${data.reload} />`}<//>
  `;
}

function Lists({ status, reload }) {
  const used = status.connections.filter((connection) => connection.used_by.length);
  const unused = status.connections.filter((connection) => !connection.used_by.length);
  const offers = [...new Set(used.flatMap((connection) => connection.used_by.map((use) => use.offer)))].sort();
  const rowsOf = (offer) =>
    used.flatMap((connection) => connection.used_by.filter((use) => use.offer === offer).map((use) => ({ connection, use })));
  return html`
    ${used.length === 0 && html`<${Empty} text=${words.none} next=${words.noneNext} />`}
    ${offers.map(
      (offer, index) => html`<section class="panel" aria-labelledby=${`offer-${index}`}>
        <h2 id=${`offer-${index}`}>${offerName(offer)}</h2>
        <${Rows} label=${offerName(offer)} rows=${rowsOf(offer)} alarms=${status.alarms} reload=${reload} />
      </section>`,
    )}
    ${unused.length > 0 &&
    html`<section class="panel" aria-labelledby="unused">
      <h2 id="unused">${words.unusedTitle}</h2>
      <${Table} label=${words.unusedTitle} rows=${unused} keyOf=${(row) => row.id} columns=${[
        { label: words.destination, head: true, cell: (row) => word(texts.types, row.type) },
        { label: words.state, cell: () => html`<${Badge} kind="calm">${words.unused}<//>` },
        { label: words.lastLead, cell: (row) => html`<${LastLead} connection=${row} />` },
      ]} />
    </section>`}
  `;
}

function Rows({ label, rows, alarms, reload }) {
  return html`<${Table} label=${label} rows=${rows} keyOf=${({ connection, use }) => `${connection.id} ${use.destination}`} columns=${[
    { label: words.destination, width: "24%", head: true, cell: ({ connection, use }) => html`${use.destination || word(texts.types, connection.type)}<br /><span class="faint">${where(connection)}</span>` },
    { label: words.state, cell: (row) => html`<${Health} row=${row} alarms=${alarms} />` },
    { label: words.waiting, width: "7%", number: true, cell: ({ connection }) => connection.waiting || html`<span class="faint">0</span>` },
    { label: words.lastLead, width: "12%", cell: ({ connection }) => html`<${LastLead} connection=${connection} />` },
    { label: words.nextCheck, width: "12%", cell: ({ connection }) => (connection.next_check_at ? html`<${Time} at=${connection.next_check_at} form="ago" />` : html`<span class="faint">${words.noCheck}</span>`) },
    { label: words.actions, width: "17%", cell: (row) => html`<${Actions} ...${row} reload=${reload} />` },
  ]} />`;
}

const where = (connection) =>
  [word(texts.types, connection.type), connection.host || (connection.type === "azure_table" ? words.ownStorage : connection.type === CEILING ? "" : words.noHost)].filter(Boolean).join(" · ");

function Health({ row: { connection, use }, alarms }) {
  const [kind, text] = connection.by_person ? ["warn", words.byPerson]
    : connection.paused ? ["bad", words.paused]
    : connection.failures ? ["warn", words.failing]
    : connection.last_success_at ? ["good", words.working] : ["calm", words.untried];
  const said = connection.health.includes(": ") ? connection.health.slice(connection.health.indexOf(": ") + 2) : "";
  const expiring = alarms.filter(({ event, fields }) => event === "secret_expiring" && fields.offer === use.offer && fields.destination === use.destination);
  const soonest = [...new Map(expiring.map(({ fields }) => [fields.setting, fields])).values()];
  return html`<${Badge} kind=${kind}>${text}<//>
    ${connection.paused && connection.since && html` <span class="faint">${words.since} <${Time} at=${connection.since} /></span>`}
    ${said && html`<p class="reason" dir="auto">${said}</p>`}
    ${soonest.map((fields) => html`<p class="reason"><${Badge} kind="warn">${words.secret(fields.setting, fields.days)}<//> ${words.secretNext(fields.reference)}</p>`)}`;
}

const LastLead = ({ connection }) =>
  connection.last_lead
    ? html`<a href=${href("leads", {}, connection.last_lead)}><${Time} at=${connection.last_success_at} /></a>`
    : html`<${Time} at=${connection.last_success_at} />`;

// --- Actions ---

function Actions({ connection, use, reload }) {
  const [asking, ask] = useState(false);
  const [busy, told, start] = useAction(async (action) => {
    const done = await action();
    if (done.changed) reload();
    return done;
  });
  if (connection.type === CEILING) return null;
  const name = `${offerName(use.offer)} ${use.destination}`;
  const address = `/connections/${encodeURIComponent(connection.id)}`;
  const pause = async (note) => {
    await post(`${address}/pause`, { note });
    return { text: words.pauseDone, changed: true };
  };
  const resume = async () => {
    await post(`${address}/resume`, {});
    return { text: words.resumeDone, changed: true };
  };
  return html`
    <div class="actions">
      <button class="quiet" disabled=${busy} aria-label=${`${words.checkNow}: ${name}`} onClick=${() => start(() => check(use))}>${busy ? words.checking : words.checkNow}</button>
      ${connection.paused
        ? html`<button class="quiet" disabled=${busy} aria-label=${`${words.resume}: ${name}`} onClick=${() => start(resume)}>${words.resume}</button>`
        : html`<button class="quiet" disabled=${busy} aria-label=${`${words.pause}: ${name}`} onClick=${() => ask(true)}>${words.pause}</button>`}
    </div>
    <div role="status" class=${`told ${told?.kind ?? ""}`}>${told?.text}</div>
    ${asking && html`<${Pause} connection=${connection} name=${name} onClose=${() => ask(false)} onPause=${(note) => (ask(false), start(() => pause(note)))} />`}
  `;
}

async function check(use) {
  const { destinations: [found] } = await post(`/offers/${encodeURIComponent(use.offer)}/validate`, {}, { destination: use.destination });
  if (!found.ok) return { kind: "bad", text: found.problem };
  const text = [words.checked, found.problem, found.refusal && `${words.refusedLast} ${found.refusal}`].filter(Boolean).join(" ");
  return { kind: found.problem || found.refusal ? "warn" : "good", text };
}

function Pause({ connection, name, onClose, onPause }) {
  const note = useRef(null);
  const [wrong, setWrong] = useState(false);
  const users = connection.used_by.map((use) => `${offerName(use.offer)} ${use.destination}`).join(", ");
  const submit = (event) => {
    event.preventDefault();
    const text = note.current.value.trim();
    if (text) onPause(text);
    else setWrong(true);
  };
  return html`<${Dialog} title=${words.pauseTitle(name)} onClose=${onClose}>
    <p>${words.pauseText(users)}</p>
    <form onSubmit=${submit} novalidate>
      <label>${words.note}
        <input ref=${note} name="note" maxlength="500" required autocomplete="off" aria-invalid=${wrong ? "true" : null} aria-describedby="note-hint" />
      </label>
      <small id="note-hint">${words.noteHint}</small>
      <footer><button type="button" class="quiet" onClick=${onClose}>${texts.cancel}</button> <button type="submit">${words.pause}</button></footer>
    </form>
  <//>`;
}
