//! Decoding server-sent events: the same events however the bytes are cut, and no more memory than the cap.
#![no_main]

use greenroom_protocol::sse::{SseDecoder, SseError, SseEvent};

const CAP: usize = 4096;

fn decode(pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> Result<Vec<SseEvent>, SseError> {
    let (mut decoder, mut events) = (SseDecoder::new(CAP), Vec::new());
    for piece in pieces {
        decoder.feed(piece.as_ref(), |event| events.push(event))?;
    }
    decoder.finish(|event| events.push(event))?;
    Ok(events)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((first, stream)) = data.split_first() else { return };
    let whole = decode(std::iter::once(stream));
    let pieces = decode(stream.chunks(usize::from(*first % 7) + 1));
    // how much is pending when the cap is checked depends on the cut; below it nothing may
    if stream.len() < CAP {
        assert_eq!(pieces, whole);
    }
    for event in whole.into_iter().flatten() {
        assert!(event.data.len() <= CAP && !event.event.contains('\n'));
    }
});
