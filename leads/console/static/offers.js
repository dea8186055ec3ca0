// Offers: the destinations of each, and a form that connects a destination.
import { html, useState } from "../vendor/htm-preact.js";
import { get, post } from "./api.js";
import { Connect } from "./connect.js";
import { Badge, Empty, Loaded, Notice, State, Table, Time, Title, useAction, useData } from "./parts.js";
import { href } from "./router.js";
import { offerName, texts, word } from "./texts.js";

const TEST_SECONDS = 90;
const words = texts.offers;

export function Offers({ query }) {
  const data = useData((signal) => get("/offers", {}, signal), []);
  return html`
    <${Title} text=${words.title} data=${data}><a role="button" href=${href("offers", { connect: "new" })}>${words.connect}</a><//>
    ${query.connect === "new" && html`<${Connect} stored=${null} onSaved=${data.reload} />`}
    <${Loaded} of=${data}>${({ offers }) =>
      offers.length
        ? html`<${Table} label=${words.title} rows=${offers} keyOf=${({ offer }) => offer.id} columns=${[
            { label: words.offer, head: true, cell: ({ offer }) => html`<a href=${href("offers", {}, offer.id)}>${offerName(offer.id)}</a>` },
            { label: words.titles, cell: ({ offer }) => offer.titles.join(", ") || "–" },
            { label: words.destinations, cell: ({ offer }) => offer.destinations.map((each) => `${each.name} (${word(texts.types, each.type)})`).join(", ") },
            { label: words.changed, cell: ({ changed_at: at }) => html`<${Time} at=${at} />` },
          ]} />`
        : html`<${Empty} text=${words.none} next=${words.noneNext} />`}<//>
  `;
}

export function Offer({ id, query }) {
  const data = useData((signal) => get("/offers", {}, signal), [id]);
  return html`
    <p class="crumb"><a href=${href("offers")}>${words.back}</a></p>
    <${Title} text=${offerName(id)} data=${data} />
    <${Loaded} of=${data}>${({ offers }) => {
      const stored = offers.find(({ offer }) => offer.id === id);
      return stored ? html`<${Stored} stored=${stored} query=${query} reload=${data.reload} />` : html`<${Empty} text=${words.unknown} next=${words.noneNext} />`;
    }}<//>
  `;
}

function Stored({ stored: { offer, etag }, query, reload }) {
  const address = `/offers/${encodeURIComponent(offer.id)}`;
  const [busy, told, validate] = useAction(async () => {
    const { destinations } = await post(`${address}/validate`, {});
    const wrong = destinations.filter((each) => !each.ok || each.refusal);
    return wrong.length
      ? { kind: "bad", text: wrong.map((each) => `${each.destination}: ${each.problem || each.refusal}`).join(" ") }
      : { text: words.works };
  });
  return html`
    <section class="panel" aria-labelledby="address">
      <h2 id="address">${words.address}</h2>
      <p>${words.addressText}</p>
      <p><code>${location.origin}/api/leads/${offer.id === "*" ? "" : encodeURIComponent(offer.id)}?code=</code><em>${words.key}</em></p>
    </section>
    <section class="panel" aria-labelledby="destinations">
      <div class="heading"><h2 id="destinations">${words.destinations}</h2> <a href=${href("offers", { connect: "more" }, offer.id)}>${words.more}</a></div>
      <${Table} label=${words.destinations} rows=${offer.destinations} keyOf=${(each) => each.name} columns=${[
        { label: words.name, head: true, cell: (each) => each.name },
        { label: words.type, cell: (each) => word(texts.types, each.type) },
        { label: words.settings, cell: (each) => html`<span dir="auto">${Object.entries(each.settings).filter(([, value]) => value !== null && value !== "").map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(" · ") || "–"}</span>` },
        { label: texts.connections.actions, cell: (each) => html`<a href=${href("offers", { connect: each.name }, offer.id)} aria-label=${`${words.change}: ${each.name}`}>${words.change}</a>` },
      ]} />
      <div class="actions main">
        <button class="quiet" disabled=${busy} onClick=${() => validate()}>${busy ? texts.connections.checking : words.validate}</button>
        <span role="status" class=${`told ${told?.kind ?? ""}`}>${told?.text}</span>
      </div>
    </section>
    ${query.connect && html`<${Connect} stored=${{ offer, etag }} name=${query.connect === "more" ? "" : query.connect} onSaved=${reload} key=${query.connect} />`}
    <${TestLead} address=${address} />
  `;
}

// --- A test lead, until no delivery waits ---

function TestLead({ address }) {
  const [lead, setLead] = useState(null);
  const [busy, told, send] = useAction(async () => {
    setLead(null);
    const { lead_id: id } = await post(`${address}/test-leads`, {});
    const found = await followed(id, setLead);
    return found ? { kind: isWell(found) ? "good" : "bad", text: isWell(found) ? words.arrived : words.notArrived } : { kind: "warn", text: words.stillUnderWay };
  });
  return html`<section class="panel" aria-labelledby="test">
    <h2 id="test">${words.test}</h2>
    <p>${words.testText}</p>
    <button disabled=${busy} onClick=${() => send()}>${busy ? words.sending : words.send}</button>
    <div role="status">
      ${lead && html`<p><a href=${href("leads", {}, lead.lead_id)}>${lead.lead_id}</a> ${lead.deliveries.map((each) => html`${each.destination} <${State} state=${each.state} unconfirmed=${each.unconfirmed} /> ${each.reason} `)}</p>`}
      ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    </div>
  </section>`;
}

const RESTS = ["delivered", "skipped", "duplicate", "dead_letter", "held", "unrouted", "parked", "unreadable", "erased"];
const isWell = (lead) => lead.deliveries.every((each) => ["delivered", "skipped"].includes(each.state));

// The lead when no delivery waits any longer, or null after a time limit.
async function followed(id, show) {
  const until = Date.now() + TEST_SECONDS * 1000;
  while (Date.now() < until) {
    const lead = await get(`/leads/${id}`).catch((problem) => {
      if (problem.status !== 404) throw problem; // the ledger does not know it yet
      return null;
    });
    if (lead) show(lead);
    if (lead?.deliveries.length && lead.deliveries.every((each) => RESTS.includes(each.state))) return lead;
    await new Promise((wake) => setTimeout(wake, 1000));
  }
  return null;
}
