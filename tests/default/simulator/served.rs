//! A served simulator and what its specifications ask of it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::sync::{Arc, Mutex};

use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vllm_grid::simulator::{self, Booted, Ending, LogSink, Options};

/// A served simulator and the way to it.
pub(crate) struct Running {
    pub(crate) url: String,
    pub(crate) client: Client,
    pub(crate) cancel: CancellationToken,
    pub(crate) log: Arc<Mutex<Vec<String>>>,
    pub(crate) serving: JoinHandle<std::io::Result<Ending>>,
}

pub(crate) fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

pub(crate) fn memory_log() -> (LogSink, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let copy = Arc::clone(&lines);
    (Arc::new(move |line: &str| copy.lock().unwrap().push(line.to_owned())), lines)
}

impl Running {
    pub(crate) async fn start(line: &str) -> Self {
        let (argv, options) = simulator::command_line(&words(line), []).unwrap();
        Self::serve(&argv, &options).await
    }

    pub(crate) async fn serve(argv: &[String], options: &Options) -> Self {
        let (sink, log) = memory_log();
        let cancel = CancellationToken::new();
        let booted = simulator::boot(argv, options, sink, &cancel).await.unwrap();
        Self::serve_booted(booted, log, cancel).await
    }

    pub(crate) async fn serve_booted(
        booted: Booted,
        log: Arc<Mutex<Vec<String>>>,
        cancel: CancellationToken,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(booted.serve(listener, cancel.clone()));
        let client = Client::builder().no_proxy().build().unwrap();
        Self { url, client, cancel, log, serving }
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    pub(crate) async fn chat(&self, body: Value) -> Response {
        let url = format!("{}/v1/chat/completions", self.url);
        self.client.post(url).bearer_auth("k").json(&body).send().await.unwrap()
    }

    /// The sum over a metric's labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text().await.unwrap();
        text.lines()
            .filter(|line| line.starts_with(&format!("{name}{{")))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    pub(crate) async fn stop(self) -> Vec<String> {
        self.cancel.cancel();
        assert_eq!(self.serving.await.unwrap().unwrap(), Ending::Stopped);
        self.log.lock().unwrap().clone()
    }
}

/// The chunks of a streamed answer, `[DONE]` left out but required.
pub(crate) async fn chunks(response: Response) -> Vec<Value> {
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let mut events: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty()).collect();
    assert_eq!(events.pop(), Some("data: [DONE]"));
    events
        .iter()
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

pub(crate) fn prompt(salt: &str, words: usize) -> Value {
    let text: Vec<&str> =
        (0..words).map(|word| ["some", "words", "of", "text"][word % 4]).collect();
    json!([
        {"role": "system", "content": format!("{salt} {}", text.join(" "))},
        {"role": "user", "content": "Go on"},
    ])
}
