// SPDX-License-Identifier: Apache-2.0

/// How the page looks: the system's letters, light or dark as the reader's system is, tables that become cards where
/// there is no room for them.
enum PageStyle {
    /// Its SHA-256, as a Content-Security-Policy has it. A test compares the two, and says what it should be.
    static let digest = "'sha256-LUJe4q0o2HHmY3wg3T41+ptAzPVmtktaor7lQmjPiLw='"

    static let text = """
        :root {
          color-scheme: light dark;
          --page: #f6f7f9; --card: #ffffff; --line: #dde1e7; --text: #1a1f28; --soft: #566072; --link: #0b57c2;
          --good: #0a6640; --good-back: #dcf4e6; --warn: #7a4a00; --warn-back: #fdeecb;
          --bad: #a01622; --bad-back: #fde3e4; --calm: #44506a; --calm-back: #e7eaf1; --chart: #2563c9;
        }
        @media (prefers-color-scheme: dark) {
          :root {
            --page: #12151b; --card: #1a1f28; --line: #303846; --text: #e8ebf1; --soft: #a3adbd; --link: #8ab8ff;
            --good: #7fe0ad; --good-back: #12382a; --warn: #f5cb72; --warn-back: #3d2f10;
            --bad: #ffa3a8; --bad-back: #4a1a20; --calm: #bcc6d8; --calm-back: #2b3341; --chart: #76a9ff;
          }
        }
        * { box-sizing: border-box; }
        html { -webkit-text-size-adjust: 100%; }
        body {
          margin: 0; background: var(--page); color: var(--text);
          font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
        }
        header, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
        header { padding-top: 32px; }
        .title { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; }
        h1 { margin: 0; font-size: 34px; line-height: 1.2; font-weight: 700; letter-spacing: -.02em; }
        h2 { margin: 0; font-size: 17px; font-weight: 650; }
        h1, h2, td, th, dd, .facts { overflow-wrap: anywhere; }
        a { color: var(--link); text-underline-offset: 3px; }
        a:focus-visible, [tabindex]:focus-visible {
          outline: 3px solid var(--link); outline-offset: 2px; border-radius: 4px;
        }
        .skip { position: absolute; left: -999em; }
        .skip:focus { left: 24px; top: 8px; background: var(--card); padding: 4px 8px; }
        .facts { margin: 8px 0 0; color: var(--soft); }
        .facts span:not(:last-child)::after { content: " · "; white-space: pre; }
        nav ul { display: flex; flex-wrap: wrap; gap: 4px 20px; list-style: none; margin: 14px 0 0; padding: 0; }
        nav a { display: inline-block; padding: 3px 0; }
        .pill, .state {
          display: inline-flex; align-items: center; gap: 6px; border-radius: 999px; white-space: nowrap;
          font-weight: 600; color: var(--calm); background: var(--calm-back);
        }
        .pill { padding: 4px 14px; font-size: 16px; }
        .state { padding: 0 9px; font-size: 13px; line-height: 22px; }
        .good { color: var(--good); background: var(--good-back); }
        .warn { color: var(--warn); background: var(--warn-back); }
        .bad { color: var(--bad); background: var(--bad-back); }
        main { padding-top: 24px; display: grid; gap: 20px; }
        section, figure {
          margin: 0; min-width: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px;
        }
        section { padding: 18px 20px 12px; }
        .charts { display: grid; gap: 20px; grid-template-columns: repeat(3, minmax(0, 1fr)); }
        figure { padding: 16px 20px 12px; }
        figcaption { color: var(--soft); font-size: 14px; }
        .now { font-size: 28px; line-height: 1.25; font-weight: 650; letter-spacing: -.01em; }
        .chart svg { display: block; width: 100%; height: 72px; margin-top: 6px; overflow: visible; }
        .chart .line { fill: none; stroke: var(--chart); stroke-width: 2; stroke-linejoin: round; }
        .chart .area { fill: var(--chart); opacity: .13; }
        .chart .base { stroke: var(--line); stroke-width: 1; }
        .axis { display: flex; justify-content: space-between; gap: 8px; color: var(--soft); font-size: 12.5px; }
        table { width: 100%; border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
        caption { text-align: left; padding-bottom: 8px; }
        caption .of { color: var(--soft); font-weight: 400; font-size: 14px; margin-left: 8px; }
        th, td { text-align: left; padding: 7px 14px 7px 0; border-top: 1px solid var(--line); vertical-align: top; }
        thead th { border-top: 0; color: var(--soft); font-weight: 500; font-size: 13px; vertical-align: bottom; }
        tbody th { font-weight: 600; }
        th:last-child, td:last-child { padding-right: 0; }
        .number { text-align: right; white-space: nowrap; }
        .small { color: var(--soft); font-size: 13px; }
        .small.late { color: var(--bad); font-weight: 600; }
        td .small, th .small { display: block; font-weight: 400; }
        .alarm { color: var(--bad); font-weight: 600; }
        .none { color: var(--soft); }
        .number + :not(.number) { padding-left: 8px; }
        .wide { overflow-x: auto; }
        .health td:nth-child(2), .health td:nth-child(3) { white-space: nowrap; }
        .health td:nth-child(4) { width: 60%; }
        footer { padding-top: 20px; padding-bottom: 40px; color: var(--soft); font-size: 13.5px; }
        footer p { margin: 0; display: flex; flex-wrap: wrap; gap: 4px 20px; }
        [data-connection] #connection::before { content: "● "; }
        [data-connection="lost"] #connection { color: var(--bad); font-weight: 600; }
        [data-connection="lost"] main { opacity: .65; }
        @media (prefers-reduced-motion: no-preference) { main { transition: opacity .3s; } }
        @media (max-width: 760px) {
          header, main, footer { padding-left: 16px; padding-right: 16px; }
          header { padding-top: 20px; }
          h1 { font-size: 28px; }
          .charts { grid-template-columns: minmax(0, 1fr); gap: 12px; }
          .chart svg { height: 56px; }
          section, figure { padding: 14px 16px 10px; }
          nav a { padding: 7px 0; }
          table, caption, tbody, tr, th, td { display: block; }
          thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
          tbody tr { padding: 10px 0; border-top: 1px solid var(--line); }
          th, td { border: 0; padding: 2px 0; }
          tbody th { font-size: 15px; }
          .health td:nth-child(4) { width: auto; }
          td, .number { display: flex; justify-content: space-between; gap: 16px; text-align: right; }
          .number + :not(.number) { padding-left: 0; }
          td > span { min-width: 0; }
          td:has(> span:empty) { display: none; }
          td::before { content: attr(data-label); flex: none; color: var(--soft); text-align: left; }
          td[colspan]::before { content: none; }
        }
        """
}

/// What keeps an open page up to date.
///
/// It fetches the page again and puts the parts that have changed into their places, so that everything there is to see
/// is written by the server, once. A hidden page fetches nothing.
enum PageScript {
    /// Its SHA-256, as a Content-Security-Policy has it. A test compares the two, and says what it should be.
    static let digest = "'sha256-Z+zz4BbSQuAt33hFY32ygoAAG4OSWxblh6oMs219OBE='"

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
              say("lost", "Connection lost, retrying");
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
