fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = runtime.block_on(async {
        let cancel = tokio_util::sync::CancellationToken::new();
        let c2 = cancel.clone();
        tokio::spawn(async move {
            tokio::signal::ctrl_c().await.unwrap();
            c2.cancel();
        });
        vllm_grid::simulator::run(
            &args,
            std::env::vars(),
            std::sync::Arc::new(|l: &str| eprintln!("{l}")),
            cancel,
        )
        .await
    });
    std::process::exit(code);
}
