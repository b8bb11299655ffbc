//! The HTML pages in a real browser: Debian's `chromium`, without a window.
//!
//! Without `chromium`, every test is reported as ignored. The check of the accessibility needs axe-core too, which
//! `.ci/tools DIRECTORY` fetches; `PORTOLAN_TOOLS` names the directory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use tempfile::TempDir;

use browser::Browser;

fn main() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has_browser = std::env::split_paths(&path).any(|directory| directory.join("chromium").is_file());
    let axe = std::env::var_os("PORTOLAN_TOOLS").map(|tools| PathBuf::from(tools).join("axe.min.js"));
    let axe = axe.filter(|file| file.is_file());
    let tests: [(&str, fn()); 8] = [
        ("a_page_opens_without_a_complaint_at_every_width", opens),
        ("a_page_can_be_read_without_its_script", without_script),
        ("search_narrows_the_table", search),
        ("columns_sort_the_table", sort),
        ("the_map_is_used_with_the_keyboard", keyboard),
        ("a_page_is_printed", prints),
        ("payloads_in_names_execute_nothing", payloads),
        ("ten_thousand_listeners_open", many),
    ];
    let mut trials: Vec<Trial> = tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                test();
                Ok(())
            })
            .with_ignored_flag(!has_browser)
        })
        .collect();
    let is_ignored = !has_browser || axe.is_none();
    let axe = axe.unwrap_or_default();
    let accessible = Trial::test("axe_finds_no_barrier", move || {
        accessible(&axe);
        Ok(())
    });
    trials.push(accessible.with_ignored_flag(is_ignored));
    let mut arguments = Arguments::from_args();
    // A browser is several processes already.
    arguments.test_threads = Some(1);
    libtest_mimic::run(&arguments, trials).exit();
}

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)
}

fn snapshot(name: &str) -> Value {
    serde_json::from_slice(&fs::read(capture(name)).unwrap()).unwrap()
}

/// A directory with pages.
struct Pages(TempDir);

impl Pages {
    fn new() -> Self {
        Pages(tempfile::tempdir().unwrap())
    }

    /// Writes the page that a command prints.
    fn page(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let mut portolan = Command::new(env!("CARGO_BIN_EXE_portolan"));
        let output = portolan.args(arguments).args(["-o", "html"]).output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{output:?}");
        let path = self.0.path().join(name).with_extension("html");
        fs::write(&path, output.stdout).unwrap();
        path
    }

    fn file(&self, name: &str, snapshot: &Value) -> PathBuf {
        let path = self.0.path().join(name).with_extension("json");
        fs::write(&path, snapshot.to_string()).unwrap();
        path
    }

    fn audit_of(&self, name: &str, snapshot: &Value) -> PathBuf {
        let from = self.file(name, snapshot);
        self.page(name, &["audit", "--from", from.to_str().unwrap()])
    }

    /// Writes an audit with findings, an incomplete audit with every mark of the map, and a comparison.
    fn usual(&self) -> Vec<PathBuf> {
        let server = self.audit_of("server", &snapshot("server.json"));
        let mut five = snapshot("five.json");
        let gap = json!({"stage": "owners", "what": "sockets", "count": 3, "why": "permission denied",
            "remedy": "run as root"});
        five["gaps"] = json!([gap]);
        let path = self.file("five", &five);
        let arguments = ["audit", "--fail-on", "info", "--from", path.to_str().unwrap()];
        let incomplete = self.page("incomplete", &arguments);
        let mut later = five.clone();
        let sockets = later["sockets"].as_array_mut().unwrap();
        sockets.remove(0);
        sockets[0]["local"]["port"] = 9999.into();
        let later = self.file("later", &later);
        let arguments = ["diff", path.to_str().unwrap(), later.to_str().unwrap()];
        vec![server, incomplete, self.page("diff", &arguments)]
    }
}

const WIDTHS: [u32; 3] = [400, 800, 1600];

