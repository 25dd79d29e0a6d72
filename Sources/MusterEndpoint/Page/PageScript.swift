// SPDX-License-Identifier: Apache-2.0

/// What keeps an open page up to date.
///
/// It fetches the page again and puts the parts that have changed into their places, so that everything there is to see
/// is written by the server, once. While nobody looks at the page it fetches nothing.
enum PageScript {
    /// Its SHA-256, as a Content-Security-Policy has it. A test compares the two, and says what it should be.
    static let digest = "'sha256-oj/mFFW34snv8L+fDIIl6ogqvI8BQD6d6KUBdKfBYn0='"

    static let text = """
        (() => {
          "use strict";
          const period = 2000;
          const note = document.getElementById("connection");
          let timer = 0;
          let busy = false;
          const say = (state, text) => {
            if (note.textContent !== text) note.textContent = text;
            document.documentElement.dataset.connection = state;
          };
          const take = (fresh) => {
            for (const part of fresh.querySelectorAll("[data-live]")) {
              const here = document.getElementById(part.id);
              if (!here) continue;
              if (here.className !== part.className) here.className = part.className;
              if (here.innerHTML !== part.innerHTML) here.replaceChildren(...part.childNodes);
            }
            document.title = fresh.title;
          };
          const refresh = async () => {
            if (busy) return;
            busy = true;
            try {
              const answer = await fetch(location.pathname, {
                headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(10000),
              });
              if (!answer.ok) throw new Error(answer.status);
              take(new DOMParser().parseFromString(await answer.text(), "text/html"));
              say("live", "Live, every 2 s");
            } catch {
              say("lost", "No answer, still trying");
            }
            busy = false;
            plan();
          };
          const plan = () => {
            clearTimeout(timer);
            if (!document.hidden) timer = setTimeout(refresh, period);
          };
          document.addEventListener("visibilitychange", () => (document.hidden ? plan() : refresh()));
          say("live", "Live, every 2 s");
          plan();
        })();
        """
}
