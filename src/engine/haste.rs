//! How long the end of a server may take once a stop is asked for, where whoever asks does not
//! wait for long: a cluster kills a job some seconds after it asked it to end. What is done then
//! is the engines'.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Shortens the usual grace of a server; by default it does not.
#[derive(Clone, Debug, Default)]
pub struct Haste(Option<(CancellationToken, Duration)>);

impl Haste {
    /// From the stop on that `cancel` asks for, a server has no more than `most` to end.
    pub fn after(cancel: &CancellationToken, most: Duration) -> Self {
        Self(Some((cancel.clone(), most)))
    }

    /// Returns when a server has had its time since a stop was asked for: never without one.
    pub async fn is_over(&self) {
        match &self.0 {
            Some((cancel, most)) => {
                cancel.cancelled().await;
                sleep(*most).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Returns after `usual`, or earlier where a stop was asked for.
    pub async fn grace(&self, usual: Duration) {
        tokio::select! {
            () = sleep(usual) => {}
            () = self.is_over() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stop_shortens_a_grace_that_has_begun_and_nothing_else_does() {
        let cancel = CancellationToken::new();
        let haste = Haste::after(&cancel, Duration::from_secs(2));
        let began = Instant::now();
        haste.grace(Duration::from_mins(1)).await;
        assert_eq!(began.elapsed(), Duration::from_mins(1));
        let (began, stop) = (Instant::now(), cancel.clone());
        tokio::spawn(async move {
            sleep(Duration::from_secs(10)).await;
            stop.cancel();
        });
        haste.grace(Duration::from_mins(1)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(12));
        let began = Instant::now();
        haste.grace(Duration::from_secs(1)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(1), "it makes nothing longer");
        Haste::default().grace(Duration::from_secs(5)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(6));
    }
}