fn opens() {
    let pages = Pages::new();
    let mut browser = Browser::start();
    for page in pages.usual() {
        for (width, is_dark) in WIDTHS.into_iter().flat_map(|width| [(width, false), (width, true)]) {
            browser.open(&page, width, is_dark);
            let place = format!("{} {width} {is_dark}", page.display());
            assert_eq!(browser.complaints(), Vec::<Value>::new(), "{place}");
            let wide = browser.value("document.documentElement.scrollWidth");
            assert!(wide.as_u64().unwrap() <= width.into(), "{place}: {wide}");
            let colour = browser.value("getComputedStyle(document.body).backgroundColor");
            assert_eq!(colour == "rgb(15, 19, 24)", is_dark, "{place}: {colour}");
        }
    }
}

/// Returns the texts of the cells of a column of the listeners, as far as the rows are shown.
fn column(browser: &mut Browser, heading: &str) -> Vec<String> {
    let cells = browser.value(&format!(
        "(() => {{ const table = document.querySelector('section[aria-labelledby=listeners] table');
        const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === '{heading}');
        return [...table.tBodies[0].rows].filter((row) => row.getClientRects().length).map((row) => row.cells[at].textContent.trim()) }})()"
    ));
    serde_json::from_value(cells).unwrap()
}

fn without_script() {
    let pages = Pages::new();
    let page = pages.audit_of("server", &snapshot("server.json"));
    let mut browser = Browser::start();
    browser.call("Emulation.setScriptExecutionDisabled", &json!({"value": true}));
    browser.open(&page, 800, false);
    assert_eq!(column(&mut browser, "PORT").len(), 9);
    assert_eq!(browser.value("document.querySelectorAll('button').length"), 0);
    let field = browser.value("document.querySelector('input').getClientRects().length");
    assert_eq!(field, 0, "a field that does nothing is not shown");
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

fn search() {
    let pages = Pages::new();
    let page = pages.audit_of("server", &snapshot("server.json"));
    let mut browser = Browser::start();
    browser.open(&page, 1600, false);
    for (typed, ports, count) in [
        ("nginx", &["80", "443", "4444"][..], "3 of 9 listeners"),
        ("NGINX 443", &["443"], "1 of 9 listeners"),
        ("critical", &["4444", "6379"], "2 of 9 listeners"),
        ("no such thing", &[], "0 of 9 listeners"),
        ("", &["22", "80", "443", "4444", "6379", "53", "53", "3000", "5432"], "9 listeners"),
    ] {
        browser.value("document.querySelector('input').select()");
        browser.value("document.querySelector('input').value = ''");
        browser.value("document.querySelector('input').dispatchEvent(new Event('input'))");
        if !typed.is_empty() {
            browser.value("document.querySelector('input').focus()");
            browser.call("Input.insertText", &json!({"text": typed}));
        }
        assert_eq!(column(&mut browser, "PORT"), ports, "{typed}");
        assert_eq!(browser.value("document.querySelector('output').textContent"), count, "{typed}");
    }
    // A link to a row that the search hides shows the row.
    browser.value("document.querySelector('input').focus()");
    browser.call("Input.insertText", &json!({"text": "nginx"}));
    browser.value("new Promise((shown) => { addEventListener('hashchange', shown); location.hash = '#l0' }).then(() => 0)");
    assert_eq!(column(&mut browser, "PORT").len(), 9);
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

fn sort() {
    let pages = Pages::new();
    let page = pages.audit_of("server", &snapshot("server.json"));
    let mut browser = Browser::start();
    browser.open(&page, 1600, false);
    for (heading, order, first, last) in [
        ("PORT", "ascending", "22", "6379"),
        ("PORT", "descending", "6379", "22"),
        ("SEVERITY", "ascending", "critical", "-"),
        ("PID", "ascending", "611", "4711"),
        ("PROCESS", "ascending", "dnsmasq", "sshd"),
    ] {
        let sorted = browser.value(&format!(
            "(() => {{ const headings = [...document.querySelectorAll('section[aria-labelledby=listeners] th')];
            const heading = headings.find((heading) => heading.textContent === '{heading}');
            heading.querySelector('button').click();
            return headings.filter((other) => other.ariaSort).map((other) => other.textContent + other.ariaSort) }})()"
        ));
        assert_eq!(sorted, json!([format!("{heading}{order}")]));
        let cells = column(&mut browser, heading);
        assert_eq!(
            (cells.first().unwrap().as_str(), cells.last().unwrap().as_str()),
            (first, last),
            "{cells:?}"
        );
        assert_eq!(cells.len(), 9);
    }
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

