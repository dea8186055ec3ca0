// The way to the API: who is signed in, one request, and what went wrong in words.
import { texts } from "./texts.js";

export const FUNCTIONS = ["manage", "operate", "report"]; // each with keys of its own
const SIGNED_IN = "/api/signed-in";
const KEPT_AS = "leads-console";
const PRINTABLE = /^[!-~]+$/; // what a header can hold
const SECONDS = 150;

let session = null; // { base, key, level, personalData }: in memory; in sessionStorage if asked
let whenSignedOut = () => {};

export class Problem extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

let login = ""; // where the platform signs people in, if it does
export const loginAddress = () => login && `${login}?post_login_redirect_uri=${encodeURIComponent(location.pathname)}`;
export const onSignedOut = (tell) => (whenSignedOut = tell);
export const signedInAs = () => session;

export function signOut() {
  const signedIn = session?.base === SIGNED_IN;
  forget();
  if (signedIn) location.assign(`/.auth/logout?post_logout_redirect_uri=${encodeURIComponent(location.pathname)}`);
}

function forget() {
  session = null;
  sessionStorage.removeItem(KEPT_AS);
}

// Looks what a function's key may do. Others are not tried: each wrong one counts for the alert on refused requests. Throws Problem.
export async function signIn(key, of, keep) {
  session = PRINTABLE.test(key) ? await heldBy(`/api/${of}`, key) : null;
  if (!session) throw new Problem(texts.signIn.wrong, 401);
  if (keep) sessionStorage.setItem(KEPT_AS, JSON.stringify(session));
  return session;
}

// Who is signed in when the page is opened: by a kept key, or by the platform. Null where nobody is.
export async function takeUp() {
  const kept = sessionStorage.getItem(KEPT_AS);
  session = kept ? JSON.parse(kept) : await heldBy(SIGNED_IN, "").catch(() => null);
  return session;
}

async function heldBy(base, key) {
  const answer = await send("GET", `${base}/whoami`, { key });
  if (answer.status === 401 || answer.status === 403) return null;
  if (!answer.ok) throw await problemOf(answer);
  const { level, personal_data: personalData, login: address = "" } = await answer.json();
  if (!level) login = address; // nobody has signed in
  return level ? { base, key, level, personalData } : null;
}

// One request to the API as who is signed in. Answers the JSON, null where there is none. Throws Problem.
export async function call(method, path, { query, body, headers, signal } = {}) {
  const given = Object.entries(query ?? {}).filter(([, value]) => value !== "" && value != null);
  const address = session.base + path + (given.length ? `?${new URLSearchParams(given)}` : "");
  const answer = await send(method, address, { key: session.key, body, headers, signal });
  if (answer.status === 401) {
    forget();
    whenSignedOut();
  }
  if (!answer.ok) throw await problemOf(answer);
  if (answer.status === 204) return null;
  try {
    return await answer.json();
  } catch (error) {
    throw error.name === "AbortError" ? error : new Problem(texts.problems.unreadable);
  }
}

export const get = (path, query, signal) => call("GET", path, { query, signal });
export const post = (path, body, query) => call("POST", path, { body, query });

// Long work, a part with each request; `take(part)` gets each.
export async function inSteps(path, body, take) {
  let after = "";
  do {
    const part = await post(path, { ...body, after });
    take(part);
    after = part.next;
  } while (after !== null);
}

async function send(method, address, { key, body, headers: more, signal }) {
  const headers = { Accept: "application/json", "X-Requested-With": "marketplace-leads", ...more }; // no form of another site sends it
  if (key) headers["x-functions-key"] = key;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const limit = AbortSignal.timeout(SECONDS * 1000);
  try {
    return await fetch(address, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error; // whoever asked has gone
    if (error.name === "TimeoutError") throw new Problem(texts.problems.slow);
    throw new Problem(texts.problems.offline);
  }
}

async function problemOf(answer) {
  const said = await answer.json().catch(() => ({}));
  const text = [said.field, said.detail].filter(Boolean).join(": ");
  if (answer.status === 401) return new Problem(texts.signIn.expired, 401);
  if (answer.status === 403) return new Problem(text || texts.problems.forbidden, 403);
  if (answer.status === 412) return new Problem(texts.problems.changed, 412);
  return new Problem(text || said.title || `${texts.problems.failed} (${answer.status})`, answer.status);
}
