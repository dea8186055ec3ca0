// Leads: a list with filters, which are in the address of the page.
import { html } from "../vendor/htm-preact.js";
import { get } from "./api.js";
import { Badge, Choice, Empty, Loaded, State, Table, Time, Title, inFull, useData } from "./parts.js";
import { DismissMany } from "./repairs.js";
import { go, href } from "./router.js";
import { offerName, texts, word } from "./texts.js";

const CRITERIA = ["state", "offer", "destination", "stage", "source", "reason", "since", "until"];
const PAGE = 50;
const words = texts.leads;

export function Leads({ query }) {
  const asked = Object.fromEntries([...CRITERIA, "after"].map((name) => [name, query[name] ?? ""]));
  const data = useData((signal) => get("/leads", { ...asked, limit: PAGE }, signal), [JSON.stringify(asked)]);
  const offers = useData((signal) => get("/offers", {}, signal), []);
  return html`
    <${Title} text=${words.title} data=${data} />
    <${Filter} asked=${asked} offers=${offers.data?.offers ?? []} />
    <${DismissMany} asked=${asked} onDone=${data.reload} />
    <${Loaded} of=${data}>${(page) => html`<${List} page=${page} asked=${asked} />`}<//>
  `;
}

function Filter({ asked, offers }) {
  const choice = (name, options) => {
    const known = asked[name] && !options.some(([code]) => code === asked[name]) ? [[asked[name], asked[name]]] : [];
    const change = (value) => go("leads", { ...asked, [name]: value, after: "" });
    return html`<${Choice} label=${words[name]} value=${asked[name]} onChange=${change} options=${[["", name === "since" ? words.anyTime : texts.every], ...known, ...options]} />`;
  };
  return html`<form class="filter" aria-label=${words.filter} onSubmit=${(event) => event.preventDefault()}>
    ${choice("state", Object.entries(texts.states))}
    ${choice("offer", [...offers.map(({ offer }) => [offer.id, offerName(offer.id)]), ["-", words.unrouted]])}
    ${choice("destination", destinationsOf(offers, asked.offer).map((name) => [name, name]))}
    ${choice("stage", Object.entries(texts.stages))}
    ${choice("source", Object.entries(texts.sources))}
    <span class="choice">
      <label for="filter-reason">${words.reason}</label>
      <input id="filter-reason" key=${asked.reason} defaultValue=${asked.reason} maxlength="100" size="12" spellcheck="false" autocomplete="off" onChange=${(event) => go("leads", { ...asked, reason: event.target.value.trim(), after: "" })} />
    </span>
    ${choice("since", Object.entries(words.periods))}
    ${asked.until && html`<span>${words.until} ${asked.until}</span>`}
    ${isFiltered(asked) && html`<a class="reset" href=${href("leads")}>${words.reset}</a>`}
  </form>`;
}

const destinationsOf = (offers, id) =>
  [...new Set(offers.filter(({ offer }) => !id || offer.id === id).flatMap(({ offer }) => offer.destinations.map(({ name }) => name)))].sort();

const isFiltered = (asked) => CRITERIA.some((name) => asked[name]);

function List({ page, asked }) {
  const filtered = isFiltered(asked);
  if (!page.leads.length && page.after) return html`<${Empty} text=${words.noneSoFar} next=${html`<a href=${href("leads", { ...asked, after: page.after })}>${words.lookOn}</a>`} />`;
  if (!page.leads.length) return html`<${Empty} text=${filtered ? words.none : words.noneAtAll} next=${filtered ? words.noneNext : texts.overview.noLeadsNext} />`;
  return html`
    <${Table} label=${words.title} cards="cards compact" rows=${page.leads} keyOf=${(lead) => lead.lead_id} columns=${[
      { label: words.received, head: true, cell: (lead) => html`<a href=${href("leads", {}, lead.lead_id)} aria-label=${words.link(inFull(lead.received_at))}><${Time} at=${lead.received_at} form="full" /></a>` },
      { label: words.state, cell: (lead) => html`<${State} state=${lead.state} unconfirmed=${lead.unconfirmed} />` },
      { label: words.offer, cell: (lead) => html`${lead.offer ? offerName(lead.offer) : html`<span class="faint">${texts.noOffer}</span>`} ${lead.is_test && html`<${Badge} kind="calm">${words.test}<//>`}` },
      { label: words.stage, cell: (lead) => word(texts.stages, lead.stage) },
      { label: words.source, cell: (lead) => html`<span dir="auto">${word(texts.sources, lead.source) || "–"}</span>` },
      { label: words.destinations, cell: (lead) => html`<${Destinations} lead=${lead} />` },
    ]} />
    <nav class="paging" aria-label=${words.paging}>
      <span class="faint">${words.shown(page.leads.length)}</span>
      ${asked.after && html`<a href=${href("leads", { ...asked, after: "" })}>${words.newest}</a>`}
      ${page.after && html`<a href=${href("leads", { ...asked, after: page.after })}>${words.older}</a>`}
    </nav>
  `;
}

// A destination shows its state only if the lead's state differs.
function Destinations({ lead }) {
  const found = Object.entries(lead.destinations).filter(([name]) => name);
  if (!found.length) return html`<span class="faint">–</span>`;
  return html`<span class="destinations">${found.map(([name, state]) => html`<span>${name}${state !== lead.state && html` <${State} state=${state} />`}</span>`)}</span>`;
}
