// A lead: its state at each destination, each attempt, and sending it again.
import { html, useState } from "../vendor/htm-preact.js";
import { get, post } from "./api.js";
import { Badge, Dialog, Loaded, Notice, State, Table, Time, Title, duration, useAction, useData } from "./parts.js";
import { Repairs } from "./repairs.js";
import { href } from "./router.js";
import { offerName, texts, word } from "./texts.js";

const words = texts.lead;

export function Lead({ id, session }) {
  const address = `/leads/${encodeURIComponent(id)}`;
  const data = useData((signal) => get(address, {}, signal), [id]);
  return html`
    <p class="crumb"><a href=${href("leads")}>${words.back}</a></p>
    <${Title} text=${words.title} data=${data}><code class="id">${id}</code><//>
    <${Loaded} of=${data}>${(lead) => html`
      <${Facts} lead=${lead} />
      <${Replay} lead=${lead} address=${address} reload=${data.reload} />
      <${Repairs} lead=${lead} address=${address} session=${session} reload=${data.reload} />
      <div class="columns">${lead.deliveries.map((delivery) => html`<${Delivery} delivery=${delivery} />`)}</div>
      ${session.personalData && html`<${Customer} address=${address} />`}
    `}<//>
  `;
}

function Facts({ lead }) {
  const named = Object.entries(lead.named_offer).map(([name, text]) => html`<span dir="auto">${word(words.namedBy, name)}: <code>${text}</code></span> `);
  const facts = [
    [texts.leads.state, html`<${State} state=${lead.state} /> ${lead.is_test && html`<${Badge} kind="calm">${words.test}<//>`}`],
    [words.received, html`<${Time} at=${lead.received_at} form="full" />`],
    [words.offer, offerName(lead.offer)],
    [words.stage, word(texts.stages, lead.stage)],
    [words.source, html`<span dir="auto">${word(texts.sources, lead.source)}</span>`],
    [words.action, html`<span dir="auto">${lead.action}</span>`],
    [words.names, named.length ? named : ""],
    ["", word(words.imported, lead.imported)],
    [words.corrects, lead.corrects && html`<a href=${href("leads", {}, lead.corrects)}><code>${lead.corrects}</code></a>`],
    [words.emptied, lead.emptied_at && html`<${Time} at=${lead.emptied_at} />`],
  ];
  return html`<dl class="facts panel">${facts.filter(([, value]) => value).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`;
}

function Delivery({ delivery }) {
  const title = delivery.destination || words.unroutedTitle;
  const facts = [
    [words.record, delivery.record_id && html`<code>${delivery.record_id}</code>`],
    [words.dismissed, delivery.dismissed && html`<span dir="auto">${delivery.dismissed}</span>`],
    [words.nextTry, delivery.next_at && html`<${Time} at=${delivery.next_at} form="ago" />`],
    [words.duplicateOf, delivery.duplicate_of && html`<a href=${href("leads", {}, delivery.duplicate_of)}><code>${delivery.duplicate_of}</code></a>`],
    [words.repeatOf, delivery.repeat_of && html`<a href=${href("leads", {}, delivery.repeat_of)}><code>${delivery.repeat_of}</code></a>`],
  ].filter(([, value]) => value);
  return html`<section class="panel" aria-label=${title}>
    <h2>${title} <${State} state=${delivery.state} unconfirmed=${delivery.unconfirmed} /></h2>
    ${delivery.unconfirmed && html`<p class="faint">* ${texts.unconfirmed}</p>`}
    ${delivery.reason && html`<p class="reason" dir="auto">${delivery.reason}</p>`}
    ${delivery.possibly_twice && html`<${Notice} kind="warn">${words.possiblyTwice}<//>`}
    ${facts.length > 0 && html`<dl class="facts">${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>`}
    ${delivery.attempts.length === 0
      ? html`<p class="faint">${words.noAttempts}</p>`
      : html`<${Table} label=${`${words.timeline}: ${title}`} rows=${delivery.attempts} columns=${[
          { label: words.at, head: true, cell: (attempt) => html`<${Time} at=${attempt.at} form="full" />` },
          { label: words.outcome, cell: (attempt) => word(texts.outcomes, attempt.outcome) },
          { label: words.code, cell: (attempt) => (attempt.code ? html`<a href=${href("leads", { reason: attempt.code })} title=${words.sameCode}><code>${attempt.code}</code></a>` : "–") },
          { label: words.took, number: true, cell: (attempt) => duration(attempt.milliseconds / 1000) },
          ...(delivery.attempts.some((attempt) => attempt.next_at) ? [{ label: words.next, cell: (attempt) => html`<${Time} at=${attempt.next_at} />` }] : []),
        ]} />`}
  </section>`;
}

// --- Sending again: first a dry run, then the replay ---

function Replay({ lead, address, reload }) {
  const [asking, ask] = useState(false);
  const [told, tell] = useState("");
  const done = (sent) => {
    ask(false);
    tell(words.sent(sent));
    reload();
  };
  return html`<div class="actions main">
    <button onClick=${() => (tell(""), ask(true))}>${words.replay}</button>
    <span role="status" class="told good">${told}</span>
    ${asking && html`<${ReplayDialog} lead=${lead} address=${`${address}/replay`} onClose=${() => ask(false)} onDone=${done} />`}
  </div>`;
}

function ReplayDialog({ address, onClose, onDone }) {
  const [force, setForce] = useState(false);
  const plan = useData(() => post(address, { dry_run: true, force }), [force]);
  const [busy, told, start] = useAction(async () => {
    const { sent } = await post(address, { force });
    onDone(sent);
  });
  return html`<${Dialog} title=${words.replayTitle} onClose=${onClose}>
    <${Loaded} of=${plan}>${({ deliveries }) => html`
      <ul class="plan">${deliveries.map((each) => html`<li><strong>${each.destination || words.routedAgain}</strong> <${State} state=${each.state} />
        <br />${each.kept || words.wouldSend}${each.twice && html`<br /><${Badge} kind="warn">${each.twice}<//>`}</li>`)}</ul>
    `}<//>
    <label class="check"><input type="checkbox" checked=${force} onChange=${(event) => setForce(event.target.checked)} /> ${words.force}</label>
    <p role="status">${plan.data?.sent === 0 && words.nothingToSend}</p>
    ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    <footer>
      <button type="button" class="quiet" onClick=${onClose}>${texts.cancel}</button>
      <button type="button" disabled=${busy || plan.loading || !plan.data?.sent} onClick=${() => start()}>${words.sentNow}</button>
    </footer>
  <//>`;
}

// --- The customer: personal data, only when asked for ---

function Customer({ address }) {
  const [person, setPerson] = useState(null);
  const [busy, told, start] = useAction(async () => {
    setPerson(await get(`${address}/person`));
  });
  const fields = person ? [...Object.entries(words.personFields).map(([name, label]) => [label, person[name]]), ...Object.entries(person.customer_extra ?? {}), ...Object.entries(person.extra ?? {})].filter(([, text]) => text) : [];
  return html`<section class="panel" aria-labelledby="customer">
    <h2 id="customer">${words.person}</h2>
    ${!person && html`<p><button class="quiet" disabled=${busy} onClick=${() => start()}>${words.showPerson}</button> <span class="faint">${words.personHint}</span></p>`}
    ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    ${person && (fields.length ? html`<dl class="facts">${fields.map(([label, text]) => html`<div><dt>${label}</dt><dd dir="auto">${text}</dd></div>`)}</dl>` : html`<p>${words.noPerson}</p>`)}
  </section>`;
}
