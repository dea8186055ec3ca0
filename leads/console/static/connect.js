// Connects a destination: a form from the type's JSON Schema, with a check and a preview before saving.
import { html, useRef, useState } from "../vendor/htm-preact.js";
import { call, get, post } from "./api.js";
import { Choice, Loaded, Notice, useAction, useData } from "./parts.js";
import { go } from "./router.js";
import { texts, word } from "./texts.js";

const words = texts.connect;

// `stored`: the offer with its ETag, null for a new offer. `name`: the destination to change, "" for a new destination.
export function Connect({ stored, name = "", onSaved }) {
  const types = useData((signal) => get("/destination-types", {}, signal), []);
  return html`<section class="panel" aria-labelledby="connect">
    <h2 id="connect">${name ? words.change(name) : words.title}</h2>
    <${Loaded} of=${types}>${(found) => html`<${Form} types=${found.destination_types} stored=${stored} before=${stored?.offer.destinations.find((each) => each.name === name)} onSaved=${onSaved} />`}<//>
  </section>`;
}

function Form({ types, stored, before, onSaved }) {
  const form = useRef(null);
  const [type, setType] = useState(before?.type ?? types[0].type);
  const [shown, setShown] = useState(null); // the preview: { requests } or { changes }
  const schema = types.find((each) => each.type === type).settings_schema;
  const draft = () => {
    const destination = destinationOf(form.current, type, schema, before);
    const offer = stored?.offer ?? { id: form.current.elements.offer.value.trim(), titles: linesOf(form.current.elements.titles.value), destinations: [] };
    const others = offer.destinations.filter((each) => each.name !== (before?.name ?? destination.name));
    return { destination, offer: { ...offer, destinations: [...others, destination] } };
  };
  const [busy, told, start] = useAction((work) => work());
  const check = async () => {
    const { destinations: [found] } = await post("/validate", draft().destination);
    return found.ok && !found.refusal ? { text: found.problem || words.works } : { kind: "bad", text: found.problem || found.refusal };
  };
  const preview = async () => {
    const { destination, offer } = draft();
    const found = await post("/preview", { offer });
    setShown({ requests: found.destinations.find((each) => each.destination === destination.name) });
  };
  const compare = async () => {
    setShown({ changes: differences(stored?.offer ?? {}, draft().offer) });
  };
  const save = async () => {
    const { offer } = draft();
    const headers = stored ? { "If-Match": stored.etag } : { "If-None-Match": "*" };
    await call("PUT", `/offers/${encodeURIComponent(offer.id)}`, { body: offer, headers });
    onSaved();
    go("offers", {}, offer.id);
    return { text: words.saved };
  };
  const run = (work) => (form.current.reportValidity() ? start(work) : null);
  return html`
    <form ref=${form} class="connect" onSubmit=${(event) => (event.preventDefault(), run(compare))} onInput=${() => setShown(null)}>
      ${!stored && html`
        <${Field} name="offer" label=${words.offer} hint=${words.offerHint} required />
        <${Field} name="titles" label=${words.titles} hint=${words.titlesHint} />`}
      <${Choice} label=${words.type} value=${type} onChange=${(value) => (setType(value), setShown(null))} options=${types.map((each) => [each.type, word(texts.types, each.type)])} />
      <${Field} name="name" label=${words.name} hint=${words.nameHint} value=${before?.name ?? ""} pattern="[a-z0-9_]{1,40}" required readonly=${Boolean(before)} />
      <fieldset key=${type}><legend>${words.settings}</legend>
        ${Object.entries(schema.properties).map(([name, about]) => html`<${Setting} name=${`settings.${name}`} about=${about} value=${before?.type === type ? before.settings[name] : undefined} required=${schema.required?.includes(name)} />`)}
      </fieldset>
      <${Field} name="mapping" label=${words.mapping} hint=${words.mappingHint} value=${before ? JSON.stringify(before.mapping ?? {}, null, 1) : "{}"} rows="4" />
      <div class="actions main">
        <button type="button" class="quiet" disabled=${busy} onClick=${() => run(check)}>${words.check}</button>
        <button type="button" class="quiet" disabled=${busy} onClick=${() => run(preview)}>${words.preview}</button>
        <button type="submit" disabled=${busy}>${words.compare}</button>
      </div>
    </form>
    <div role="status">${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}</div>
    ${shown?.requests && html`<${Requests} of=${shown.requests} />`}
    ${shown?.changes && html`<${Changes} changes=${shown.changes} busy=${busy} onSave=${() => run(save)} />`}
  `;
}