/// Every mark of the map has a name, and the keyboard reaches it and follows it to its row.
fn keyboard() {
    let pages = Pages::new();
    let page = pages.audit_of("server", &snapshot("server.json"));
    let mut browser = Browser::start();
    browser.open(&page, 1600, false);
    browser.value("document.querySelector('.skip').focus()");
    let mut names = Vec::new();
    for _ in 0..browser.value("document.querySelectorAll('.ports a').length").as_u64().unwrap() {
        browser.press("Tab");
        let name =
            browser.value("document.activeElement.closest('.ports a')?.querySelector('title').textContent");
        names.push(name.as_str().unwrap().to_owned());
    }
    assert!(names.contains(&"tcp 0.0.0.0:4444 socat: shell-listener (critical)".to_owned()), "{names:?}");
    assert!(names.iter().any(|name| name.contains("tcp *:22 sshd")), "{names:?}");
    // The last mark is one of the most severe.
    browser.press("Enter");
    let row = browser.value("document.querySelector('tr:target').cells[0].textContent");
    assert_eq!(row, "critical");
}

fn prints() {
    let pages = Pages::new();
    let mut browser = Browser::start();
    for page in pages.usual() {
        browser.open(&page, 800, true);
        let printed = browser.call("Page.printToPDF", &json!({"printBackground": true}));
        let pdf = printed["data"].as_str().unwrap();
        assert!(pdf.starts_with("JVBERi0"), "not a PDF: {}", &pdf[..20]);
        browser.call("Emulation.setEmulatedMedia", &json!({"media": "print"}));
        let field = browser.value("document.querySelector('input').getClientRects().length");
        assert_eq!(field, 0, "a field for typing is not printed");
        // Each sheet repeats the headings of a table, but not what is inside a button.
        let headings = browser.value(
            "[...document.querySelectorAll('th button')].map((button) => getComputedStyle(button).display)",
        );
        let headings = headings.as_array().unwrap();
        assert!(!headings.is_empty() && headings.iter().all(|display| display == "contents"), "{headings:?}");
        // Paper is white, also if the screen is dark.
        let colours = browser.value("getComputedStyle(document.body).color");
        assert_eq!(colours, "rgb(27, 31, 36)");
        let cells = browser.value(
            "[...document.querySelectorAll('.wide')].map((part) => part.scrollWidth - part.clientWidth)",
        );
        assert!(cells.as_array().unwrap().iter().all(|beyond| beyond == 0), "cut on paper: {cells}");
    }
}

