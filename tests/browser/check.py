"""Opens report pages in Chromium as a person does: check.py --pictures DIR [--partial] PAGE...

Every page is opened from the disk. It must ask for nothing but itself, report nothing on the
console, have its sections and pictures, pass axe-core in light and in dark, be usable by
keyboard, and scroll sideways nowhere at 400 px. Screenshots of each width and scheme are put
into DIR. Exit code 1 where something is wrong; each finding is a line.
"""

import argparse
import json
import pathlib
import sys

import axe_playwright_python
from playwright.sync_api import sync_playwright

SECTIONS = ["summary", "configuration", "results", "comparison", "analysis", "recommendations",
            "limits", "next-steps", "launches"]
AXE = pathlib.Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()


class Check:
    def __init__(self, page, name):
        self.page = page
        self.name = name
        self.findings = []

    def must(self, holds, what):
        if not holds:
            self.findings.append(f"{self.name}: {what}")

    def axe(self, scheme):
        # The page's policy allows no script of ours: the browser's own door is used.
        self.page.evaluate(AXE)
        result = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for it in result["violations"]:
            nodes = "; ".join(n["html"][:160] + " " + json.dumps(n.get("any", [])[:1])[:300] for n in it["nodes"][:3])
            self.must(False, f"axe, {scheme}: {it['id']} ({it['impact']}), {len(it['nodes'])} nodes: {nodes}")

    def sections(self, pictures):
        for it in SECTIONS:
            self.must(self.page.locator(f"#{it}").count() == 1, f"section {it} is not there once")
        for it in pictures:
            drawn = self.page.locator(f"#picture-{it} svg.picture:visible")
            self.must(drawn.count() == 1, f"picture {it}: {drawn.count()} drawings are visible")
            if drawn.count() == 1:
                box = drawn.bounding_box()
                self.must(box and box["width"] > 200 and box["height"] > 60, f"picture {it} has no room: {box}")
        twice = self.page.evaluate(
            "[...document.querySelectorAll('[id]')].map(e => e.id).filter((id, at, all) => all.indexOf(id) !== at)")
        self.must(not twice, f"ids twice: {twice[:5]}")

    def keyboard(self):
        page = self.page
        page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
        page.keyboard.press("Tab")
        skip = page.evaluate("document.activeElement.className")
        self.must(skip == "skip", f"the first Tab reaches `{skip}`, not the skip link")
        shown = page.evaluate("document.activeElement.getBoundingClientRect().left >= 0")
        self.must(shown, "the skip link is not visible with the focus")
        page.keyboard.press("Enter")
        self.must(page.evaluate("location.hash") == "#summary", "the skip link does not lead to the summary")
        marks = page.locator("svg.picture:visible a.mark")
        if marks.count() > 0:
            # The region before it is where a person comes from.
            marks.first.focus()
            is_mark = page.evaluate("document.activeElement.classList.contains('mark')")
            self.must(is_mark, "a picture's mark cannot be focused")
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            self.must(outline != "none", "the focus of a mark is not seen")
            href = page.evaluate("document.activeElement.getAttribute('href')")
            page.keyboard.press("Enter")
            self.must(page.evaluate("location.hash") == href, f"Enter on a mark does not lead to {href}")
            target = page.evaluate(
                "(() => { const it = document.getElementById(location.hash.slice(1)); if (!it) return null;"
                " const box = it.getBoundingClientRect(); return box.top; })()")
            page.wait_for_timeout(600)
            seen = page.evaluate(
                "(() => { const it = document.getElementById(location.hash.slice(1)); if (!it) return false;"
                " const box = it.getBoundingClientRect(); return box.top < innerHeight && box.bottom > 0; })()")
            self.must(target is not None and seen, f"{href} is not on the screen after Enter")
        links = page.locator("#results tbody th a")
        if links.count() > 0:
            href = links.first.get_attribute("href")
            links.first.focus()
            page.keyboard.press("Enter")
            self.must(page.evaluate("location.hash") == href, "Enter on a configuration leads nowhere")

    def phone(self):
        page = self.page
        wide = page.evaluate("document.documentElement.scrollWidth > innerWidth + 1")
        if wide:
            worst = page.evaluate(
                "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
                " && !e.closest('.scroll, pre, svg')).slice(0, 5).map(e => e.outerHTML.slice(0, 120))")
            self.must(False, f"the page scrolls sideways at 400 px: {worst}")
        small = page.evaluate(
            "[...document.querySelectorAll('svg.picture text')].filter(e => e.getClientRects().length)"
            ".filter(e => e.getScreenCTM().a * parseFloat(getComputedStyle(e).fontSize) < 10.9)"
            ".slice(0, 3).map(e => e.textContent)")
        self.must(not small, f"text of pictures below 11 px at 400 px: {small}")

    def sorting(self):
        button = self.page.locator("#results thead th button").first
        if button.count() > 0:
            button.click()
            self.must(button.locator("..").get_attribute("aria-sort") == "ascending", "a column is not sorted")


def opened(browser, path, width, scheme, scripts=True):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=scripts,
        reduced_motion="reduce")
    page = context.new_page()
    said, asked = [], []
    page.on("console", lambda it: said.append(f"{it.type}: {it.text}"))
    page.on("pageerror", lambda it: said.append(f"error: {it}"))
    page.on("request", lambda it: asked.append(it.url))
    page.goto(path.as_uri())
    return page, said, asked


def check(browser, path, pictures, into, partial):
    findings = []
    for scheme in ["light", "dark"]:
        for width in [400, 1000, 1600]:
            page, said, asked = opened(browser, path, width, scheme)
            it = Check(page, f"{path.name} at {width} px, {scheme}")
            it.must(not said, f"console: {said}")
            it.must(asked == [path.as_uri()], f"requests: {asked}")
            it.sections(pictures)
            if width == 400:
                it.phone()
            if width != 1000:
                it.axe(scheme)
            page.screenshot(path=into / f"{path.stem}-{width}-{scheme}.png", full_page=True)
            if width == 1000:
                it.keyboard()
                it.sorting()
            it.must(not said, f"console: {said}")
            findings += it.findings
            page.context.close()
    page, said, _ = opened(browser, path, 1000, "light", scripts=False)
    it = Check(page, f"{path.name} without scripts")
    text = page.locator("main").inner_text()
    it.must("Configuration" in text and not said, f"not complete: {said}")
    reloads = page.locator("noscript meta, meta[http-equiv=refresh]").count() > 0
    it.must(reloads == partial, f"reloads itself: {reloads}")
    page.emulate_media(media="print")
    page.screenshot(path=into / f"{path.stem}-print.png", full_page=True)
    page.context.close()
    return findings + it.findings


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--pictures", default="", help="ids of pictures that must be there, with commas")
    arguments.add_argument("--into", required=True, type=pathlib.Path, help="folder for screenshots")
    arguments.add_argument("--partial", action="store_true", help="the pages are of a sweep that runs")
    arguments.add_argument("pages", nargs="+", type=pathlib.Path)
    given = arguments.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    pictures = [it for it in given.pictures.split(",") if it]
    findings = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for page in given.pages:
            findings += check(browser, page.resolve(), pictures, given.into, given.partial)
        browser.close()
    for it in findings:
        print(it)
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
