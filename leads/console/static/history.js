// History: who changed something or viewed personal data.
import { html } from "../vendor/htm-preact.js";
import { get } from "./api.js";
import { Badge, Empty, Loaded, Table, Time, Title, useData } from "./parts.js";
import { href } from "./router.js";
import { texts, word } from "./texts.js";

const PAGE = 50;
const LEAD = /^\d{17}-[0-9a-f]{12}-[0-9a-f]$/;
const words = texts.history;

export function History({ query }) {
  const cursor = query.cursor ?? "";
  const data = useData((signal) => get("/audit", { cursor, limit: PAGE }, signal), [cursor]);
  return html`
    <${Title} text=${words.title} data=${data} />
    <p>${words.intro}</p>
    <${Loaded} of=${data}>${(page) => html`<${Entries} page=${page} cursor=${cursor} />`}<//>
  `;
}

function Entries({ page, cursor }) {
  if (!page.entries.length) return html`<${Empty} text=${words.none} next=${words.noneNext} />`;
  return html`
    <${Table} label=${words.title} rows=${page.entries} columns=${[
      { label: words.at, head: true, cell: (entry) => html`<${Time} at=${entry.at} form="full" />` },
      { label: words.what, cell: (entry) => html`${word(words.operations, entry.operation)} ${entry.kind === "personal_data" && html`<${Badge} kind="warn">${words.personal}<//>`}` },
      { label: words.about, cell: (entry) => (LEAD.test(entry.about) ? html`<a href=${href("leads", {}, entry.about)}>${entry.about}</a>` : html`<span dir="auto">${entry.about || "–"}</span>`) },
      { label: words.who, cell: (entry) => (entry.by === "entra" ? html`<code>${entry.who}</code>` : word(words.by, entry.by)) },
      { label: words.level, cell: (entry) => word(texts.levels, entry.level) },
    ]} />
    <nav class="paging" aria-label=${texts.leads.paging}>
      ${cursor && html`<a href=${href("history")}>${texts.leads.newest}</a>`}
      ${page.cursor && html`<a href=${href("history", { cursor: page.cursor })}>${texts.leads.older}</a>`}
    </nav>
  `;
}
