//! Reads responses and streams that are here already, from pieces of their bytes: the same
//! code as for a connection, without one. Tests that need no socket use it.

use crate::client::answer::Answer;
use crate::client::exchange::read_pieces;
use crate::client::limits::Limits;
use crate::client::record::RequestRecord;
use crate::client::sse::{EventTooLarge, Part, Splitter};
use crate::client::stream::StreamReader;

/// A response of HTTP/1.1 with a stream of events, as far as its bytes go.
pub fn response(pieces: &[&[u8]], limits: Limits) -> (RequestRecord, Option<Answer>) {
    let mut reader = StreamReader::new(RequestRecord::default(), limits.stream, true);
    let outcome = read_pieces(pieces, &mut reader, limits).map(|_| ());
    reader.finish(outcome)
}

/// The data of each event of a stream; `None` where one is larger than `limit` bytes.
pub fn events(pieces: &[&[u8]], limit: usize) -> Option<Vec<Vec<u8>>> {
    let mut splitter = Splitter::new(limit);
    let mut events = Vec::new();
    for piece in pieces {
        let mut take = |part: Part<'_>| {
            if let Part::Data(data) | Part::Failed(data) = part {
                events.push(data.to_vec());
            }
            Ok::<(), EventTooLarge>(())
        };
        splitter.push(piece, &mut take).ok()?;
    }
    Some(events)
}
