// The current page and filters. The address after # holds them, so a person can share the address and go back.
import { useEffect, useState } from "../vendor/htm-preact.js";

export function read() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [page = "", id = ""] = path.split("/");
  return { page: page || "overview", id: decoded(id), query: Object.fromEntries(new URLSearchParams(query)) };
}

export function href(page, query = {}, id = "") {
  const given = Object.entries(query).filter(([, value]) => value !== "" && value != null);
  const behind = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${page}${id ? `/${encodeURIComponent(id)}` : ""}${behind}`;
}

export const go = (page, query, id) => (location.hash = href(page, query, id));

export function usePlace() {
  const [place, set] = useState(read);
  useEffect(() => {
    const changed = () => set(read());
    addEventListener("hashchange", changed);
    changed(); // the address may have changed before this listener
    return () => removeEventListener("hashchange", changed);
  }, []);
  return place;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
