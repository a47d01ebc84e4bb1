//! The only place that knows signals. The first asks for a graceful stop, the
//! second leaves at once. A panic anywhere asks for a stop too, so that what
//! was started is put away before the process ends as a bug.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Asks for a stop, and knows why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shutdown {
    token: CancellationToken,
    panicked: Arc<AtomicBool>,
}

impl Shutdown {
    /// Cancelled when a stop is asked for.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Whether something panicked.
    pub(crate) fn panicked(&self) -> bool {
        self.panicked.load(Ordering::SeqCst)
    }

    /// A panic is a bug: it is told as one, and everything is asked to stop.
    pub(crate) fn stop_on_panic(&self) {
        let shutdown = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            shutdown.panicked.store(true, Ordering::SeqCst);
            shutdown.token.cancel();
            let _ = writeln!(
                std::io::stderr(),
                "vllm-grid has a bug: {panic}\nPlease report it with this text."
            );
        }));
    }

    /// Listens for Ctrl-C, SIGTERM and SIGHUP from now on.
    pub(crate) fn listen(&self) {
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            // A signal that cannot be listened for keeps its default: the process ends.
            let Ok(mut stream) = signal(kind) else { continue };
            let token = self.token.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if token.is_cancelled() {
                        leave_at_once();
                    }
                    let _ = writeln!(std::io::stderr(), "stopping; once more leaves at once");
                    token.cancel();
                }
            });
        }
    }
}

fn leave_at_once() -> ! {
    let _ = writeln!(
        std::io::stderr(),
        "left at once: the journal holds every finished repeat. `vllm-grid recover` starts production \
         again and removes what is left; `vllm-grid resume RUN` goes on with the sweep"
    );
    std::process::exit(Exit::LeftAtOnce as i32);
}