// --- Fields ---

function Field({ name, label, hint, value = "", rows, ...more }) {
  const id = `field-${name}`;
  const input = rows ? html`<textarea id=${id} name=${name} rows=${rows} spellcheck="false" ...${more}>${value}</textarea>` : html`<input id=${id} name=${name} defaultValue=${value} autocomplete="off" spellcheck="false" aria-describedby=${`${id}-hint`} ...${more} />`;
  return html`<label for=${id}>${label}${more.required ? "" : html` <span class="faint">${words.optional}</span>`}</label>${input}<small id=${`${id}-hint`}>${hint}</small>`;
}

function Setting({ name, about, value, required }) {
  const label = about.title ?? name.replace("settings.", "");
  const given = value ?? about.default ?? "";
  const plain = simple(about);
  if (about.enum)
    return html`<label for=${name}>${label}</label><select id=${name} name=${name}>${about.enum.map((each) => html`<option value=${each} selected=${each === given}>${each}</option>`)}</select><small>${about.description}</small>`;
  if (!["string", "integer", "number", "boolean"].includes(plain.type) || typeof given === "object")
    return html`<${Field} name=${name} label=${label} hint=${`${about.description ?? ""} ${words.asJson}`} value=${given === "" || given === null ? "" : JSON.stringify(given)} rows="2" />`;
  if (plain.type === "boolean")
    return html`<label class="check"><input type="checkbox" name=${name} defaultChecked=${Boolean(given)} /> ${label}</label><small>${about.description}</small>`;
  const kind = plain.type === "string" ? {} : { type: "number", step: plain.type === "integer" ? 1 : "any", min: plain.minimum, max: plain.maximum };
  return html`<${Field} name=${name} label=${label} hint=${about.description} value=${given ?? ""} required=${required} ...${kind} />`;
}

// The schema of an optional value.
const simple = (about) => about.anyOf?.find((each) => each.type !== "null") ?? about;

function destinationOf(form, type, schema, before) {
  const settings = {};
  for (const [name, about] of Object.entries(schema.properties)) {
    const field = form.elements[`settings.${name}`];
    const value = field.type === "checkbox" ? field.checked : valueOf(field.value.trim(), simple(about), about.enum);
    if (value !== undefined) settings[name] = value;
  }
  return { ...(before?.type === type ? before : {}), name: form.elements.name.value.trim(), type, settings, mapping: valueOf(form.elements.mapping.value.trim(), { type: "object" }) ?? {} };
}

function valueOf(text, about, isChoice) {
  if (text === "") return undefined;
  if (isChoice || about.type === "string") return text;
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(words.noJson(text.slice(0, 40)));
  }
}

const linesOf = (text) => text.split(",").map((each) => each.trim()).filter(Boolean);

// --- Preview before saving ---

function Requests({ of: { requests, problem, skipped } }) {
  if (problem || skipped) return html`<${Notice} kind="warn">${problem || skipped}<//>`;
  return html`<h3>${words.requests}</h3>${requests.map((each) => html`<div class="request">
    <p><strong>${each.method}</strong> <code>${each.url}</code></p>
    ${each.note && html`<p class="faint">${each.note}</p>`}
    <pre tabindex="0" aria-label=${words.body}><code>${JSON.stringify(each.parts.length ? each.parts.map((part) => part.body) : each.body, null, 2)}</code></pre>
  </div>`)}`;
}

function Changes({ changes, busy, onSave }) {
  if (!changes.length) return html`<p>${words.noChanges}</p>`;
  return html`<h3>${words.changes}</h3>
    <ul class="plan">${changes.map(([path, before, after]) => html`<li><code>${path}</code>: ${before === undefined ? html`<ins>${after}</ins>` : after === undefined ? html`<del>${before}</del>` : html`<del>${before}</del> → <ins>${after}</ins>`}</li>`)}</ul>
    <button disabled=${busy} onClick=${onSave}>${words.save}</button>`;
}

// [path, before, after] for each value that differs.
function differences(before, after) {
  const old = flat(before), now = flat(after);
  return [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((path) => old[path] !== now[path]).map((path) => [path, old[path], now[path]]);
}

function flat(value, path = "") {
  if (value === null || value === undefined || value === "") return {};
  if (typeof value !== "object") return { [path]: String(value) };
  const named = Array.isArray(value) ? value.map((each, index) => [each?.name ?? index, each]) : Object.entries(value);
  return Object.assign({}, ...named.map(([name, inner]) => flat(inner, path ? `${path}.${name}` : String(name))));
}
