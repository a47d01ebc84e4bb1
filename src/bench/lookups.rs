//! What the counters of the prefix cache say of our prompts, whatever they count: tokens, or
//! blocks, as vLLM's up to 0.8 do. A counter that does not follow our prompts, or has never
//! moved, says nothing: what was found is unknown then, and not nothing. When to read them
//! is `traffic`'s.

use crate::server::counters::Counters;

/// What came of looking a prompt up in the prefix cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// It was looked up; so many tokens were found.
    Found(u64),
    /// Nothing was found, by a counter that has not moved since the server's start: of a
    /// prompt that was to be found it is not known.
    Unmoved,
    /// It was not: prefix caching is off.
    Off,
    /// The server does not report it.
    Unknown,
}

impl Lookup {
    /// Tokens of a prompt that were found, where they are a block or more: a prompt
    /// that nobody sent before has none.
    pub(crate) fn unexpected_hit(self, block: Option<u64>) -> Option<u64> {
        match self {
            Self::Found(found) if block.is_some_and(|block| found >= block) => Some(found),
            _ => None,
        }
    }
}

/// What the counters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Tokens,
    Blocks,
}

/// The look-ups of a repeat.
#[derive(Debug)]
pub(crate) struct Lookups {
    before: Option<u64>,
    hits_so_far: Option<u64>,
    caching: Option<bool>,
    block: Option<u64>,
    /// Of our prompts.
    tokens: u64,
    /// Whole blocks of each.
    blocks: u64,
    unit: Option<Unit>,
    /// Why nothing is known.
    unknown: Option<String>,
}

impl Lookups {
    /// From the counters before the first prompt.
    pub(crate) fn start(before: &Counters) -> Self {
        let caching = before.prefix_caching();
        let unknown = match (caching, before.prefix_queries) {
            (Some(false), _) => None,
            (_, None) => Some("the server does not count what it looks up in its cache"),
            _ if before.prefix_hits.is_none() => {
                Some("the server does not count what it finds in its cache")
            }
            _ => None,
        };
        Self {
            before: before.prefix_queries,
            hits_so_far: before.prefix_hits,
            caching,
            block: before.block_size(),
            tokens: 0,
            blocks: 0,
            unit: None,
            unknown: unknown.map(str::to_owned),
        }
    }

    /// A prompt of so many tokens was sent.
    pub(crate) fn sent(&mut self, tokens: u64) {
        self.tokens += tokens;
        self.blocks += self.block.map_or(0, |block| tokens / block);
    }

    /// Why what was found is not known, where it is so.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.unknown.as_deref()
    }

    /// From now on nothing is known: the counters do not follow our prompts.
    pub(crate) fn give_up(&mut self, what: &str) {
        self.unknown =
            Some(format!("the counters of the prefix cache count something else: {what}"));
    }

    /// `None` when the counters have grown by exactly our prompts, else what is missing; an
    /// error when they show somebody else's.
    pub(crate) fn compare(&self, now: &Counters) -> Result<Option<String>, String> {
        let (None, Some(_)) = (&self.unknown, self.before) else { return Ok(None) };
        let Some(grown) = grown(self.before, now.prefix_queries)? else {
            return Err("the server no longer counts what it looks up".to_owned());
        };
        // Unless the server reports that caching is off or on, a look-up shows that it is on.
        if !self.caching.unwrap_or(grown != 0) || self.unit_of(grown).is_some() {
            return Ok(None);
        }
        let (ours, what) = match self.unit {
            Some(Unit::Blocks) => (self.blocks, "blocks"),
            Some(Unit::Tokens) | None => (self.tokens, "tokens"),
        };
        let what = format!("{grown} {what} looked up in the prefix cache where ours were {ours}");
        if grown > ours { Err(format!("foreign traffic: {what}")) } else { Ok(Some(what)) }
    }

    /// What is counted, if the counter has grown by our prompts.
    fn unit_of(&self, grown: u64) -> Option<Unit> {
        let may_be = |unit| self.unit.is_none_or(|known| known == unit);
        if grown == self.tokens && may_be(Unit::Tokens) {
            Some(Unit::Tokens)
        } else {
            let fits = grown == self.blocks && grown > 0 && may_be(Unit::Blocks);
            fits.then_some(Unit::Blocks)
        }
    }

    /// What was found of the last prompt, after [`Lookups::compare`] found nothing missing.
    pub(crate) fn found(&mut self, now: &Counters) -> Lookup {
        if self.caching == Some(false) {
            return Lookup::Off;
        }
        if self.unknown.is_some() {
            return Lookup::Unknown;
        }
        let looked_up = now.prefix_queries.zip(self.before).and_then(|(now, b)| now.checked_sub(b));
        let unit = looked_up.filter(|grown| *grown > 0).and_then(|grown| self.unit_of(grown));
        let hits = now.prefix_hits.zip(self.hits_so_far);
        let (Some(unit), Some((hits, so_far))) = (unit, hits) else {
            self.unknown = Some("the counter of what is looked up does not move".to_owned());
            return Lookup::Unknown;
        };
        self.unit = Some(unit);
        self.hits_so_far = Some(hits);
        match (hits.checked_sub(so_far), unit) {
            _ if hits == 0 => Lookup::Unmoved,
            (Some(found), Unit::Tokens) => Lookup::Found(found),
            (Some(found), Unit::Blocks) => Lookup::Found(found * self.block.unwrap_or(1)),
            (None, _) => Lookup::Unknown,
        }
    }
}

