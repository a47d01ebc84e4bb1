//! The report as one page and as Markdown: what is on it, that nothing is fetched, that every
//! link leads somewhere, and that text from outside stays text. What a browser makes of it is in
//! `browser`.

mod browser;
mod html;
mod large;
mod made;
mod words;
mod written;

use std::collections::BTreeSet;
use std::path::Path;

use html::Page;
use made::Made;
use vllm_grid::history::extent::{Extent, State};
use vllm_grid::report::reading;

const SECTIONS: [&str; 9] = [
    "summary",
    "configuration",
    "results",
    "comparison",
    "analysis",
    "recommendations",
    "limits",
    "next-steps",
    "launches",
];

#[test]
fn every_section_is_there_in_its_order() {
    let page = Page::of(&Made::example().page());
    let sections = page.tags("section").filter_map(|it| it.attribute("id"));
    let named: Vec<String> = sections.filter(|it| SECTIONS.contains(&it.as_str())).collect();
    assert_eq!(named, SECTIONS);
    let headings: Vec<String> = page.texts_of("h2");
    let numbers: Vec<&str> =
        headings.iter().filter_map(|it| it.split_once(". ")).map(|it| it.0).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn nothing_is_fetched_and_every_link_leads_somewhere() {
    for made in [Made::example(), Made::hostile()] {
        let page = Page::of(&made.page());
        let ids: Vec<String> = page.all().filter_map(|it| it.attribute("id")).collect();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "an id stands once");
        assert_eq!(page.all().filter(|it| it.attribute("src").is_some()).count(), 0);
        assert!(page.tags("link").next().is_none() && page.tags("base").next().is_none());
        let mut files = 0;
        for href in page.all().filter_map(|it| it.attribute("href")) {
            if let Some(id) = href.strip_prefix('#') {
                assert!(ids.iter().any(|it| it == id), "{href} leads nowhere");
                continue;
            }
            let path = Path::new("runs/example").join(html::decoded(&href));
            assert!(path.is_file(), "{href} is no file of the run");
            files += 1;
        }
        assert!(files > 50, "records, telemetry and logs: {files}");
        for style in page.contents_of("style") {
            assert!(!style.contains("url(") && !style.contains("@import"), "a style fetches");
        }
        let policy = page.tags("meta").filter(|it| it.attribute("http-equiv").is_some());
        let policies: Vec<String> = policy.filter_map(|it| it.attribute("content")).collect();
        assert_eq!(policies.len(), 1, "{policies:?}");
        assert!(policies[0].starts_with("default-src 'none';"), "{policies:?}");
    }
}

#[test]
fn every_configuration_and_every_launch_has_its_place() {
    let made = Made::example();
    let page = Page::of(&made.page());
    let has = |id: String| page.all().any(|it| it.attribute("id").as_ref() == Some(&id));
    for index in 0..made.ranking.rows.len() {
        assert!(has(format!("configuration-{}", index + 1)));
    }
    for (_, launch) in made.record.all_launches() {
        assert!(has(format!("launch-{}", launch.launch)));
    }
}

#[test]
fn the_keyboard_reaches_the_launches_of_every_figure() {
    let tables = Page::of(&Made::example().page()).links_of_tables();
    let mut figures = 0;
    for rows in &tables {
        let head = rows.first().expect("a head");
        for row in rows {
            for (href, _) in row.iter().filter(|(_, stops)| !stops) {
                let mut others = row.iter().chain(head);
                assert!(others.any(|it| *it == (href.clone(), true)), "{href}: {row:?}");
                figures += 1;
            }
        }
    }
    assert!(figures > 100, "figures are links: {figures}");
}

#[test]
fn the_summary_has_the_words_of_the_block() {
    let made: [fn() -> Made; 3] =
        [Made::example, Made::hostile, || Made::partial(State::Interrupted)];
    for made in made.iter().map(|it| it()) {
        let words = |text: &str| {
            // Backticks are code on the page.
            let words = text.split_whitespace().map(|it| it.replace('`', ""));
            words.filter(|it| *it != "SIMULATED").collect::<Vec<_>>()
        };
        let block = reading::render(&made.reading, 100).replace('\u{a0}', " ");
        let block =
            block.strip_prefix("SIMULATED  no figure here comes from a GPU\n").unwrap_or(&block);
        let page = Page::of(&made.page());
        let shown = page.text_of_class("verdict").replace('\u{a0}', " ");
        assert_eq!(words(&shown), words(block));
    }
}

