// The frame: the signed-in user and the current page.
import { html, render, useEffect, useRef, useState } from "../vendor/htm-preact.js";
import { onSignedOut, signedInAs, signOut, takeUp } from "./api.js";
import { Connections } from "./connections.js";
import { History } from "./history.js";
import { Lead } from "./lead.js";
import { Leads } from "./leads.js";
import { Lists } from "./lists.js";
import { Offer, Offers } from "./offers.js";
import { Overview } from "./overview.js";
import { Empty, Title } from "./parts.js";
import { Privacy } from "./privacy.js";
import { href, usePlace } from "./router.js";
import { SignIn } from "./sign-in.js";
import { texts } from "./texts.js";

const PAGES = { overview: Overview, connections: Connections, leads: Leads, offers: Offers, lists: Lists, privacy: Privacy, history: History };
const FOR_REPORTS = ["overview"];

function App() {
  const [session, setSession] = useState(signedInAs);
  const [why, setWhy] = useState("");
  useEffect(() => {
    onSignedOut(() => {
      setWhy(texts.signIn.expired);
      setSession(null);
    });
  }, []);
  const leave = () => {
    signOut();
    setWhy(texts.signIn.signedOut);
    setSession(null);
  };
  if (!session) return html`<${Frame}><${SignIn} why=${why} onSignedIn=${setSession} /><//>`;
  return html`<${Frame} session=${session} onLeave=${leave}><${Page} session=${session} /><//>`;
}

function Frame({ session, onLeave, children }) {
  const place = usePlace();
  const pages = session ? Object.keys(PAGES).filter((page) => session.level !== "report" || FOR_REPORTS.includes(page)) : [];
  return html`
    <a class="skip" href="#main" onClick=${skip}>${texts.skip}</a>
    <header>
      <span class="product">${texts.product}</span>
      ${session &&
      html`<nav aria-label=${texts.navigation}>
        ${pages.map((page) => html`<a href=${href(page)} aria-current=${place.page === page ? "page" : null}>${texts.pages[page]}</a>`)}
      </nav>`}
      ${session &&
      html`<span class="who">
        <span class="faint" title=${session.name}>${texts.levels[session.level]}</span>
        <button class="quiet" onClick=${onLeave}>${texts.signOut}</button>
      </span>`}
    </header>
    <main id="main" tabindex="-1">${children}</main>
  `;
}

function Page({ session }) {
  const place = usePlace();
  const isFirst = useRef(true);
  useEffect(() => {
    if (!isFirst.current) document.querySelector("main h1")?.focus(); // a screen reader reads the name of the new page
    isFirst.current = false;
    scrollTo(0, 0);
  }, [place.page, place.id]);
  if (session.level === "report" && !FOR_REPORTS.includes(place.page)) return html`<${NoPage} />`;
  if (place.page === "leads" && place.id) return html`<${Lead} key=${place.id} id=${place.id} session=${session} />`;
  if (place.page === "offers" && place.id) return html`<${Offer} key=${place.id} id=${place.id} query=${place.query} />`;
  const Chosen = PAGES[place.page];
  return Chosen ? html`<${Chosen} key=${place.page} query=${place.query} session=${session} />` : html`<${NoPage} />`;
}

const NoPage = () => html`<${Title} text=${texts.notFound.title} /><${Empty} text=${texts.notFound.text} />`;

function skip(event) {
  event.preventDefault(); // the router owns the address after #
  document.getElementById("main").focus();
}

await takeUp();
document.body.replaceChildren();
render(html`<${App} />`, document.body);