/// Growth of a counter; an error when it went back.
pub(crate) fn grown(before: Option<u64>, after: Option<u64>) -> Result<Option<u64>, String> {
    match (before, after) {
        (Some(before), Some(after)) => after
            .checked_sub(before)
            .map(Some)
            .ok_or_else(|| "the server's counters went back".to_owned()),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(queries: u64, hits: u64, caching: Option<&str>) -> Counters {
        let mut config = vec![("block_size".to_owned(), "16".to_owned())];
        config.extend(caching.map(|on| ("enable_prefix_caching".to_owned(), on.to_owned())));
        Counters {
            prefix_queries: Some(queries),
            prefix_hits: Some(hits),
            cache_config: config.into_iter().collect(),
            ..Counters::default()
        }
    }

    const ON: Option<&str> = Some("True");

    #[test]
    fn blocks_are_recognised_and_turned_into_tokens() {
        let mut lookups = Lookups::start(&counters(500, 40, ON));
        lookups.sent(1002);
        assert!(matches!(lookups.compare(&counters(500, 40, ON)), Ok(Some(_))), "not yet");
        let miss = counters(562, 40, ON);
        assert_eq!((lookups.compare(&miss), lookups.found(&miss)), (Ok(None), Lookup::Found(0)));
        lookups.sent(1002);
        let resent = counters(624, 102, ON);
        assert_eq!(lookups.compare(&resent), Ok(None));
        assert_eq!(lookups.found(&resent), Lookup::Found(62 * 16));
        let foreign = lookups.compare(&counters(625, 102, ON)).expect_err("one more");
        assert!(foreign.starts_with("foreign traffic: 125 blocks"), "{foreign}");
    }

    #[test]
    fn tokens_stay_tokens() {
        let mut lookups = Lookups::start(&counters(0, 0, ON));
        lookups.sent(320);
        let now = counters(320, 0, ON);
        assert_eq!((lookups.compare(&now), lookups.found(&now)), (Ok(None), Lookup::Unmoved));
        // Now known: 20 more are a part of the next prompt.
        lookups.sent(320);
        assert!(matches!(lookups.compare(&counters(340, 0, ON)), Ok(Some(_))));
        let now = counters(640, 304, ON);
        assert_eq!((lookups.compare(&now), lookups.found(&now)), (Ok(None), Lookup::Found(304)));
        assert!(lookups.compare(&counters(641, 304, ON)).is_err());
    }

    #[test]
    fn a_counter_that_never_moves_says_nothing() {
        let still = counters(0, 0, None);
        let mut lookups = Lookups::start(&still);
        lookups.sent(320);
        assert_eq!((lookups.compare(&still), lookups.found(&still)), (Ok(None), Lookup::Unknown));
        assert!(lookups.unknown().expect("said").contains("does not move"));
        let off = counters(0, 0, Some("False"));
        assert_eq!(Lookups::start(&off).found(&off), Lookup::Off);
        let mut odd = Lookups::start(&counters(0, 0, ON));
        odd.sent(320);
        odd.give_up("7 where ours were 320");
        assert_eq!(odd.found(&counters(7, 0, ON)), Lookup::Unknown);
        assert_eq!(odd.compare(&counters(9, 0, ON)), Ok(None), "it is not looked at again");
        let mut none = Lookups::start(&Counters::default());
        assert_eq!(none.found(&Counters::default()), Lookup::Unknown);
    }
}
