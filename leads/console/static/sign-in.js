// Signs in with a pasted key, and finds the level of the key.
import { html, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { FUNCTIONS, loginAddress, signIn } from "./api.js";
import { Choice, Notice } from "./parts.js";
import { texts } from "./texts.js";

export function SignIn({ why, onSignedIn }) {
  const [busy, setBusy] = useState(false);
  const [told, tell] = useState(null);
  const [of, setOf] = useState(FUNCTIONS[0]);
  const key = useRef(null);
  const keep = useRef(null);
  const words = texts.signIn;
  useEffect(() => {
    document.title = `${words.title} · ${texts.product}`;
    key.current.focus();
  }, []);
  const submit = async (event) => {
    event.preventDefault();
    const given = key.current.value.trim();
    if (!given) return tell(words.empty);
    setBusy(true);
    tell(null);
    try {
      onSignedIn(await signIn(given, of, keep.current.checked));
    } catch (problem) {
      tell(problem.message);
      setBusy(false);
      key.current.select();
    }
  };
  return html`<section class="sign-in">
    <h1>${words.title}</h1>
    ${why && html`<${Notice}>${why}<//>`}
    ${loginAddress() && html`<p><a class="button" href=${loginAddress()}>${words.entra}</a></p>`}
    <p>${words.intro}</p>
    <form onSubmit=${submit} novalidate>
      <label>${words.key}
        <input ref=${key} type="password" name="key" autocomplete="off" spellcheck="false" aria-invalid=${told ? "true" : null} aria-describedby="told" />
      </label>
      <${Choice} label=${words.of} value=${of} onChange=${setOf} options=${FUNCTIONS.map((name) => [name, words.functions[name]])} />
      <div id="told" role="alert" class="told">${told}</div>
      <label class="check"><input ref=${keep} type="checkbox" name="keep" /> ${words.keep}</label>
      <button type="submit" aria-busy=${busy ? "true" : null} disabled=${busy}>${words.button}</button>
      <span role="status" class="faint">${busy && words.checking}</span>
    </form>
    <details><summary>${words.where}</summary><p>${words.howTo}</p></details>
  </section>`;
}
