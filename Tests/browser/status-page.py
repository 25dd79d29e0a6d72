#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looks at a status page in a real Chromium and says what is wrong with it. Driven by StatusBrowserTests.

Usage: status-page.py check URL PID     check everything; PID is a worker's process, killed to see the charts move
       status-page.py draw URL FOLDER   take the pictures of the documentation
"""
import json
import os
import shutil
import signal
import sys
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

SCHEMES = ("light", "dark")
problems = []


def expect(condition, problem):
    if not condition:
        problems.append(problem)


def browser(script=True):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars", "--force-color-profile=srgb"):
        options.add_argument(argument)
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    chrome.set_page_load_timeout(60)
    return chrome


def size(chrome, width, height):
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                           {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})


def scheme(chrome, name):
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia",
                           {"features": [{"name": "prefers-color-scheme", "value": name},
                                         {"name": "prefers-reduced-motion", "value": "reduce"}]})


def eventually(what, ask, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = ask()
        if value:
            return value
        time.sleep(0.1)
    problems.append(f"{what} did not come within {seconds} s")
    return None


# The contrast of each text with what is behind it, by WCAG's formula: those below 4.5.
CONTRAST = """
const parse = (text) => (text.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (element) => {
  for (let here = element; here; here = here.parentElement) {
    const colour = parse(getComputedStyle(here).backgroundColor);
    if (colour.length < 4 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const poor = [];
let looked = 0;
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const element = walk.currentNode.parentElement;
  if (!walk.currentNode.textContent.trim() || element.closest("script, style, noscript, title")) continue;
  const [first, second] = [luminance(parse(getComputedStyle(element).color)), luminance(behind(element))];
  const ratio = (Math.max(first, second) + 0.05) / (Math.min(first, second) + 0.05);
  looked += 1;
  if (ratio < 4.5) poor.push(`${element.className || element.tagName}: ${ratio.toFixed(2)}`);
}
return [looked, [...new Set(poor)]];
"""

STRUCTURE = """
const wrong = [];
const need = (condition, text) => { if (!condition) wrong.push(text); };
need(document.documentElement.lang, "html has no language");
need(document.querySelectorAll("h1").length === 1, "there is not exactly one h1");
for (const name of ["header", "main", "footer", "nav[aria-label]"]) need(document.querySelector(name), `no ${name}`);
for (const table of document.querySelectorAll("table")) {
  need(table.caption && table.caption.textContent.trim(), `table ${table.className} has no caption`);
  for (const row of table.tBodies[0].rows) {
    const cells = [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0);
    need(cells === table.tHead.rows[0].cells.length, `a row of ${table.className} has ${cells} cells`);
  }
}
for (const heading of document.querySelectorAll("th")) need(heading.scope, `th ${heading.textContent} has no scope`);
for (const image of document.querySelectorAll("svg")) {
  need(image.getAttribute("role") === "img" && image.getAttribute("aria-label"), "an svg has no name");
}
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
need(new Set(ids).size === ids.length, "an id comes twice");
need(document.querySelectorAll("time:not([datetime$=Z])").length === 0, "a time is not in UTC");
for (const link of document.querySelectorAll("a")) need(link.textContent.trim(), "a link has no text");
return wrong;
"""


def accessible(chrome):
    """The names in the accessibility tree by role."""
    names = {}
    for node in chrome.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]:
        if not node.get("ignored"):
            names.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    return names


def look(chrome, where):
    """What must hold at any size, in any scheme."""
    expect(not chrome.execute_script(STRUCTURE), f"{where}: {chrome.execute_script(STRUCTURE)}")
    width = chrome.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
    expect(width[0] <= width[1], f"{where}: the page is {width[0]} wide in a window of {width[1]}")


def check_with_script(url, pid):
    chrome = browser()
    try:
        size(chrome, 1280, 900)
        chrome.get(url)
        # Chromium does not emulate a scheme that a page before had.
        backs = []
        for name in SCHEMES:
            scheme(chrome, name)
            looked, poor = chrome.execute_script(CONTRAST)
            expect(looked > 50, f"only {looked} texts in {name}")
            expect(not poor, f"contrast in {name}: {poor}")
            backs.append(chrome.execute_script("return getComputedStyle(document.body).backgroundColor"))
            look(chrome, name)
        expect(backs[0] != backs[1], f"both schemes are {backs[0]}")

        for width in (1280, 768, 360, 320):
            size(chrome, width, 740)
            look(chrome, f"at {width}")
            names = accessible(chrome)
            expect(len(names.get("table", [])) == 3, f"at {width} the tables are {names.get('table')}")
            for table in ("Health", "Workers", "Looping calls"):
                expect(any(name.startswith(table) for name in names.get("table", [])), f"at {width}: no table {table}")
            expect(len(names.get("columnheader", [])) >= 20, f"at {width} headings of columns are lost")
            expect(len(names.get("rowheader", [])) >= 5, f"at {width} headings of rows are lost")
            images = names.get("image", []) + names.get("img", [])
            expect(sum("last" in name for name in images) == 3, f"at {width} the charts are {images}")
        size(chrome, 1280, 900)

        # An event moves the charts and the tables, without the page being loaded again.
        chrome.execute_script("window.mark = 1")
        line = "return document.querySelectorAll('.chart')[2].querySelector('.line')?.getAttribute('d') ?? ''"
        before = eventually("a chart", lambda: chrome.execute_script(line))
        rows = "return document.getElementById('workers-rows').innerText"
        expect("signal" not in chrome.execute_script(rows), "a worker was restarted before it was killed")
        os.kill(pid, signal.SIGKILL)
        eventually("the restart in the table", lambda: "signal" in chrome.execute_script(rows))
        eventually("the restart in the chart",
                   lambda: "1" == chrome.execute_script("return document.querySelectorAll('.now')[2].innerText"))
        expect(chrome.execute_script(line) != before, "the chart of restarts has not moved")
        expect(chrome.execute_script("return window.mark") == 1, "the page was loaded again")
        expect("Live" in chrome.execute_script("return document.getElementById('connection').innerText"), "not live")

        # What is focused stays focused, and can be seen to be.
        chrome.execute_script("document.querySelector('nav a').focus()")
        taken = chrome.execute_script("return document.getElementById('taken').innerText")
        eventually("the next figures",
                   lambda: chrome.execute_script("return document.getElementById('taken').innerText") != taken)
        expect(chrome.execute_script("return document.activeElement.innerText") == "Metrics", "the focus is lost")

        # Nothing is run that the page has not brought along.
        ran = chrome.execute_async_script("""
            const done = arguments[0];
            document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.evil = 1";
            document.body.append(script);
            setTimeout(() => done(window.evil ? "ran" : "nothing"), 5000);
        """)
        expect(str(ran).startswith("script-src"), f"a foreign script: {ran}")
        log = [entry for entry in chrome.get_log("browser")
               if entry["level"] in ("SEVERE", "WARNING") and "evil" not in entry["message"]]
        # The violation that was asked for above is the only one.
        foreign = [entry["message"] for entry in log if "Content Security Policy" not in entry["message"]]
        expect(not foreign, f"the console says {foreign}")
        expect(len(log) - len(foreign) <= 1, f"the console says {log}")
        loaded = chrome.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
        outside = [name for name in loaded if not name.startswith(url) and not name.startswith("data:")]
        expect(not outside, f"loaded from elsewhere: {outside}")
    finally:
        chrome.quit()


def check_without_script(url):
    chrome = browser(script=False)
    try:
        chrome.get(url)
        text = chrome.find_element("css selector", "main").text
        for word in ("Health", "Workers", "Looping calls", "Restarts"):
            expect(word in text, f"without its script the page has no {word}")
        rows = chrome.find_elements("css selector", "#workers-rows tr")
        expect(len(rows) >= 3, f"without its script the page has {len(rows)} workers")
        expect("Reload" in chrome.find_element("css selector", "footer").text, "it does not say to reload")
    finally:
        chrome.quit()


def draw(url, folder):
    chrome = browser()
    try:
        for name, colours, width in (("status-page-light", "light", 1280), ("status-page-dark", "dark", 1280),
                                     ("status-page-phone", "light", 390)):
            size(chrome, width, 844)
            scheme(chrome, colours)
            chrome.get(url)
            height = min(chrome.execute_script("return document.documentElement.scrollHeight"), 1800)
            size(chrome, width, height)
            time.sleep(0.3)
            chrome.save_screenshot(os.path.join(folder, name + ".png"))
    finally:
        chrome.quit()


if sys.argv[1] == "draw":
    draw(sys.argv[2], sys.argv[3])
else:
    check_with_script(sys.argv[2].rstrip("/") + "/", int(sys.argv[3]))
    check_without_script(sys.argv[2])
print(json.dumps(problems, indent=1, ensure_ascii=False))
sys.exit(1 if problems else 0)
