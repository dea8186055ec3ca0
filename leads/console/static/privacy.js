// Privacy: shows and erases the data about an e-mail address, at the level personal.
import { html, useRef, useState } from "../vendor/htm-preact.js";
import { inSteps, signedInAs } from "./api.js";
import { Badge, Dialog, Empty, Notice, State, Table, Time, Title, useAction } from "./parts.js";
import { href } from "./router.js";
import { offerName, texts, word } from "./texts.js";

const words = texts.privacy;

export function Privacy() {
  return html`
    <${Title} text=${words.title} />
    ${signedInAs().personalData ? html`<${Requests} />` : html`<${Empty} text=${words.notAllowed} next=${words.notAllowedNext} />`}
  `;
}

function Requests() {
  const email = useRef(null);
  const [asked, setAsked] = useState("");
  const [held, setHeld] = useState(null);
  const [erased, setErased] = useState(null);
  const [asking, ask] = useState(false);
  const [looked, setLooked] = useState(0);
  const [busy, told, start] = useAction(async (address) => {
    const found = { leads: [], customers: [], messages: [], handedOver: [], mentions: [] };
    await inSteps("/access", { email: address }, (part) => {
      found.leads.push(...part.leads);
      found.customers.push(...part.customers);
      found.messages.push(...part.messages);
      found.mentions.push(...part.mentions);
      found.erasedAt = part.erased_at ?? found.erasedAt;
      setLooked((before) => before + part.looked_at);
    });
    setHeld(found);
  });
  const look = (event) => {
    event.preventDefault();
    const address = email.current.value.trim();
    if (!address) return;
    setAsked(address);
    setHeld(null);
    setErased(null);
    setLooked(0);
    start(address);
  };
  return html`
    <form class="filter" onSubmit=${look}>
      <label class="choice"><span>${words.email}</span> <input ref=${email} type="email" required autocomplete="off" spellcheck="false" /></label>
      <button type="submit" disabled=${busy}>${words.look}</button>
    </form>
    <p role="status" class="faint">${busy && words.looking(looked)}</p>
    ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    ${held && html`<${Held} found=${held} email=${asked} onErase=${() => ask(true)} />`}
    ${erased && html`<${Erased} done=${erased} />`}
    ${asking && html`<${EraseDialog} email=${asked} onClose=${() => ask(false)} onDone=${(done) => (ask(false), setHeld(null), setErased(done))} />`}
  `;
}

function Held({ found, email, onErase }) {
  const said = found.leads.filter((lead) => Object.keys(lead.said).length || lead.body);
  const emptied = found.leads.length - said.length;
  if (!said.length && !found.customers.length && !found.messages.length) return html`<${Empty} text=${words.nothing(email)} next=${found.erasedAt ? html`${words.erasedBefore} <${Time} at=${found.erasedAt} form="full" />. ${emptied > 0 && words.emptied(emptied)}` : words.nothingNext} />`;
  const copies = found.leads.flatMap((lead) => lead.handed_over);
  return html`
    <section class="panel" aria-labelledby="held">
      <div class="heading"><h2 id="held">${words.held(email)}</h2> <button onClick=${onErase}>${words.erase}</button></div>
      <${Table} label=${words.leads} rows=${said} keyOf=${(row) => `${row.place} ${row.key}`} columns=${[
        { label: words.received, head: true, cell: ({ lead }) => html`<a href=${href("leads", {}, lead.lead_id)}><${Time} at=${lead.received_at} form="full" /></a>` },
        { label: words.offer, cell: ({ lead }) => (lead.offer ? offerName(lead.offer) : texts.noOffer) },
        { label: words.state, cell: ({ lead }) => html`<${State} state=${lead.state} />` },
        { label: words.said, cell: ({ said, body }) => html`<span dir="auto">${[said.first_name, said.last_name, said.company].filter(Boolean).join(" ") || body.slice(0, 80)}</span>` },
      ]} />
      ${found.messages.length > 0 && html`<p>${words.messages(found.messages.length)}</p>`}
      ${found.mentions.length > 0 && html`<p>${words.mentions} ${found.mentions.map((id) => html`<a href=${href("leads", {}, id)}>${id}</a> `)}</p>`}
    </section>
    ${copies.length > 0 && html`<${Copies} title=${words.copies} copies=${copies} />`}
  `;
}

function Copies({ title, copies }) {
  return html`<section class="panel" aria-label=${title}>
    <h2>${title}</h2>
    <${Table} label=${title} rows=${copies} columns=${[
      { label: words.destination, head: true, cell: (copy) => `${word(texts.types, copy.type)} · ${copy.destination}` },
      { label: words.record, cell: (copy) => (copy.link ? html`<a href=${copy.link} rel="noreferrer noopener" target="_blank">${copy.record_id}</a>` : copy.place || copy.record_id || "–") },
      { label: words.certainty, cell: (copy) => html`<${Badge} kind=${copy.removed ? "good" : "warn"}>${copy.removed ? words.removed : copy.certain ? words.there : words.perhaps}<//>` },
    ]} />
  </section>`;
}

function EraseDialog({ email, onClose, onDone }) {
  const [looked, setLooked] = useState(0);
  const [busy, told, start] = useAction(async () => {
    const done = { rows: 0, left: [], copies: [] };
    await inSteps("/erasures", { email }, (part) => {
      done.rows += part.traces.filter((entry) => !entry.left).length;
      done.left.push(...part.traces.filter((entry) => entry.left));
      done.copies.push(...part.handed_over);
      setLooked((before) => before + part.looked_at);
    });
    onDone(done);
  });
  return html`<${Dialog} title=${words.eraseTitle} onClose=${busy ? () => {} : onClose}>
    <p>${words.eraseText(email)}</p>
    <p role="status">${busy && words.erasing(looked)}</p>
    ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    <footer>
      <button type="button" class="quiet" disabled=${busy} onClick=${onClose}>${texts.cancel}</button>
      <button type="button" disabled=${busy} onClick=${() => start()}>${words.eraseNow}</button>
    </footer>
  <//>`;
}

function Erased({ done }) {
  return html`
    <${Notice} kind=${done.left.length ? "warn" : "good"}>${words.erased(done.rows)}<//>
    ${done.left.length > 0 && html`<section class="panel"><h2>${words.left}</h2><ul class="plan">${done.left.map((entry) => html`<li>${entry.what}: <code>${entry.place} ${entry.key}</code></li>`)}</ul></section>`}
    ${done.copies.length > 0 && html`<${Copies} title=${words.copiesLeft} copies=${done.copies} />`}
  `;
}
