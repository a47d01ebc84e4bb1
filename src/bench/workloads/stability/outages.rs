//! When the server was down, from what came of requests and of looks at `/health`,
//! and what to do until it serves again. Pure: times enter, and nobody waits here.

use std::time::Duration;

use crate::bench::liveness::DYING;
use crate::client::record::{RequestErrorClass, RequestRecord};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// A server that boots for minutes is found to be back this late at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What a request that is over shows of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answers.
    Serves,
    /// It refused the request, or was silent: it may be up as well as down.
    Unclear,
    /// It may be down: `/health` shows it.
    MayBeDown,
    /// A gateway says that nobody is behind it, whatever its own `/health` is.
    Down,
}

impl Sign {
    pub(super) fn of(record: &RequestRecord) -> Self {
        use RequestErrorClass as Class;
        match record.failure().map(|error| error.class) {
            None | Some(Class::MissingUsage | Class::Malformed | Class::TooLarge) => Self::Serves,
            Some(Class::ClientError | Class::Silent | Class::Cancelled) => Self::Unclear,
            Some(Class::ServerError) if matches!(record.http_status, Some(502..=504)) => Self::Down,
            Some(Class::Connect | Class::Cut | Class::InStream | Class::ServerError) => {
                Self::MayBeDown
            }
        }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A request.
    Send,
    /// A look at `/health`, after a pause.
    Look(Duration),
    /// The end: it is down for too long.
    GiveUp,
}

/// Outages of one repeat. Times are nanoseconds of its clock.
#[derive(Debug)]
pub(super) struct Outages {
    /// An outage may last so long.
    patience_ns: u64,
    /// How long those that are over lasted.
    lasted_ns: Vec<u64>,
    now: Option<Doubt>,
}

/// Since when the server may be down.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since_ns: u64,
    /// It is.
    shown: bool,
    pause: Duration,
}

impl Outages {
    /// None so far, and how long one may last.
    pub(super) fn new(patience: Duration) -> Self {
        let patience_ns = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
        Self { patience_ns, lasted_ns: Vec::new(), now: None }
    }

    /// How long one may last.
    pub(super) fn patience(&self) -> Duration {
        Duration::from_nanos(self.patience_ns)
    }

    /// Whether the server is down, as far as is known.
    pub(super) fn is_down(&self) -> bool {
        self.now.is_some_and(|doubt| doubt.shown)
    }

    /// Outages so far, the present one included.
    pub(super) fn count(&self) -> usize {
        self.lasted_ns.len() + usize::from(self.is_down())
    }

    /// How long the longest lasted until `now_ns`.
    pub(super) fn longest_ns(&self, now_ns: u64) -> Option<u64> {
        let present = self.now.filter(|doubt| doubt.shown);
        let present = present.map(|doubt| now_ns.saturating_sub(doubt.since_ns));
        self.lasted_ns.iter().copied().chain(present).max()
    }

    /// A request came to its end at `ended_ns`. An outage is over when one is sent that
    /// the server answers.
    pub(super) fn request(&mut self, sign: Sign, sent_ns: u64, ended_ns: u64) -> Next {
        match (sign, self.now) {
            (Sign::Serves, doubt) => {
                let outage = doubt.filter(|doubt| doubt.shown);
                self.lasted_ns.extend(outage.map(|doubt| sent_ns.saturating_sub(doubt.since_ns)));
                self.now = None;
                Next::Send
            }
            (Sign::Unclear, None) => Next::Send,
            (Sign::MayBeDown | Sign::Down, None) => {
                // Who has no patience wants to see it.
                let shown = sign == Sign::Down && self.patience_ns > 0;
                self.now = Some(Doubt { since_ns: ended_ns, shown, pause: FIRST_PAUSE });
                // Of a gateway's own health nothing is learnt at once.
                if shown { self.after_pause(ended_ns) } else { Next::Look(Duration::ZERO) }
            }
            (_, Some(_)) => self.after_pause(ended_ns),
        }
    }

    /// `/health` was looked at.
    pub(super) fn looked(&mut self, is_down: bool, now_ns: u64) -> Next {
        let Some(doubt) = &mut self.now else { return Next::Send };
        doubt.shown |= is_down;
        if !is_down {
            if doubt.shown {
                // A request proves it.
                return Next::Send;
            }
            if Duration::from_nanos(now_ns.saturating_sub(doubt.since_ns)) >= DYING {
                self.now = None;
                return Next::Send;
            }
        }
        self.after_pause(now_ns)
    }

