// The API: the signed-in user, requests, and errors in words.
import { texts } from "./texts.js";

export const FUNCTIONS = ["manage", "operate", "report"]; // each has its own keys
const SIGNED_IN = "/api/signed-in";
const KEPT_AS = "leads-console";
const PRINTABLE = /^[!-~]+$/; // the characters that a header may have
const SECONDS = 150;

let session = null; // { base, key, level, personalData }: in memory; in sessionStorage if asked
let whenSignedOut = () => {};

export class Problem extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

let login = ""; // the address of the platform's sign-in, "" without one
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

// Finds the level of a function's key. Tries no other function, because the alert on refused requests counts each. Throws Problem.
export async function signIn(key, of, keep) {
  session = PRINTABLE.test(key) ? await heldBy(`/api/${of}`, key) : null;
  if (!session) throw new Problem(texts.signIn.wrong, 401);
  if (keep) sessionStorage.setItem(KEPT_AS, JSON.stringify(session));
  return session;
}

// The user when the page opens, signed in by a kept key or by the platform; null if nobody is signed in.
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
  if (!level) login = address; // no user is signed in
  return level ? { base, key, level, personalData } : null;
}

// A request to the API as the signed-in user. Returns the JSON, or null if there is none. Throws Problem.
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

// Long work, a part with each request. `take(part)` gets each part.
export async function inSteps(path, body, take) {
  let after = "";
  do {
    const part = await post(path, { ...body, after });
    take(part);
    after = part.next;
  } while (after !== null);
}

async function send(method, address, { key, body, headers: more, signal }) {
  const headers = { Accept: "application/json", "X-Requested-With": "marketplace-leads", ...more }; // a form of another site can't send this header
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
    if (error.name === "AbortError") throw error; // the page that asked is closed
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
