// Overview: what needs a person, how many leads came in, how fast they reached the CRM, how far customers came.
import { html, useMemo } from "../vendor/htm-preact.js";
import { get } from "./api.js";
import { Bar, Numbers, StackedBars, dayName } from "./charts.js";
import { Badge, Choice, Empty, Loaded, State, Table, Time, Title, duration, number, useData } from "./parts.js";
import { go, href } from "./router.js";
import { leads, offerName, texts, word } from "./texts.js";

const PERIODS = [7, 30, 90];
const SERIES = 7;
const CAUSES_ASKED = 6;
const FURTHER = ["initial_interest", "contact_requested", "trial", "purchase"];
const TOLD_ELSEWHERE = ["connection_paused", "leads_need_a_person", "offer_silent"];
const words = texts.overview;

export function Overview({ query, session }) {
  const days = PERIODS.includes(Number(query.days)) ? Number(query.days) : 30;
  const by = words.by[query.by] ? query.by : "offer";
  const report = useData((signal) => get("/report", { days }, signal), [days]);
  const sees = session.level !== "report";
  const status = useData((signal) => (sees ? get("/status", {}, signal) : Promise.resolve(null)), [sees]);
  const both = { at: report.at, loading: report.loading || status.loading, reload: () => (report.reload(), status.reload()) };
  return html`
    <${Title} text=${words.title} data=${both}>
      <nav class="periods" aria-label=${words.period}>
        ${PERIODS.map((each) => html`<a href=${href("overview", { ...query, days: each })} aria-current=${each === days ? "true" : null}>${words.days(each)}</a>`)}
      </nav>
    <//>
    ${sees && html`<${Loaded} of=${status}>${(found) => html`<${Needs} status=${found} />`}<//>`}
    <${Loaded} of=${report}>${(found) => html`<${Report} report=${found} status=${status.data} days=${days} by=${by} query=${query} />`}<//>
    ${sees && status.data && html`<div class="columns"><${Silent} status=${status.data} /><${Alarms} status=${status.data} /></div>`}
  `;
}

// --- What needs a person ---

function Needs({ status }) {
  const needs = [
    ...(status.offers.length || status.unreadable_offers.length ? [] : [{ what: words.needs.noOffers, next: words.needs.noOffersNext }]),
    ...status.unreadable_offers.map((text) => ({ what: text, next: words.needs.noOffersNext })),
    ...status.connections.filter(calls).map(ofConnection),
    ...status.calling.map(ofLeads),
    ...status.alarms.filter((alarm) => !TOLD_ELSEWHERE.includes(alarm.event)).map((alarm) => ({ what: alarm.says, about: about(alarm.fields), count: alarm.fields.waiting ?? alarm.fields.count, since: alarm.since })),
  ];
  return html`<section aria-labelledby="needs" class=${needs.length ? "panel needs" : "panel"}>
    <h2 id="needs">${words.needs.title} ${needs.length > 0 && html`<${Badge} kind="bad">${needs.length}<//>`}</h2>
    ${needs.length === 0
      ? html`<p class="fine"><${Badge} kind="good">${texts.connections.working}<//> ${words.needs.nothing}</p>`
      : html`<ul class="rows">${needs.map((need) => html`<${Need} need=${need} />`)}</ul>`}
  </section>`;
}

function Need({ need }) {
  return html`<li>
    <span class="count">${need.count ? number(need.count) : ""}</span>
    <div>
      <strong>${need.what}</strong> ${need.state && html`<${State} state=${need.state} />`}
      ${need.about && html`<span class="faint"> · ${need.about}</span>`}
      ${need.since && html`<span class="faint"> · ${words.needs.since} <${Time} at=${need.since} /></span>`}
      ${need.cause && html`<p dir="auto">${need.cause}</p>`}
      ${need.filter && html`<${Newest} filter=${need.filter} />`}
      ${need.next && html`<p class="next">${need.next}</p>`}
    </div>
    ${need.link && html`<a href=${need.link[0]}>${need.link[1]}</a>`}
  </li>`;
}

// The refusal of the newest of these leads.
function Newest({ filter }) {
  const found = useData(async (signal) => {
    const { leads: [first] } = await get("/leads", { ...filter, limit: 1 }, signal);
    return first ? get(`/leads/${first.lead_id}`, {}, signal) : null;
  }, [JSON.stringify(filter)]);
  const reason = found.data?.deliveries.find((delivery) => delivery.state === filter.state && delivery.reason)?.reason;
  return reason ? html`<p>${words.needs.newest} <span dir="auto">${reason}</span></p>` : null;
}

const calls = (connection) => connection.paused && connection.used_by.length > 0 && connection.type !== "daily_ceiling";

const ofConnection = (connection) => ({
  what: words.needs.paused,
  about: `${connection.used_by.map((use) => `${use.offer} ${use.destination}`).join(", ")} · ${word(texts.types, connection.type)}${connection.host ? ` · ${connection.host}` : ""}`,
  cause: connection.health,
  count: connection.waiting,
  since: connection.since,
  next: connection.by_person ? words.needs.pausedByPersonNext : words.needs.pausedNext,
  link: [href("connections", {}), words.needs.toConnections],
});

const ofLeads = (group, index) => {
  const filter = { state: group.state, offer: group.offer || "-" };
  return {
    what: words.calls[group.state]?.[0] ?? group.state,
    state: group.state,
    about: [group.offer ? offerName(group.offer) : "", group.destination].filter(Boolean).join(" · "),
    count: group.count,
    filter: index < CAUSES_ASKED ? filter : null,
    next: words.calls[group.state]?.[1],
    link: [href("leads", { ...filter, since: "30d" }), words.needs.toLeads],
  };
};

const about = (fields) => ["offer", "used_by", "destination", "setting", "host"].map((name) => fields[name]).filter(Boolean).join(" · ");

function Silent({ status }) {
  const silent = status.alarms.filter((alarm) => alarm.event === "offer_silent");
  return html`<section aria-labelledby="silent" class="panel">
    <h2 id="silent">${words.silent}</h2>
    ${silent.length === 0
      ? html`<p class="fine">${words.noSilent}</p>`
      : html`<ul class="rows">${silent.map(
          ({ fields }) => html`<li><span class="count"></span><div><strong>${offerName(fields.offer)}</strong> <${Badge} kind="warn">${words.silentFor(fields.hours)}<//>
            ${fields.expected != null && html`<p>${words.expected(fields.expected)}</p>`}</div></li>`,
        )}</ul>`}
  </section>`;
}

function Alarms({ status }) {
  return html`<section aria-labelledby="alarms" class="panel">
    <h2 id="alarms">${words.alarms}</h2>
    ${status.alarms.length === 0
      ? html`<p class="fine">${words.noAlarms}</p>`
      : html`<${Table} label=${words.alarms} rows=${status.alarms} columns=${[
          { label: words.alarm, head: true, cell: (alarm) => html`<code>${alarm.event}</code>` },
          { label: words.meaning, cell: (alarm) => html`${alarm.says}${about(alarm.fields) && html`<br /><span class="faint">${about(alarm.fields)}</span>`}` },
          { label: words.since, cell: (alarm) => html`<${Time} at=${alarm.since} />` },
        ]} />`}
  </section>`;
}

// --- The numbers ---

function Report({ report, status, days, by, query }) {
  const stacked = useMemo(() => stack(report.days, by), [report, by]);
  const total = stacked.totals.reduce((sum, value) => sum + value, 0);
  return html`
    <${Tiles} report=${report} status=${status} total=${total} today=${stacked.totals.at(-1) ?? 0} />
    <section aria-labelledby="per-day" class="panel">
      <div class="heading"><h2 id="per-day">${words.perDay}</h2>
        <${Choice} label=${words.stackedBy} value=${by} options=${Object.entries(words.by)} onChange=${(value) => go("overview", { ...query, by: value })} />
      </div>
      ${total === 0
        ? html`<${Empty} text=${words.noLeads} next=${words.noLeadsNext} />`
        : html`<${StackedBars} days=${stacked.days} series=${stacked.series} label=${words.chart(total, days)} />`}
      <${Numbers} name="leads-a-day" rows=${stacked.rows} columns=${[
        { label: words.day, value: (row) => row.day },
        ...stacked.series.map((each) => ({ label: each.label, number: true, value: (row) => each.values[row.at] })),
        { label: words.total, number: true, value: (row) => stacked.totals[row.at] },
        { label: words.tiles.repeats, number: true, value: (row) => row.repeats },
      ]} />
    </section>
    <div class="columns"><${ToCrm} report=${report} status=${status} /><${Reached} report=${report} /></div>
  `;
}

function Tiles({ report, status, total, today }) {
  const repeats = sum(report.days.flatMap((day) => day.counts), (count) => count.repeats);
  const slowest = Math.max(...report.time_to_crm.map((each) => each.median_seconds));
  const waiting = status && sum(["retry", "parked", "crashed"], (state) => status.undelivered[state] ?? 0);
  const recent = status && sum(Object.values(status.last_24_hours), (count) => count);
  const delivered = status?.last_24_hours.delivered ?? 0;
  const tiles = [
    [words.tiles.leads, number(total), words.days(report.days.length)],
    [words.tiles.today, number(today), `${dayName(report.to)}, UTC`],
    [words.tiles.repeats, number(repeats), words.repeatsHint],
    [words.tiles.median, report.time_to_crm.length ? duration(slowest) : "–", words.medianHint],
    ...(status ? [[words.tiles.delivered, number(delivered), words.deliveredHint(recent - delivered)], [words.tiles.waiting, number(waiting), words.waitingHint]] : []),
  ];
  return html`<dl class="tiles">${tiles.map(([name, value, hint]) => html`<div><dt>${name}</dt><dd><b>${value}</b> <span class="faint">${hint}</span></dd></div>`)}</dl>`;
}

// The counts of each day by a field: the greatest values, and the others together.
function stack(days, by) {
  const totals = new Map();
  for (const count of days.flatMap((day) => day.counts)) totals.set(count[by], (totals.get(count[by]) ?? 0) + count.first);
  const named = [...totals].filter(([, total]) => total > 0).sort((one, other) => other[1] - one[1]).map(([name]) => name);
  const shown = named.length > SERIES + 1 ? named.slice(0, SERIES) : named;
  const values = (wanted) => days.map((day) => sum(day.counts.filter((count) => wanted(count[by])), (count) => count.first));
  const series = shown.map((name) => ({ label: labelOf(by, name), values: values((each) => each === name) }));
  if (shown.length < named.length) series.push({ label: words.others, values: values((each) => !shown.includes(each)) });
  return {
    days: days.map((day) => day.day),
    series,
    totals: values(() => true),
    rows: days.map((day, at) => ({ day: day.day, at, repeats: sum(day.counts, (count) => count.repeats) })),
  };
}

function labelOf(by, name) {
  if (by === "offer") return name === "-" ? texts.noOffer : offerName(name);
  if (by === "stage") return word(texts.stages, name);
  if (by === "source") return word(texts.sources, name) || texts.unknown;
  return name || texts.noCountry;
}

function ToCrm({ report, status }) {
  const found = report.time_to_crm;
  const most = Math.max(...found.map((each) => each.p95_seconds));
  return html`<section aria-labelledby="to-crm" class="panel">
    <h2 id="to-crm">${words.toCrm}</h2>
    ${found.length === 0
      ? html`<${Empty} text=${words.noToCrm} />`
      : html`<${Table} label=${words.toCrm} rows=${found} columns=${[
            { label: words.destination, head: true, cell: (row) => html`${row.destination}<br /><span class="faint">${offerName(row.offer)}</span>` },
            { label: texts.overview.tiles.leads, number: true, cell: (row) => number(row.leads) },
            { label: words.median, number: true, cell: (row) => duration(row.median_seconds) },
            { label: words.p95, number: true, cell: (row) => html`<span class="with-bar"><span>${duration(row.p95_seconds)}</span><${Bar} share=${row.p95_seconds / most} /></span>` },
          ]} />
          <${Numbers} name="time-to-crm" rows=${found} columns=${[
            { label: words.offer, value: (row) => row.offer },
            { label: words.destination, value: (row) => row.destination },
            { label: texts.overview.tiles.leads, number: true, value: (row) => row.leads },
            { label: `${words.median} (s)`, number: true, value: (row) => row.median_seconds },
            { label: `${words.p95} (s)`, number: true, value: (row) => row.p95_seconds },
          ]} />`}
    ${status?.latency && html`<p class="faint">${words.latency(status.latency)}</p>`}
  </section>`;
}

function Reached({ report }) {
  const counts = new Map(report.reached.map((each) => [each.stage, each.first]));
  const rows = [...FURTHER, ...[...counts.keys()].filter((stage) => !FURTHER.includes(stage))].map((stage) => ({ stage, count: counts.get(stage) ?? 0 }));
  const most = Math.max(1, ...rows.map((row) => row.count));
  return html`<section aria-labelledby="reached" class="panel">
    <h2 id="reached">${words.reached}</h2>
    <${Table} label=${words.reached} rows=${rows} columns=${[
      { label: words.stage, head: true, cell: (row) => word(texts.stages, row.stage) },
      { label: texts.overview.tiles.leads, number: true, cell: (row) => html`<span class="with-bar"><span>${number(row.count)}</span><${Bar} share=${row.count / most} /></span>` },
    ]} />
    <${Numbers} name="how-far-customers-came" rows=${rows} columns=${[
      { label: words.stage, value: (row) => word(texts.stages, row.stage) },
      { label: texts.overview.tiles.leads, number: true, value: (row) => row.count },
    ]} />
  </section>`;
}

const sum = (items, value) => items.reduce((total, item) => total + value(item), 0);
