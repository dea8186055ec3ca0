// Repairs of a lead: dismissing it, or correcting a body that can't be read.
import { html, useRef, useState } from "../vendor/htm-preact.js";
import { get, inSteps, post } from "./api.js";
import { Dialog, Loaded, Notice, useAction, useData } from "./parts.js";
import { href } from "./router.js";
import { texts } from "./texts.js";

const WAITS_FOR_A_PERSON = ["dead_letter", "held", "crashed", "unrouted", "unreadable"];
const words = texts.repairs;

export function Repairs({ lead, address, session, reload }) {
  const [asking, ask] = useState("");
  const [told, tell] = useState(null);
  const close = () => ask("");
  const done = (text) => {
    close();
    tell(text);
    reload();
  };
  const waits = lead.deliveries.some((delivery) => WAITS_FOR_A_PERSON.includes(delivery.state));
  const dismissed = lead.deliveries.filter((delivery) => delivery.dismissed);
  const [busy, problem, takeBack] = useAction(async () => {
    await post(`${address}/dismiss`, { take_back: true });
    done(words.takenBack);
  });
  return html`
    <div class="actions main">
      ${lead.state === "unreadable" && html`<button onClick=${() => ask("correct")}>${words.correct}</button>`}
      ${waits && html`<button class="quiet" onClick=${() => ask("dismiss")}>${words.dismiss}</button>`}
      ${dismissed.length > 0 && html`<button class="quiet" disabled=${busy} onClick=${() => takeBack()}>${words.takeBack}</button>`}
      <span role="status" class="told good">${told}</span>
    </div>
    ${problem && html`<${Notice} kind="bad">${problem.text}<//>`}
    ${asking === "dismiss" && html`<${Dismiss} address=${address} onClose=${close} onDone=${() => done(words.isDismissed)} />`}
    ${asking === "correct" && html`<${Correct} address=${address} session=${session} onClose=${close} onDone=${(as) => done(html`${words.corrected} <a href=${href("leads", {}, as)}>${as}</a>`)} />`}
  `;
}

function Dismiss({ address, onClose, onDone }) {
  const note = useRef(null);
  const [wrong, setWrong] = useState(false);
  const [busy, told, start] = useAction(async (text) => {
    await post(`${address}/dismiss`, { note: text });
    onDone();
  });
  const submit = (event) => {
    event.preventDefault();
    const text = note.current.value.trim();
    setWrong(!text);
    if (text) start(text);
  };
  return html`<${Dialog} title=${words.dismissTitle} onClose=${onClose}>
    <p>${words.dismissText}</p>
    <form onSubmit=${submit} novalidate>
      <label>${words.note} <input ref=${note} maxlength="500" required autocomplete="off" aria-invalid=${wrong ? "true" : null} aria-describedby="why-hint" /></label>
      <small id="why-hint">${words.noteHint}</small>
      ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
      <footer><button type="button" class="quiet" onClick=${onClose}>${texts.cancel}</button> <button type="submit" disabled=${busy}>${words.dismissNow}</button></footer>
    </form>
  <//>`;
}

// Dismisses many leads: those of the list's filter, and of a code.
export function DismissMany({ asked, onDone }) {
  const [asking, ask] = useState(false);
  const [told, tell] = useState("");
  if (!WAITS_FOR_A_PERSON.includes(asked.state)) return null;
  const done = (count) => {
    ask(false);
    tell(words.areDismissed(count));
    onDone();
  };
  return html`<div class="actions main">
    <button class="quiet" onClick=${() => (tell(""), ask(true))}>${words.dismissMany}</button>
    <span role="status" class="told good">${told}</span>
    ${asking && html`<${DismissManyDialog} asked=${asked} onClose=${() => ask(false)} onDone=${done} />`}
  </div>`;
}

function DismissManyDialog({ asked, onClose, onDone }) {
  const form = useRef(null);
  const [plan, setPlan] = useState(null);
  const which = (dry_run) => {
    const { code, note } = form.current.elements;
    const given = { code: code.value.trim(), offer: asked.offer === "-" ? "" : asked.offer, since: asked.since, until: asked.until };
    return { state: asked.state, note: note.value.trim(), dry_run, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value)) };
  };
  const run = async (dry_run) => {
    let count = 0;
    await inSteps("/dismiss", which(dry_run), (part) => (count += part.done));
    return count;
  };
  const [busy, told, look] = useAction(async () => void setPlan(await run(true)));
  const [doing, failed, dismiss] = useAction(async () => void onDone(await run(false)));
  const problem = told ?? failed;
  return html`<${Dialog} title=${words.dismissManyTitle} onClose=${onClose}>
    <p>${words.dismissManyText}</p>
    <form ref=${form} onSubmit=${(event) => (event.preventDefault(), look())} onInput=${() => setPlan(null)}>
      <label>${words.code} <input name="code" defaultValue=${asked.reason} maxlength="100" autocomplete="off" spellcheck="false" /></label>
      <label>${words.note} <input name="note" maxlength="500" required autocomplete="off" aria-describedby="whys-hint" /></label>
      <small id="whys-hint">${words.noteHint}</small>
      <p role="status">${plan !== null && words.wouldDismiss(plan)}</p>
      ${problem && html`<${Notice} kind=${problem.kind}>${problem.text}<//>`}
      <footer>
        <button type="button" class="quiet" onClick=${onClose}>${texts.cancel}</button>
        ${plan ? html`<button type="button" disabled=${doing} onClick=${() => dismiss()}>${words.dismissNow}</button>` : html`<button type="submit" disabled=${busy}>${words.look}</button>`}
      </footer>
    </form>
  <//>`;
}

function Correct({ address, session, onClose, onDone }) {
  const body = useRef(null);
  const before = useData(() => (session.personalData ? get(`${address}/person`) : Promise.resolve({ body: "" })), []);
  const [busy, told, start] = useAction(async () => {
    const lead = body.current.value;
    await post(`${address}/replay`, { lead, dry_run: true }); // reports what is wrong before the lead is sent
    const { corrected_as: as } = await post(`${address}/replay`, { lead });
    onDone(as);
  });
  return html`<${Dialog} title=${words.correctTitle} onClose=${onClose}>
    <p>${words.correctText}</p>
    <${Loaded} of=${before}>${(said) => html`<label for="lead-body">${words.body}</label><textarea id="lead-body" ref=${body} rows="12" spellcheck="false" dir="auto">${said.body}</textarea>`}<//>
    ${told && html`<${Notice} kind=${told.kind}>${told.text}<//>`}
    <footer><button type="button" class="quiet" onClick=${onClose}>${texts.cancel}</button> <button type="button" disabled=${busy} onClick=${() => start()}>${words.correctNow}</button></footer>
  <//>`;
}