fn payloads() {
    let pages = Pages::new();
    let names = [
        "<script>window.executed = 1</script>",
        "</style><style>body { display: none }",
        "</script><script>window.executed = 2</script>",
        "</title><img src=x onerror='window.executed = 3'>",
        "\"><svg onload='window.executed = 4'>",
        "javascript:window.executed=5",
        "</svg><iframe srcdoc='<script>parent.executed = 6</script>'>",
        "a\u{202e}gpj.exe\u{2066}",
    ];
    let mut hostile = snapshot("server.json");
    let mut next = names.iter().cycle();
    let mut payload = || *next.next().unwrap();
    hostile["host"]["name"] = names[3].into();
    hostile["gaps"] = names
        .map(|name| json!({"stage": "owners", "what": name, "count": 1, "why": name, "remedy": name}))
        .into();
    hostile["notes"] = json!([{"what": names[0], "count": null, "remedy": names[4]}]);
    for process in hostile["processes"].as_array_mut().unwrap() {
        for key in ["name", "user", "unit", "cwd"] {
            process[key] = payload().into();
        }
        process["exe"]["path"] = format!("/tmp/{}", payload()).into();
        process["cmdline"] = json!([payload(), payload()]);
    }
    for socket in hostile["sockets"].as_array_mut().unwrap() {
        socket["user"] = payload().into();
        socket["unit"] = payload().into();
        socket["netns"] = json!({"inode": 7, "name": payload()});
        socket["local"]["device"] = payload().into();
    }
    let after = pages.file("after", &hostile);
    let before = pages.file("before", &snapshot("five.json"));
    let mut browser = Browser::start();
    let arguments = ["diff", "--other-host", before.to_str().unwrap(), after.to_str().unwrap()];
    for page in [pages.audit_of("hostile", &hostile), pages.page("diff", &arguments)] {
        browser.open(&page, 1600, false);
        browser.value("new Promise((next) => setTimeout(next))");
        assert_eq!(browser.value("window.executed"), Value::Null);
        let counts = browser.value("['script', 'style', 'img', 'iframe', '[onload]', '[onerror]', 'base', 'form'].map((kind) => document.querySelectorAll(kind).length)");
        assert_eq!(counts, json!([1, 1, 0, 0, 0, 0, 0, 0]));
        let links = browser.value(
            "[...document.querySelectorAll('a')].every((link) => link.getAttribute('href').startsWith('#'))",
        );
        assert_eq!(links, true);
        let text = browser.value("document.body.textContent");
        let text = text.as_str().unwrap();
        assert!(text.contains(names[0]) && text.contains("a\\u{202e}gpj.exe\\u{2066}"), "{text}");
        assert!(!text.contains(['\u{202e}', '\u{2066}']));
        assert_eq!(browser.complaints(), Vec::<Value>::new());
        // A script that were in the page after all would not run.
        browser.value(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.executed = 7\">')",
        );
        browser.value("document.body.append(Object.assign(document.createElement('script'), { text: 'window.executed = 8' }))");
        browser.value("new Promise((next) => setTimeout(next))");
        assert_eq!(browser.value("window.executed"), Value::Null);
    }
}

fn many() {
    let pages = Pages::new();
    let mut snapshot = snapshot("server.json");
    let (sockets, processes) =
        (snapshot["sockets"].as_array().unwrap(), snapshot["processes"].as_array().unwrap());
    let (mut sockets, mut processes) = (sockets.clone(), processes.clone());
    let (socket, process) = (sockets[0].clone(), processes[0].clone());
    for at in 0..10_000_u32 {
        let (mut socket, mut process) = (socket.clone(), process.clone());
        let pid = 100_000 + at;
        socket["local"]["port"] = (7000 + at * 5).into();
        socket["local"]["address"] = if at % 2 == 0 { "127.0.0.1" } else { "0.0.0.0" }.into();
        socket["owner"] = json!({"held": [pid]});
        process["pid"] = pid.into();
        sockets.push(socket);
        processes.push(process);
    }
    (snapshot["sockets"], snapshot["processes"]) = (sockets.into(), processes.into());
    let page = pages.audit_of("many", &snapshot);
    let mut browser = Browser::start();
    browser.open(&page, 1600, false);
    assert_eq!(column(&mut browser, "PORT").len(), 10_009);
    browser.value("document.querySelector('input').focus()");
    browser.call("Input.insertText", &json!({"text": "9000"}));
    assert!(column(&mut browser, "PORT").contains(&"9000".to_owned()));
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

fn accessible(axe: &Path) {
    let axe = fs::read_to_string(axe).unwrap();
    let pages = Pages::new();
    let mut browser = Browser::start();
    for page in pages.usual() {
        for (width, is_dark) in [(400, false), (1600, true), (1600, false)] {
            browser.open(&page, width, is_dark);
            browser.value(&format!("{axe}; 0"));
            let found = browser.value("axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map((found) => [found.id, found.help, found.nodes.slice(0, 3).map((node) => node.html + node.failureSummary)]))");
            assert_eq!(found, json!([]), "{} {width} {is_dark}", page.display());
        }
    }
    // The check itself finds a barrier.
    browser.value("document.querySelector('html').removeAttribute('lang')");
    let found = browser.value("axe.run().then(({ violations }) => violations.map((found) => found.id))");
    assert_eq!(found, json!(["html-has-lang"]));
}