    /// A look after a pause, each longer than the one before, as long as one is patient.
    fn after_pause(&mut self, now_ns: u64) -> Next {
        let Some(doubt) = &mut self.now else { return Next::Send };
        let left_ns = self.patience_ns.saturating_sub(now_ns.saturating_sub(doubt.since_ns));
        if doubt.shown && left_ns == 0 {
            return Next::GiveUp;
        }
        let pause = doubt.pause;
        doubt.pause = (pause * 2).min(LONGEST_PAUSE);
        Next::Look(if doubt.shown { pause.min(Duration::from_nanos(left_ns)) } else { pause })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::record::RequestError;

    const S: u64 = 1_000_000_000;
    const MINUTES: Duration = Duration::from_mins(10);

    /// Looks at a server that is down until `up_ns`; when it is seen to be up, or
    /// given up.
    fn looks(outages: &mut Outages, mut next: Next, mut now_ns: u64, up_ns: u64) -> (Next, u64) {
        let mut looks = 0;
        while let Next::Look(pause) = next {
            looks += 1;
            assert!(looks < 1000, "{outages:?}");
            now_ns += pause.as_nanos() as u64;
            next = outages.looked(now_ns < up_ns, now_ns);
        }
        (next, now_ns)
    }

    #[test]
    fn a_boot_of_minutes_is_one_outage() {
        let mut outages = Outages::new(MINUTES);
        assert_eq!(outages.request(Sign::Serves, 0, S), Next::Send);
        let next = outages.request(Sign::MayBeDown, S, 10 * S);
        let (next, now_ns) = looks(&mut outages, next, 10 * S, 470 * S);
        assert_eq!(next, Next::Send);
        assert!((470 * S..476 * S).contains(&now_ns), "{now_ns}");
        // It says that it is up, and is not yet.
        let next = outages.request(Sign::MayBeDown, now_ns, now_ns);
        assert_eq!(next, Next::Look(LONGEST_PAUSE));
        let (next, now_ns) = looks(&mut outages, next, now_ns, 0);
        assert_eq!(next, Next::Send);
        assert_eq!((outages.is_down(), outages.count()), (true, 1));
        assert_eq!(outages.request(Sign::Serves, now_ns, now_ns + S), Next::Send);
        assert_eq!((outages.is_down(), outages.count()), (false, 1));
        assert_eq!(outages.longest_ns(9999 * S), Some(now_ns - 10 * S));
        // Another one, which is shorter.
        let next = outages.request(Sign::MayBeDown, 600 * S, 600 * S);
        let (_, now_ns) = looks(&mut outages, next, 600 * S, 603 * S);
        outages.request(Sign::Serves, now_ns, now_ns);
        assert_eq!(outages.count(), 2);
        assert!(outages.longest_ns(9999 * S) > Some(400 * S));
    }

    #[test]
    fn who_is_not_back_in_time_is_given_up() {
        let mut outages = Outages::new(MINUTES);
        let next = outages.request(Sign::MayBeDown, 0, S);
        let given_up = (Next::GiveUp, 601 * S);
        assert_eq!(looks(&mut outages, next, S, u64::MAX), given_up);
        assert_eq!((outages.is_down(), outages.longest_ns(601 * S)), (true, Some(600 * S)));
        // Without patience at the first look that shows it.
        let mut outages = Outages::new(Duration::ZERO);
        let next = outages.request(Sign::MayBeDown, 0, S);
        assert_eq!(looks(&mut outages, next, S, u64::MAX), (Next::GiveUp, S));
        assert_eq!(outages.count(), 1);
        let next = Outages::new(Duration::ZERO).request(Sign::Down, 0, S);
        assert_eq!(next, Next::Look(Duration::ZERO), "one refusal is no end");
    }

    #[test]
    fn a_failure_beside_good_health_is_no_outage() {
        let mut outages = Outages::new(MINUTES);
        let next = outages.request(Sign::MayBeDown, 0, S);
        assert_eq!(next, Next::Look(Duration::ZERO));
        // A dying engine still looks alive for some time.
        let (next, now_ns) = looks(&mut outages, next, S, 0);
        assert_eq!(next, Next::Send);
        assert!((2 * S..3 * S).contains(&now_ns), "{now_ns}");
        assert_eq!((outages.count(), outages.longest_ns(now_ns)), (0, None));
        assert_eq!(outages.request(Sign::Unclear, now_ns, now_ns), Next::Send);
    }

    #[test]
    fn behind_a_gateway_requests_alone_tell() {
        let mut outages = Outages::new(MINUTES);
        let (mut now_ns, mut sent) = (0, 1);
        let mut next = outages.request(Sign::Down, now_ns, now_ns);
        while let Next::Look(pause) = next {
            now_ns += pause.as_nanos() as u64;
            next = outages.looked(false, now_ns);
            if next == Next::Send {
                sent += 1;
                // Some answer 404 meanwhile.
                let sign = if sent % 2 == 0 { Sign::Unclear } else { Sign::Down };
                next = outages.request(sign, now_ns, now_ns);
            }
        }
        assert_eq!((next, now_ns, outages.count()), (Next::GiveUp, 600 * S, 1));
        assert!(sent < 130, "{sent}");
    }

    #[test]
    fn what_a_request_says_of_its_server() {
        use RequestErrorClass as Class;
        let sign = |class, http_status| {
            let error = RequestError { class, message: String::new() };
            Sign::of(&RequestRecord { error: Some(error), http_status, ..Default::default() })
        };
        for class in [Class::Connect, Class::Cut, Class::InStream] {
            assert_eq!(sign(class, None), Sign::MayBeDown);
        }
        assert_eq!(sign(Class::ServerError, Some(500)), Sign::MayBeDown);
        for status in 502..=504 {
            assert_eq!(sign(Class::ServerError, Some(status)), Sign::Down);
        }
        assert_eq!(sign(Class::ClientError, Some(404)), Sign::Unclear);
        assert_eq!(sign(Class::MissingUsage, Some(200)), Sign::Serves);
        assert_eq!(Sign::of(&RequestRecord::default()), Sign::Serves);
    }
}