#[test]
fn a_simulated_sweep_says_so_in_every_title() {
    let made = Made::example();
    let page = Page::of(&made.page());
    assert!(page.texts_of("title")[0].starts_with("SIMULATED"), "{:?}", page.texts_of("title"));
    for level in ["h1", "h2"] {
        for title in page.texts_of(level) {
            assert!(title.ends_with("simulated"), "{title}");
        }
    }
    for title in page.texts_within("figure", "h3") {
        assert!(title.to_lowercase().contains("simulated"), "{title}");
    }
    let markdown = made.markdown();
    for title in markdown.lines().filter(|it| it.starts_with("# ") || it.starts_with("## ")) {
        assert!(title.ends_with("(simulated)"), "{title}");
    }
    let mut real = Made::example();
    real.record.manifest.simulated = false;
    for launch in &mut real.record.launches {
        if let Some(facts) = &mut launch.facts {
            facts.simulated = false;
        }
    }
    let real = real.again();
    let page = Page::of(&real.page());
    // Marks of pictures have titles, too.
    assert_eq!(page.texts_of("title")[0], "Sweep quickstart-20261128T104825Z");
    assert!(page.texts_of("h2").iter().all(|it| !it.contains("simulated")));
}

#[test]
fn text_from_outside_stays_text() {
    let made = Made::hostile();
    let html = made.page();
    let page = Page::of(&html);
    let known: BTreeSet<String> =
        Page::of(&Made::example().page()).all().map(|it| it.name.clone()).collect();
    for tag in page.all() {
        assert!(known.contains(&tag.name), "<{}> came from outside", tag.name);
        for (name, _) in &tag.attributes {
            assert!(!name.starts_with("on"), "<{} {name}>", tag.name);
        }
    }
    assert_eq!(page.tags("script").count(), 1);
    for letter in ['\u{1b}', '\u{202e}', '\u{7}', '\0'] {
        assert!(!html.contains(letter), "{letter:?} acts");
    }
    // It is shown all the same.
    let text = page.text();
    for shown in ["<script>alert(1)</script>", "</style><img src=x onerror=alert(2)>"] {
        assert!(text.contains(shown), "{shown}");
    }
}

#[test]
fn hostile_text_is_no_markdown() {
    let markdown = Made::hostile().markdown();
    // An escaped bracket is none.
    let without_code = without_code(&markdown).replace("\\]", "");
    for markup in ["<script", "<img", "](javascript", "](http", "**bold**", "https://"] {
        assert!(!without_code.contains(markup), "{markup}");
    }
    // No cell has another number of columns than its table.
    let cells = |line: &str| line.replace("\\|", "").matches('|').count();
    let mut columns = None;
    for line in without_code.lines() {
        if !line.starts_with('|') {
            columns = None;
            continue;
        }
        let expected = *columns.get_or_insert(cells(line));
        assert_eq!(cells(line), expected, "{line}");
    }
}

#[test]
fn a_partial_page_says_since_when_and_reloads_itself_while_more_comes() {
    let running = Page::of(&Made::partial(State::Running).page());
    let text = running.text();
    assert!(
        text.contains("partial, as of 2026-11-29 03:12 UTC: 5 of 30 launches are over"),
        "{text}"
    );
    assert!(running.texts_of("title")[0].ends_with("(partial)"));
    assert!(running.tags("body").any(|it| it.attribute("data-reload").is_some()));
    let stopped = Page::of(&Made::partial(State::Interrupted).page());
    assert!(stopped.text().contains("partial, as of 2026-11-28"), "its last entry's time");
    assert!(stopped.tags("body").all(|it| it.attribute("data-reload").is_none()));
    let complete = Page::of(&Made::example().page());
    assert!(!complete.text().contains("partial, as of"));
    assert!(complete.tags("body").all(|it| it.attribute("data-reload").is_none()));
}

#[test]
fn a_failure_has_its_last_lines_and_a_gate_its_evidence() {
    let page = Page::of(&Made::hostile().page());
    let text = page.text();
    assert!(text.contains("30 log lines of 80"), "the last ones");
    assert!(text.contains("log line 79 ") && !text.contains("log line 49 "));
    let said = "The end of engine.log, ";
    assert!(!text.contains(said), "the excerpt has more");
    let example = Page::of(&Made::example().page()).text();
    assert!(text.contains("Gate canary: failed"));
    for absent in ["* baseline", "lost: repeats", "u unconfirmed", "n: launches x repeats;"] {
        assert!(!example.contains(absent), "the page has no {absent}");
    }
    assert!(text.contains("the answer loops"));
}

#[test]
fn the_same_sweep_gives_the_same_page() {
    assert_eq!(Made::example().page(), Made::example().page());
}

#[test]
fn the_report_as_markdown() {
    insta::assert_snapshot!(Made::example().markdown());
}

/// Markdown without its code, in lines and in blocks.
fn without_code(markdown: &str) -> String {
    let mut out = String::new();
    let mut rest = markdown;
    while let Some(at) = rest.find('`') {
        out.push_str(&rest[..at]);
        if rest[..at].ends_with('\\') {
            out.push('`');
            rest = &rest[at + 1..];
            continue;
        }
        let run = rest[at..].bytes().take_while(|it| *it == b'`').count();
        let fence = "`".repeat(run);
        let inside = &rest[at + run..];
        let end = inside.find(&fence).expect("code ends");
        rest = &inside[end + run..];
    }
    out + rest
}

/// How far a sweep of the example's size is.
fn extent(state: State) -> Extent {
    let jobs = Vec::new();
    Extent { done: 5, of: 30, of_least: None, state, confirmation: None, waits: None, jobs }
}
